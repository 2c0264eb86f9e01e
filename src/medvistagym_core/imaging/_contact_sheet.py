"""Many images, or the slices of a volume, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging._mask import resample_mask_to
from medvistagym_core.imaging._resample import erode_mask, resize_mask

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from medvistagym_core.imaging._image import Image

_GAP: Final = 4
_OUTLINE: Final = (255, 214, 0)


def contact_sheet(
    images: Sequence[Image], mask: Image | None = None, *, count: int = 24, columns: int = 6, side: int = 192
) -> PIL.Image.Image:
    """A page of pictures, each as `view` shows it and with its number; RGB, on black.

    Args:
        images: Plain images, or one volume, of which slices are drawn evenly.
        mask: What to outline on each, of the same size and place; of a volume only the slices that it marks are drawn.
        count: Most pictures.
        columns: Pictures in a row.
        side: Longer side of a picture in pixels.

    Raises:
        ValueError: There is no image, or the mask goes with none of them.
    """
    import PIL.Image
    import PIL.ImageDraw

    if not images:
        raise ValueError("there is no image to draw")
    pictures = _slices(images[0], mask, count) if images[0].is_stack else _pictures(images, mask, count)
    tiles = [(number, _tile(image, marked, side)) for number, image, marked in pictures]
    width, height = max(tile.width for _, tile in tiles), max(tile.height for _, tile in tiles)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    page = PIL.Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP))
    draw = PIL.ImageDraw.Draw(page)
    for place, (number, tile) in enumerate(tiles):
        x, y = _GAP + place % columns * (width + _GAP), _GAP + place // columns * (height + _GAP)
        page.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))
        draw.text((x + 3, y + 2), str(number), fill="white", stroke_width=1, stroke_fill="black")
    return page


def _slices(volume: Image, mask: Image | None, count: int) -> list[tuple[int, Image, np.ndarray | None]]:
    marked = None if mask is None else resample_mask_to(mask, volume)
    numbers: list[int] = list(range(volume.frames))
    if marked is not None and marked.ndim == 3:
        numbers = [number for number in numbers if marked[number].any()]
    chosen = _evenly(numbers, count)
    return [
        (number, volume[number], None if marked is None else marked[number] if marked.ndim == 3 else marked)
        for number in chosen
    ]


def _pictures(images: Sequence[Image], mask: Image | None, count: int) -> list[tuple[int, Image, np.ndarray | None]]:
    chosen = _evenly(list(range(len(images))), count)
    return [
        (number, images[number], None if mask is None else resample_mask_to(mask, images[number])) for number in chosen
    ]


def _evenly(numbers: list[int], count: int) -> list[int]:
    """At most `count` of the numbers, evenly drawn, the first and the last among them."""
    if len(numbers) <= count:
        return numbers
    if count == 1:
        return [numbers[len(numbers) // 2]]
    return [numbers[round(k * (len(numbers) - 1) / (count - 1))] for k in range(count)]


def _tile(image: Image, marked: np.ndarray | None, side: int) -> PIL.Image.Image:
    import numpy as np
    import PIL.Image

    tile = np.array(PIL.Image.fromarray(image.view(side)).convert("RGB"))
    if marked is not None and marked.any():
        mask = resize_mask(marked, *tile.shape[:2]) if marked.shape != tile.shape[:2] else marked
        tile[mask & ~erode_mask(mask)] = _OUTLINE
    return PIL.Image.fromarray(tile)
