"""Parts of an image by index: one slice of a stack, some of its slices, a rectangle of rows and columns."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._patient_geometry import patient_geometry

if TYPE_CHECKING:
    from medvistagym_core.imaging._image import Image

_STACK_ATTRIBUTES: Final = ("slices", "slice_offsets_mm", "slice_spacing", "shear_deg")
_OFFSETS: Final = "slice_offsets_mm"


def slice_image(image: Image, key: Any) -> Image:
    """A part of the image, which knows where it lies in the patient and in the source: `Image.__getitem__`.

    Of a stack, `image[12]` is a slice, `image[10:20]` and `image[::2]` are stacks, and `image[10:20, 50:150, 60:160]` a
    part of one; of a plain image, `image[50:150, 60:160]` are rows and columns. Bounds are in pixels, as of an array.

    Raises:
        TypeError: The key is no index of this image.
        IndexError: The slice does not exist.
        ValueError: The part is empty, or its rows or columns are not contiguous.
    """
    keys = key if isinstance(key, tuple) else (key,)
    axes = 3 if image.is_stack else 2
    if len(keys) > axes or not all(isinstance(one, slice) or hasattr(one, "__index__") for one in keys):
        raise TypeError(f"an image is indexed as {_form(image)}, not by {key!r}")
    rectangle = keys[1:] if image.is_stack else keys
    if not all(isinstance(one, slice) for one in rectangle):
        raise TypeError(f"an image is indexed as {_form(image)}: one row or column alone is no image")
    if image.is_stack:
        first = keys[0]
        image = _take_slices(image, first) if isinstance(first, slice) else _take_slice(image, first.__index__())
    if not rectangle:
        return image
    h, w = image.shape
    (y0, y1), (x0, x1) = (_bounds(one, size) for one, size in zip((*rectangle, slice(None))[:2], (h, w), strict=True))
    return image if (y0, y1, x0, x1) == (0, h, 0, w) else image.crop(x0, y0, x1, y1)


def _form(image: Image) -> str:
    return (
        "image[slice], image[first:end] or image[first:end, y0:y1, x0:x1]" if image.is_stack else "image[y0:y1, x0:x1]"
    )


def _bounds(rows: slice, size: int) -> tuple[int, int]:
    start, stop, step = rows.indices(size)
    if step != 1:
        raise ValueError(
            f"rows and columns are taken one after the other, not in steps of {step}; `resized` makes fewer"
        )
    if stop <= start:
        raise ValueError(f"{rows.start}:{rows.stop} holds none of the {size} rows or columns")
    return start, stop


def _take_slice(image: Image, index: int) -> Image:
    at = index + image.frames if index < 0 else index
    if not 0 <= at < image.frames:
        raise IndexError(f"slice {index} does not exist; the image has slices 0 to {image.frames - 1}")
    attributes = {name: value for name, value in image.attributes.items() if name not in _STACK_ATTRIBUTES}
    cosines = image.attributes.get("direction", "").split()
    if len(cosines) == 9:
        attributes["direction"] = " ".join(cosines[:6])
    if "position_mm" in attributes:
        attributes["position_mm"] = _position_of_slice(image, at)
    return dataclasses.replace(
        image,
        pixels=image.pixels[at],
        spacing=None if image.spacing is None else image.spacing[-2:],
        frame=None,
        value_range=image.display_range,
        detail=_detail(image, at),
        attributes=attributes,
    )


def _take_slices(image: Image, wanted: slice) -> Image:
    start, stop, step = wanted.indices(image.frames)
    chosen = range(start, stop, step)
    if step < 1:
        raise ValueError(f"slices are taken in their order, not in steps of {step}")
    if not chosen:
        raise ValueError(f"{wanted.start}:{wanted.stop} holds none of the slices 0 to {image.frames - 1}")
    attributes, spacing = dict(image.attributes), image.spacing
    first = _first_slice(image)
    if step == 1:
        if "slices" in attributes or "position_mm" in attributes:
            attributes["slices"] = f"{first + start}-{first + chosen[-1]}"
    else:
        if _OFFSETS in attributes:
            offsets = attributes[_OFFSETS].split()
            attributes[_OFFSETS] = " ".join(offsets[first + at] for at in chosen)
        elif "position_mm" in attributes:
            attributes["position_mm"] = _position_of_slice(image, start)
        attributes.pop("slices", None)
        if spacing is not None and len(spacing) == 3:
            spacing = (spacing[0] * step, *spacing[1:])
    displayed = image.displayed_frame
    return dataclasses.replace(
        image,
        pixels=image.pixels[start:stop:step],
        spacing=spacing,
        frame=chosen.index(displayed) if displayed in chosen else None,
        value_range=image.display_range,
        detail=_detail(image, wanted),
        attributes=attributes,
    )


def _detail(image: Image, key: int | slice) -> Image | None:
    detail = image.detail
    return slice_image(detail, key) if detail is not None and detail.frames == image.frames else None


def _first_slice(image: Image) -> int:
    return int(image.attributes.get("slices", "0-0").split("-")[0])


def _position_of_slice(image: Image, at: int) -> str:
    """The attribute `position_mm` of the source of one slice."""
    x, y, z = (float(word) for word in image.attributes["position_mm"].split())
    offsets = image.attributes.get(_OFFSETS, "").split()
    first = _first_slice(image)
    if offsets:  # of uneven slices each states its distance from the first one, along the normal
        apart = {name: value for name, value in image.attributes.items() if name != _OFFSETS} | {
            "slice_thickness_mm": "1"
        }
        step = patient_geometry(dataclasses.replace(image, spacing=None, attributes=apart)).steps[2]
        count = float(offsets[first + at])
    else:
        step, count = patient_geometry(image).steps[2], float(first + at)
    moved = (x + step[0] * count, y + step[1] * count, z + step[2] * count)
    return " ".join(f"{value:.7g}" for value in moved)
