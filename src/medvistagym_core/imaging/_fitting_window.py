"""The window that fits values: of an image that has none, and of one whose values a tool has changed.

A window is made for values. It is kept while they keep their scale, whatever was done to them (noise taken out, a part
blackened, mirrored left to right); it follows them where they were scaled or inverted; where they became something else, it
spans them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from medvistagym_core.imaging._voi_lut import LookupTable, Window

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging._image import Image


HU_WINDOW: Final = Window(40.0, 400.0, name="soft tissue")
"""What an image in HU is displayed with where nothing else is known."""
MASK_WINDOW: Final = Window(0.5, 1.0, "linear_exact")
"""Shows 0 black and 1 white."""
_PERCENTILES: Final = (0.5, 99.5)
_MAX_SAMPLES: Final = 2**14
_MIN_SAMPLES: Final = 16
_MIN_PICTURE_LEVELS: Final = 64  # range of 8-bit values that are a picture as they are
_EXACT: Final = 0.999  # share of the variance that a line explains but for rounding
_MAX_SATURATED: Final = 5.0  # per cent of what was shown as greys, at either end


class Display(NamedTuple):
    """How values are shown: by a window, or else from the least to the greatest of a range; None for that of the values."""

    window: Window | LookupTable | None
    value_range: tuple[float, float] | None = None


def fitting_window(pixels: np.ndarray, unit: str = "raw") -> Window | None:
    """A window for values that come without one.

    Args:
        pixels: Values of any shape and real dtype.
        unit: Their unit.

    Returns:
        40/400 for HU, else from the 0.5th to the 99.5th percentile of the finite values; None where there is nothing to fit:
        8-bit values, masks, and values that are all alike.
    """
    import numpy as np

    if unit == "HU":
        return HU_WINDOW
    if pixels.dtype.str == "|u1" or pixels.dtype.kind == "b":
        return None
    values = _sample(pixels)
    return _spanning_window(values[np.isfinite(values)])


def displayed_share(image: Image, values: np.ndarray) -> float:
    """The share of some values of an image that its display shows as greys, neither black nor white.

    Args:
        image: How it is displayed.
        values: Of any shape.
    """
    import numpy as np

    values = _sample(values[np.isfinite(values)])
    return float(_are_greys(Display(image.window, image.display_range), values).mean()) if values.size else 0.0


def refit_display(image: Image, pixels: np.ndarray) -> Display:
    """How to display other values of an image, in its own unit or another.

    Args:
        image: The image as it was.
        pixels: The values in place of its own.
    """
    import numpy as np

    current = Display(image.window, image.display_range)
    if pixels.dtype.kind == "b":
        return Display(MASK_WINDOW)
    if pixels.dtype.str == "|u1" and not _is_8_bit_window(image) and _is_picture(pixels):
        return Display(None)
    if image.pixels.shape != pixels.shape:  # in other places: what became of which value cannot be told
        return current
    before, after = _sample(image.pixels), _sample(pixels)
    finite = np.isfinite(before) & np.isfinite(after)
    before, after = before[finite], after[finite]
    if before.size < _MIN_SAMPLES:
        return current if np.array_equal(before, after) else Display(_spanning_window(after))
    center, width = _center_and_width(current)
    displayed = _is_shown(current, before)
    line = _fit_line(before, after)
    if line.explained > _EXACT:
        is_same = abs(line.slope - 1) <= 0.1 and abs(line.at(center) - center) <= 0.1 * width
        return current if is_same else _move(current, line)
    changed = after != before
    if changed.any() and changed.mean() < 0.95 and np.ptp(after[changed]) == 0:  # a part was filled with a value
        is_visible = _are_greys(current, after[~changed]).mean() > 0.02
        return current if is_visible else Display(_spanning_window(after[~changed]))
    if _have_same_distribution(before, after):
        return current
    if _is_two_valued(after) and not _is_two_valued(before):
        return Display(_spanning_window(after))
    shift = float(
        np.median(after[displayed] - before[displayed])
    )  # that of places, since edges overshoot to both sides
    if line.explained > 0.25 and 0.75 < line.slope < 2 and abs(shift) < 0.25 * width:
        return _widen(current, displayed, after)
    line = _fit_line(before[displayed], after[displayed])
    if line.explained > 0.5 and not isinstance(current.window, LookupTable):
        return _widen(_move(current, line), displayed, after)
    return Display(_spanning_window(after))


class _Line(NamedTuple):
    """The straight line from old values to new ones, and the share of the new ones' variance that it explains."""

    slope: float
    offset: float
    explained: float

    def at(self, value: float) -> float:
        """The new value of an old one."""
        return self.slope * value + self.offset


