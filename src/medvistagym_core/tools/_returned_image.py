"""Whether an image that a tool returned is one that can be stored, shown, recorded and handed to the next tool.

An author can make an image that says what cannot be: a mask of another shape, a map to the source that leads nowhere, ten
billion pixels in the memory of one. It is refused where it is returned, in a sentence about the tool.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.imaging import Image, LookupTable, Window
from medvistagym_core.tools._errors import ToolError
from medvistagym_core.tools._safe_text import encodable_text

MAX_PIXELS: Final = 2**31
"""The largest image that a tool may return, in pixels over all frames."""
MAX_SHARED_BYTES: Final = 2**28
"""The largest image whose pixels may share memory, as those of a broadcast array do: it is as large once it is copied."""
_MAX_DETAILS: Final = 8
_MAX_ATTRIBUTES: Final = 256
_MAX_NAME: Final = 64
_MAX_ATTRIBUTE: Final = 4096
_PHOTOMETRIC: Final = ("MONOCHROME1", "MONOCHROME2", "RGB")
_FUNCTIONS: Final = ("linear", "linear_exact", "sigmoid")
_MAX_COORDINATE: Final = 1e9


def check_image(tool: str, image: Any) -> Image:
    """The image as it can be used: the same, but for text that no file can hold.

    Raises:
        ToolError: `tool_failed`, with what is wrong with it.
    """
    if type(image) is not Image:
        raise ToolError("tool_failed", f"{tool} returned a result with {type(image).__name__} among its images.")
    wrong = _fault(image)
    if wrong is not None:
        raise ToolError("tool_failed", f"{tool} returned an image {wrong}.")
    return _with_encodable_text(image)


def _fault(image: Image) -> str | None:
    """What is wrong with an image, or with one behind it, to follow "an image"; None where nothing is."""
    prefix, above, layer = "", None, image
    for _ in range(_MAX_DETAILS + 1):
        fault = _layer_fault(layer, above)
        if fault is not None:
            return prefix + fault
        behind: Any = layer.detail
        if behind is None:
            return None
        if type(behind) is not Image:
            return f"{prefix}whose detail is {type(behind).__name__}"
        prefix, above, layer = f"{prefix}whose detail is an image ", layer, behind
    return f"with more than {_MAX_DETAILS} images behind it, each the detail of the one before"


def _layer_fault(image: Image, above: Image | None) -> str | None:
    """What is wrong with an image, whatever is behind it.

    Args:
        image: The image.
        above: The image that it is the detail of, in which nothing is wrong: what both have is not looked at again.
    """
    try:
        fault = _pixels_fault(image) or _geometry_fault(image)
        if above is None or image.source_shape is not above.source_shape:
            fault = fault or _source_fault(image)
        if above is None or image.windows is not above.windows or image.window is not above.window:
            fault = fault or _windows_fault(image)
        if above is None or not (image.unit is above.unit and image.modality is above.modality):
            fault = fault or _unit_fault(image)
        if above is None or image.attributes is not above.attributes:
            fault = fault or _attributes_fault(image)
        if fault is None:
            image.__post_init__()  # its own rules, should they have been gone round
    except Exception as error:  # noqa: BLE001 an author's values can be of any type, and fail in any way
        return f"that cannot be used: {type(error).__name__}: {str(error)[:200]}"
    return fault


def _pixels_fault(image: Image) -> str | None:
    import numpy as np

    pixels: Any = image.pixels
    if type(pixels) is not np.ndarray:
        return f"whose pixels are {type(pixels).__name__}"
    if pixels.size > MAX_PIXELS:
        return f"of {pixels.size} pixels; {MAX_PIXELS} at most"
    if pixels.nbytes > MAX_SHARED_BYTES:
        own = math.prod(n for n, step in zip(pixels.shape, pixels.strides, strict=True) if step)
        if own < pixels.size:
            return f"of {pixels.size} pixels that lie in the memory of {own}"
    if image.photometric not in _PHOTOMETRIC:
        return f"whose photometric is {image.photometric!r:.40}, not one of {', '.join(_PHOTOMETRIC)}"
    if image.frame is not None and type(image.frame) is not int:
        return f"whose frame is {image.frame!r:.40}, not a whole number"
    return None if image.overlay is None else _overlay_fault(image)


def _geometry_fault(image: Image) -> str | None:
    if image.spacing is not None and not _numbers(image.spacing, (2, 3)):
        return f"whose spacing is {image.spacing!r:.80}, not a number for each axis"
    affine = image.to_source
    if not _numbers(affine, (6,), _MAX_COORDINATE):
        return f"whose way back to its source is {affine!r:.120}, not six numbers"
    a, b, _, d, e, _ = affine
    if a * e - b * d == 0:
        return f"whose way back to its source, {affine!r:.120}, takes all of it to one line"
    return None


def _source_fault(image: Image) -> str | None:
    shape: Any = image.source_shape
    if not (isinstance(shape, tuple) and len(shape) == 2 and _is_side(shape[0]) and _is_side(shape[1])):
        return f"whose source has the shape {shape!r:.80}, not a height and a width"
    return None


def _windows_fault(image: Image) -> str | None:
    windows: Any = image.windows
    fault = None if image.window is None else _window_fault(image.window)
    if not isinstance(windows, tuple):
        return "whose windows are not a tuple of windows"
    for window in windows:
        if type(window) is not Window:
            return "whose windows are not a tuple of windows"
        fault = fault or _window_fault(window)
    return fault


def _window_fault(window: Any) -> str | None:
    if type(window) is Window:
        if window.function not in _FUNCTIONS:
            return f"with a window whose function is {window.function!r:.40}"
        if not (_is_number(window.center) and _is_number(window.width)):
            return f"with a window of {window.center!r:.40} and {window.width!r:.40}"
    elif type(window) is not LookupTable:
        return f"whose window is {type(window).__name__}"
    if window.name is not None and not _is_name(window.name, _MAX_ATTRIBUTE):
        return f"with a window called {window.name!r:.80}"
    return None


def _overlay_fault(image: Image) -> str | None:
    import numpy as np

    overlay: Any = image.overlay
    if type(overlay) is not np.ndarray or overlay.dtype != bool or overlay.shape != image.shape:
        return "whose overlay is not an array of true and false in the shape of the image"
    return None


def _unit_fault(image: Image) -> str | None:
    if not _is_name(image.unit, _MAX_NAME):
        return f"whose unit is {image.unit!r:.80}, not a word"
    if image.modality is not None and not _is_name(image.modality, _MAX_NAME):
        return f"whose modality is {image.modality!r:.80}, not a word"
    return None


def _attributes_fault(image: Image) -> str | None:
    attributes: Any = image.attributes
    if not (type(attributes) is dict or isinstance(attributes, Mapping)) or len(attributes) > _MAX_ATTRIBUTES:
        return f"whose attributes are not a mapping of at most {_MAX_ATTRIBUTES} texts"
    for name, value in attributes.items():
        if not _is_name(name, _MAX_NAME) or not _is_name(value, _MAX_ATTRIBUTE):
            return f"whose attribute {name!r:.80} is {value!r:.80}, not text"
    return None


def _numbers(values: Any, lengths: tuple[int, ...], max_value: float = sys.float_info.max) -> bool:
    """Whether it is a tuple of so many numbers, none of which is greater than `most`, whatever its sign."""
    if not isinstance(values, tuple) or len(values) not in lengths:
        return False
    for value in values:  # each image of each call comes here, and nearly all are floats
        if type(value) is not float and not _is_number(value):
            return False
        if not -max_value <= value <= max_value:
            return False
    return True


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= 2**31


def _is_number(value: Any) -> bool:
    if type(value) is float or type(value) is int:
        return math.isfinite(value)
    import numpy as np

    numeric = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return numeric and math.isfinite(value)


def _is_name(value: Any, max_chars: int) -> bool:
    return isinstance(value, str) and len(value) <= max_chars


def _with_encodable_text(image: Image) -> Image:
    texts = (image.unit, image.modality or "", *image.attributes, *image.attributes.values())
    if "".join(texts).isascii():  # as nearly always
        return image
    words: dict[str, Any] = {"unit": image.unit, "modality": image.modality, "attributes": image.attributes}
    clean = {
        "unit": encodable_text(image.unit),
        "modality": None if image.modality is None else encodable_text(image.modality),
        "attributes": {encodable_text(name): encodable_text(value) for name, value in image.attributes.items()},
    }
    changes = {name: value for name, value in clean.items() if value != words[name]}
    return image.replace(**changes) if changes else image
