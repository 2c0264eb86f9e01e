"""Tiles of a picture that is too large for one frame, as of a whole slide, put together (PS3.3 C.8.12.4, C.8.12.14)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._frames import Frame
from medvistagym_dicom.reading._functional_groups import functional_group

if TYPE_CHECKING:
    import numpy as np

_ALLOWANCE: Final = 1 << 24
_MAX_GAPS: Final = 16  # how many times as large as its tiles a picture may be


class _Tile(NamedTuple):
    plane: int
    top: int
    left: int


def is_tiled(frames: Sequence[Frame]) -> bool:
    """Whether frames are the tiles of one picture."""
    dataset, pixel_format = frames[0].dataset, frames[0].pixel_format
    rows, columns = dataset.integer("TotalPixelMatrixRows", 0), dataset.integer("TotalPixelMatrixColumns", 0)
    is_one = all(frame.dataset is dataset for frame in frames) and len(frames) == pixel_format.frames > 1
    return is_one and rows > 0 and columns > 0 and (rows, columns) != (pixel_format.rows, pixel_format.columns)


def assemble_tiles(values: np.ndarray, frames: Sequence[Frame]) -> np.ndarray:
    """The picture `(planes, rows, columns)`, or with colours behind, that tiles make up; gaps are white in colours, else 0.

    Args:
        values: Of the tiles, in the order of `frames`.
        frames: All frames of an object.

    Raises:
        DicomError: The picture is much larger than its tiles, or than is read; or a tile has no place in it.
    """
    import numpy as np

    dataset = frames[0].dataset
    name = dataset.source.name
    rows, columns = dataset.integer("TotalPixelMatrixRows", 0), dataset.integer("TotalPixelMatrixColumns", 0)
    tiles = _places(frames, rows, columns)
    planes = 1 + max(tile.plane for tile in tiles)
    size = planes * rows * columns * math.prod(values.shape[3:]) * values.itemsize
    if size > min(dataset.source.max_bytes, max(_ALLOWANCE, _MAX_GAPS * values.nbytes)):
        text = f"{columns} x {rows} pixels of which {len(frames)} tiles are stored"
        raise DicomError("too_large", f"{name}: {text} need {size >> 20} MiB, more than is read of them")
    blank = 255 if values.ndim == 4 and values.dtype == np.uint8 else 0
    picture = np.full((planes, rows, columns, *values.shape[3:]), blank, values.dtype)
    for tile, pixels in zip(tiles, values, strict=True):
        if not (0 <= tile.top < rows and 0 <= tile.left < columns):
            raise DicomError("corrupt", f"{name}: a tile lies outside of the picture")
        part = picture[tile.plane, tile.top : tile.top + len(pixels), tile.left : tile.left + pixels.shape[1]]
        part[...] = pixels[: part.shape[0], : part.shape[1]]
    return picture


def _places(frames: Sequence[Frame], rows: int, columns: int) -> list[_Tile]:
    """Where each tile lies: as its functional group says, or one after another, row by row and plane by plane."""
    height, width = frames[0].pixel_format.rows, frames[0].pixel_format.columns
    across = -(-columns // width)
    down = -(-rows // height)
    tiles = []
    counts: dict[tuple[int, int], int] = {}
    for frame in frames:
        item = functional_group(frame.dataset, frame.index, "PlanePositionSlideSequence")
        left = None if item is None else item.number("ColumnPositionInTotalImagePixelMatrix")
        top = None if item is None else item.number("RowPositionInTotalImagePixelMatrix")
        if left is None or top is None:
            plane, within = divmod(frame.index, across * down)
            tiles.append(_Tile(plane, within // across * height, within % across * width))
        else:  # of several planes at one place the first is that which comes first
            place = int(top) - 1, int(left) - 1
            tiles.append(_Tile(counts.get(place, 0), *place))
            counts[place] = counts.get(place, 0) + 1
    return tiles
