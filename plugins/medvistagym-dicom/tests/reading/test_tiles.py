"""Tiles of a whole slide are one picture (PS3.3 C.8.12.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from medvistagym_dicom import DicomError, distance, read, read_one

Write = Callable[..., Path]
SLIDE = np.random.default_rng(0).integers(0, 255, (2, 13, 22, 3)).astype(np.uint8)
PLACES = [(top, left) for top in (0, 8) for left in (0, 8, 16)]


def tiles(plane: int) -> list[np.ndarray]:
    padded = np.zeros((16, 24, 3), np.uint8)
    padded[:13, :22] = SLIDE[plane]
    return [padded[top : top + 8, left : left + 8] for top, left in PLACES]


def slide(write: Write, frames: list[np.ndarray], **elements: Any) -> Path:
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.001, 0.001]
    shared.PixelMeasuresSequence = [measures]
    described = {
        "SOPClassUID": VLWholeSlideMicroscopyImageStorage, "Modality": "SM", "colour": True,
        "TotalPixelMatrixRows": 13, "TotalPixelMatrixColumns": 22, "SharedFunctionalGroupsSequence": [shared],
    }  # fmt: skip
    return write(np.stack(frames), **{**described, **elements})


def placed(places: list[tuple[int, int]]) -> dict[str, Any]:
    groups = []
    for top, left in places:
        place, group = Dataset(), Dataset()
        place.RowPositionInTotalImagePixelMatrix, place.ColumnPositionInTotalImagePixelMatrix = top + 1, left + 1
        group.PlanePositionSlideSequence = [place]
        groups.append(group)
    return {"PerFrameFunctionalGroupsSequence": groups}


def test_tiles_follow_each_other_row_by_row(write: Write) -> None:
    image = read_one(slide(write, tiles(0)))
    np.testing.assert_array_equal(image.pixels, SLIDE[0])
    assert image.photometric == "RGB"
    assert distance.run({"image": image, "from_point": [0, 0], "to_point": [1000, 0]}).text.startswith("0.022 mm, ")


def test_planes_follow_each_other(write: Write) -> None:
    image = read_one(slide(write, [*tiles(0), *tiles(1)]))
    np.testing.assert_array_equal(image.pixels, SLIDE)


def test_tiles_lie_where_they_say_and_gaps_are_blank(write: Write) -> None:
    kept = [5, 0, 3]
    image = read_one(slide(write, [tiles(0)[k] for k in kept], **placed([PLACES[k] for k in kept])))
    expected = np.full((13, 22, 3), 255, np.uint8)
    for top, left in (PLACES[k] for k in kept):
        expected[top : top + 8, left : left + 8] = SLIDE[0, top : top + 8, left : left + 8]
    np.testing.assert_array_equal(image.pixels, expected)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"TotalPixelMatrixRows": 2**31, "TotalPixelMatrixColumns": 2**31}, "too_large"),
        ({"TotalPixelMatrixRows": 30_000, "TotalPixelMatrixColumns": 30_000}, "too_large"),
        (placed([(0, 0), (0, 0), (0, 99), (0, 0), (0, 0), (0, 0)]), "corrupt"),
        (placed([(0, 0), (0, 0), (0, -9), (0, 0), (0, 0), (0, 0)]), "corrupt"),
    ],
)
def test_pictures_that_cannot_be_are_refused(elements: dict[str, Any], reason: str, write: Write) -> None:
    with pytest.raises(DicomError) as refused:
        read(slide(write, tiles(0), **elements))
    assert refused.value.reason == reason
