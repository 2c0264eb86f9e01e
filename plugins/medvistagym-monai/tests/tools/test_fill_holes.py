"""`fill_holes`: what a slice encloses."""

from __future__ import annotations

import numpy as np

from medvistagym_core.imaging import Image
from medvistagym_monai import fill_holes


def test_holes_are_what_a_slice_encloses() -> None:
    plane = np.zeros((20, 20), bool)
    plane[2:18, 2:18] = True
    plane[5:8, 5:8] = False  # a hole
    plane[10:12, 10:20] = False  # a bay
    plane[14, 14] = plane[15, 15] = False  # two holes that touch at a corner
    filled, text, data = fill_holes(Image(unit="mask", pixels=plane, spacing=(1.0, 2.0)))
    assert filled.pixels[5:8, 5:8].all()
    assert not filled.pixels[10:12, 12:].any()
    assert (data["holes"], data["added"]["area_mm2"]) == (3, 22)
    assert text.startswith("Filled 3 holes of 22.0 mm2 in all: ")
    again, text, data = fill_holes(filled)
    assert again.digest == filled.digest
    assert data["holes"] == 0
    assert text.startswith("There is no hole to fill")
    tube = np.repeat(plane[None], 4, 0)  # open at both ends, and filled all the same
    volume, _, data = fill_holes(Image(unit="mask", pixels=tube, spacing=(3.0, 1.0, 2.0)))
    assert np.array_equal(volume.pixels, np.repeat(filled.pixels[None], 4, 0))
    assert data["holes"] == 12


def test_all_frames_of_a_mask_are_filled_where_no_distance_between_them_is_known() -> None:
    plane = np.ones((6, 6), bool)
    plane[2:4, 2:4] = False
    filled, text, data = fill_holes(Image(unit="mask", pixels=np.stack([plane] * 3)))
    assert filled.pixels.shape == (3, 6, 6)
    assert filled.pixels.all()
    assert (data["holes"], data["added"]) == (3, {"pixels": 12})
    assert text.startswith("Filled 3 holes of 12 pixels in all")