def _fit_line(before: np.ndarray, after: np.ndarray) -> _Line:
    """By least squares."""
    import numpy as np

    if before.size < _MIN_SAMPLES:
        return _Line(0.0, 0.0, 0.0)
    x, y = before - before.mean(), after - after.mean()
    with np.errstate(over="ignore", invalid="ignore"):
        xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
    if not (0 < xx < math.inf and 0 < yy < math.inf and math.isfinite(xy)):
        return _Line(0.0, 0.0, 0.0)
    slope = xy / xx
    return _Line(slope, float(after.mean()) - slope * float(before.mean()), slope * xy / yy)


def _move(display: Display, line: _Line) -> Display:
    """A display whose black and white have gone along with the values; of a lookup table its range, as a window."""
    center, width = _center_and_width(display)
    sigmoid = display.window is not None and display.window.function == "sigmoid"
    return Display(_window(line.at(center), abs(line.slope) * width, "sigmoid" if sigmoid else "linear_exact"))


def _widen(display: Display, displayed: np.ndarray, values: np.ndarray) -> Display:
    """A display, widened, at most to twice its width, where it would make much black or white that was grey before.

    Args:
        display: The display.
        displayed: Booleans: the values that were displayed as greys.
        values: Those after the change.
    """
    import numpy as np

    if isinstance(display.window, LookupTable) or displayed.sum() < _MIN_SAMPLES:
        return display
    center, width = _center_and_width(display)
    low, high = center - width / 2, center + width / 2
    least, most = (float(end) for end in np.percentile(values[displayed], (_MAX_SATURATED, 100 - _MAX_SATURATED)))
    if least >= low and most <= high:
        return display
    low, high = max(min(low, least), low - width / 2), min(max(high, most), high + width / 2)
    return Display(_window((low + high) / 2, high - low))


def _are_greys(display: Display, values: np.ndarray) -> np.ndarray:
    """Booleans: what is displayed neither black nor white."""
    import numpy as np

    if display.window is not None:
        levels = display.window.apply(values)
        greys: np.ndarray = (levels > 0) & (levels < 255)
        return greys
    center, width = _center_and_width(display)
    return np.abs(values - center) < width / 2


def _is_shown(display: Display, values: np.ndarray) -> np.ndarray:
    """Booleans: what is displayed neither black nor white; all where that is next to nothing."""
    import numpy as np

    greys = _are_greys(display, values)
    return greys if greys.mean() > 0.01 else np.ones(values.shape, bool)


def _is_two_valued(values: np.ndarray) -> bool:
    return bool(((values == values.min()) | (values == values.max())).all())


def _have_same_distribution(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether about the same values occur as often, be it in other places, as in a mirror image, or less noisy."""
    import numpy as np

    ranks = np.linspace(0.01, 0.99, 50) * (before.size - 1)
    first, second = (np.sort(values)[ranks.astype(np.intp)] for values in (before, after))
    return bool(np.abs(first - second).max() <= 0.02 * (first[-1] - first[0]))


def _center_and_width(display: Display) -> tuple[float, float]:
    """The value shown mid-grey, and how far it is from black to white."""
    if display.window is None:
        low, high = display.value_range or (0.0, 255.0)
        return (low + high) / 2, high - low
    center, width = display.window.center, display.window.width
    return (center - 0.5, width - 1) if display.window.function == "linear" else (center, width)  # PS3.3 C.11.2.1.2


def _spanning_window(values: np.ndarray) -> Window | None:
    import numpy as np

    if not values.size:
        return None
    low, high = (float(end) for end in np.percentile(values, _PERCENTILES))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return _window((low + high) / 2, high - low)


def _window(
    center: float, width: float, function: Literal["linear_exact", "sigmoid"] = "linear_exact"
) -> Window | None:
    """A window, to six significant digits of its width; None for one without a width."""
    if not (math.isfinite(center) and 0 < width < math.inf):
        return None
    digits = 6 - math.ceil(math.log10(width))
    return Window(round(center, digits), round(width, digits), function)


def _is_8_bit_window(image: Image) -> bool:
    return image.window is not None and image.pixels.dtype.str == "|u1"


def _is_picture(pixels: np.ndarray) -> bool:
    """Whether 8-bit values make a picture as they are."""
    values = _sample(pixels)
    return bool(values.max() - values.min() >= _MIN_PICTURE_LEVELS)


def _sample(pixels: np.ndarray) -> np.ndarray:
    """Float64 values on a regular grid of the pixels, about `_MAX_SAMPLES` of them."""
    import numpy as np

    step = max(1, math.floor((pixels.size / _MAX_SAMPLES) ** (1 / pixels.ndim)))
    grid = tuple(slice(min(step, n) // 2, None, step) for n in pixels.shape)
    with np.errstate(over="ignore"):
        return pixels[grid].astype(np.float64).ravel()
