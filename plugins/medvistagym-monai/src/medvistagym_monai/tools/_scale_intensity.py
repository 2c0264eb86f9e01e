"""The tool `scale_intensity`: values of any scale as greys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from medvistagym_core.imaging import Image, require_finite
from medvistagym_core.tools import tool

if TYPE_CHECKING:
    import numpy as np

Method = Literal["percentiles", "range", "zscore"]
MAX_PIXELS: Final = 2**26
_MAX_MAGNITUDE: Final = 1e30  # float32 ends at 3e38
_DEFAULT_RANGE: Final = {"percentiles": (1.0, 99.0), "zscore": (-3.0, 3.0)}
_FULL_RANGE: Final = {"percentiles": (0.0, 100.0)}


@tool
def scale_intensity(
    image: Image, method: Method = "percentiles", low: float | None = None, high: float | None = None
) -> tuple[Image, str]:
    """Turn values into grey levels from 0 to 255; the unit is lost.

    Use it on MR and raw counts, whose values mean nothing by themselves, to bring images to one scale. Where values have a unit
    (HU) use window, which keeps it; measure on the original.

    Args:
        image: The image, or volume, to scale; a volume as a whole.
        method: "percentiles" of the image's own values, a fixed "range" of values, or "zscore", standard deviations from the
            mean.
        low: What becomes black: a percentile (1 unless given), a value in the image's unit, or standard deviations (-3 unless
            given).
        high: What becomes white, likewise; 99 and 3 unless given.
    """
    import numpy as np

    if image.photometric == "RGB":
        raise ValueError("the colours of this image are on a scale from 0 to 255 already; use enhance_contrast")
    source = image.detail or image
    if source.pixels.size > MAX_PIXELS:
        raise ValueError(
            f"the image has {source.pixels.size:,} pixels, the most is {MAX_PIXELS:,}; take a part of it with zoom first"
        )
    low, high = _range_arguments(method, low, high)
    with np.errstate(over="ignore"):
        values = source.pixels.astype(np.float32)
    require_finite(values)
    low, high = _intensity_range(values, method, low, high)
    scale = 255 / (high - low)
    with np.errstate(over="ignore"):  # what is beyond float32 is beyond black or white
        values -= np.float32(low)
        values *= np.float32(scale)
    greys = np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8)
    if image.photometric == "MONOCHROME1":
        greys = 255 - greys
    scaled = source.with_pixels(greys, unit="grey", photometric="MONOCHROME2", window=None, windows=())
    unit = "" if image.unit in ("raw", "grey") else f" {image.unit}"
    black, white = (high, low) if image.photometric == "MONOCHROME1" else (low, high)
    return scaled, f"Black is {black:.5g}{unit}, white is {white:.5g}{unit}; the greys between have no unit"


def _range_arguments(method: Method, low: float | None, high: float | None) -> tuple[float, float]:
    """The ends as percentiles, values or standard deviations, with what is usual where they are not given."""
    if method == "range":
        if low is None or high is None:
            raise ValueError('the method "range" needs low and high, values in the image\'s unit')
    else:
        default = _DEFAULT_RANGE[method]
        low, high = default[0] if low is None else low, default[1] if high is None else high
    out_min, out_max = _FULL_RANGE.get(method, (low, high))
    if not (out_min <= low < high <= out_max):
        within = " within 0 to 100" if method == "percentiles" else ""
        raise ValueError(f"low must be below high{within}, not {low:g} and {high:g}")
    return low, high


def _intensity_range(values: np.ndarray, method: Method, low: float, high: float) -> tuple[float, float]:
    """The values that become black and white, or white and black."""
    import numpy as np

    if method == "percentiles":
        low, high = (float(end) for end in np.percentile(values, (low, high)))
    elif method == "zscore":
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        low, high = mean + low * deviation, mean + high * deviation
    if not high > low:
        raise ValueError(
            f"black and white would both be {low:g}: the values of the image are all alike there; choose others"
        )
    if not (1 / _MAX_MAGNITUDE < 255 / (high - low) < _MAX_MAGNITUDE and abs(low) < _MAX_MAGNITUDE):
        raise ValueError(
            f"{low:g} and {high:g} are too close together or too far apart for greys between; choose others"
        )
    return low, high
