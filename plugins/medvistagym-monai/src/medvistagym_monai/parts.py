"""The tools `components` and `fill_holes`, for masks.

Parts are connected by faces (MONAI's `connectivity=1`), in a volume across its slices; holes are what a slice encloses. Both
label with scipy, which MONAI's own transforms need scikit-image for, or are several times slower than (see the README).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_segment.masks import Extent, as_image, facts, finest, in_words, inside

if TYPE_CHECKING:
    import numpy as np

_LISTED: Final = 10


@tool
def components(mask: Image, keep: Annotated[int, Field(ge=1, le=1000)] = 1) -> tuple[Image, str, dict[str, Any]]:
    """List the connected parts of a mask by size, and keep one of them.

    Use it on a mask that holds more than what was sought, before crop_to_mask, or to count and size lesions. To drop specks but
    keep all else use morphology with open.

    Args:
        mask: The mask, of an image or a volume.
        keep: Which part to keep: 1 the largest, 2 the next, and so on.
    """
    import numpy as np
    from scipy import ndimage  # type: ignore[import-untyped]

    source = finest(mask)
    labels, count = ndimage.label(_filled(source))
    if keep > count:
        raise ValueError(f"the mask has {count} part{'s' * (count != 1)}; there is no part {keep}")
    sizes = np.bincount(labels.ravel())[1:]
    order = np.argsort(-sizes, kind="stable") + 1
    kept = labels == order[keep - 1]
    rank = np.zeros(count + 1, np.uint8)
    rank[order[:_LISTED]] = np.arange(1, min(count, _LISTED) + 1)
    listed = [
        {"part": k, **_size(int(sizes[order[k - 1] - 1]), source), **_place(where, source)}
        for k, where in enumerate(ndimage.find_objects(rank[labels]), start=1)
        if where is not None
    ]
    found = facts(kept, source)
    text = f"part {keep} of {count}: {in_words(found)}"
    others = [f"{part['part']}: {_words(part)} at {part['box']}" for part in listed if part["part"] != keep]
    if others:
        text += f". Others: {'; '.join(others)}" + (f"; {count - len(listed)} more" if count > len(listed) else "")
    return as_image(kept, source), text, {"parts": count, "kept": keep, **found, "listed": listed}


@tool
def fill_holes(mask: Image) -> tuple[Image, str, dict[str, Any]]:
    """Fill the holes that a mask encloses; in a volume slice by slice.

    Use it on a mask that left out vessels, air or dark spots inside the structure. To close gaps at its border use morphology
    with close.

    Args:
        mask: The mask, of an image or a volume.
    """
    import numpy as np
    from scipy import ndimage

    source = finest(mask)
    held = _filled(source)
    slices = held if source.is_stack else held[None]
    within = np.zeros((3, 3, 3), bool)  # neighbours in the same slice alone
    within[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(~slices, within)
    outside = np.zeros(count + 1, bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[edge] = True
    outside[0] = False  # that is the mask itself
    holes = count - int(np.count_nonzero(outside))
    whole = ~outside[labels]
    added = int(np.count_nonzero(whole)) - int(np.count_nonzero(slices))
    filled = whole if source.is_stack else whole[0]
    data = {"holes": holes, "added": _size(added, source), **facts(filled, source)}
    if not holes:
        return as_image(filled, source), f"There is no hole to fill: {in_words(data)}", data
    said = f"Filled {holes} hole{'s' * (holes != 1)} of {_words(data['added'])} in all: {in_words(data)}"
    return as_image(filled, source), said, data


def _filled(source: Image) -> np.ndarray:
    held = inside(source)
    if not held.any():
        raise ValueError("the mask is empty")
    return held


def _size(pixels: int, source: Image) -> dict[str, Any]:
    data: dict[str, Any] = {"pixels": pixels}
    if source.spacing is not None:
        if source.is_stack:
            data["volume_ml"] = pixels * math.prod(source.spacing) / 1000
        else:
            data["area_mm2"] = pixels * math.prod(source.spacing[-2:])
    return data


def _words(size: dict[str, Any]) -> str:
    if "volume_ml" in size:
        return f"{size['volume_ml']:.2f} ml"
    return f"{size['area_mm2']:.1f} mm2" if "area_mm2" in size else f"{size['pixels']} pixels"


def _place(where: tuple[slice, ...], source: Image) -> dict[str, Any]:
    y, x = where[-2:]
    data: dict[str, Any] = {"box": Extent((x.start, x.stop), (y.start, y.stop)).box(source)}
    if len(where) == 3:
        data["slices"] = [where[0].start, where[0].stop - 1]
    return data
