"""What a plane is good for afterwards: it is not distorted, and other tools go on from it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import IDENTITY, Box, Image, Window
from medvistagym_dicom import measure, reformat, zoom

from .volumes import HEAD, PLANES, lying, run, turned


def test_views_are_not_distorted_and_tools_go_on_from_them() -> None:
    ball = np.indices((20, 100, 100)).astype(float)
    place = (ball - np.array([9.5, 49.5, 49.5])[:, None, None, None]) * np.array([5.0, 1, 1])[:, None, None, None]
    volume = Image(
        pixels=np.where((place**2).sum(0) < 30**2, 100, -1000).astype(np.int16), unit="HU", spacing=(5.0, 1.0, 1.0),
        window=Window(40, 400), windows=(Window(40, 400), Window(0, 10)), modality="CT",
        attributes={"direction": "1 0 0 0 1 0 0 0 1"},
    )  # fmt: skip
    for plane in PLANES:
        view, _ = run(reformat, image=volume, plane=plane)
        assert view.spacing == pytest.approx((1.0, 1.0))
        rows, columns = np.nonzero(view.pixels > -450)
        assert np.ptp(rows) == pytest.approx(59, abs=4)
        assert np.ptp(columns) == pytest.approx(59, abs=1)
        assert (view.window, view.windows, view.modality, view.unit) == (
            volume.window,
            volume.windows,
            volume.modality,
            volume.unit,
        )
        inside = measure.run({"image": view, "box": Box(450, 450, 550, 550)})
        assert inside.text == "mean 100 HU, SD 0, min 100, max 100, 10.0 x 10.0 mm"
        part, _ = run(zoom, image=view, box=Box(400, 400, 600, 600))
        assert part.pixels.min() == 100
    again = measure.run({"image": volume.resized(40, 40), "box": Box(450, 450, 550, 550)})
    assert again.data == measure.run({"image": volume, "box": Box(450, 450, 550, 550)}).data


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
@pytest.mark.parametrize("swapped", [False, True])
def test_a_slice_knows_where_it_lies_in_the_stack_it_came_from(signs: Any, swapped: bool) -> None:
    directions = HEAD[[1, 0, 2]] if swapped else HEAD
    volume = lying(directions * np.array([*signs, 1])[:, None], spacing=(2.0, 1.0, 1.0))
    for part in (volume, volume.crop(3, 5, 20, 18)):
        view, _ = run(reformat, image=part, plane="axial", index=1)
        assert view.source_shape == volume.shape
        a, b, c, d, e, f = view.to_source
        for y, x in ((0, 0), (3, 7)):
            across, down = a * (x + 0.5) + b * (y + 0.5) + c, d * (x + 0.5) + e * (y + 0.5) + f
            assert view.pixels[y, x] == volume.pixels[1, int(down), int(across)]
    side, _ = run(reformat, image=volume, plane="coronal")
    assert (side.to_source, side.source_shape) == (IDENTITY, side.shape)


def test_an_image_that_was_cut_or_mirrored_is_still_seen_the_right_way_round() -> None:
    volume = lying(HEAD, spacing=(1.0, 1.0, 1.0))
    w = volume.shape[1]
    mirrored = volume.with_pixels(volume.pixels[:, :, ::-1], to_source=(-1.0, 0.0, float(w), 0.0, 1.0, 0.0))
    for plane in PLANES:
        seen, expected = (run(reformat, image=one, plane=plane, index=2)[0] for one in (mirrored, volume))
        assert np.array_equal(seen.pixels, expected.pixels)
    slanted = volume.with_pixels(volume.pixels, to_source=(0.8, 0.6, 0.0, -0.6, 0.8, 0.0))
    error = reformat.run({"image": slanted, "plane": "coronal"}).error
    assert error is not None
    assert "turned by an angle" in error.message


def test_masks_stay_masks() -> None:
    pixels = np.zeros((6, 12, 12), bool)
    pixels[2:4, 3:9, 3:9] = True
    volume = Image(pixels=pixels, unit="mask", spacing=(3.0, 1.0, 1.0), attributes={"direction": "1 0 0 0 1 0 0 0 1"})
    view, _ = run(reformat, image=volume, plane="coronal")
    assert view.pixels.dtype == bool
    assert view.shape == (18, 12)
    assert int(view.pixels.sum()) == 6 * 6
    uneven = volume.replace(attributes={**volume.attributes, "slice_offsets_mm": "0 3 6 9 20 23"})
    assert run(reformat, image=uneven, plane="coronal")[0].pixels.dtype == bool
    slanted = lying(turned(20, (1, 0, 0)), shape=(6, 12, 12)).replace(pixels=pixels, unit="mask")
    assert set(np.unique(run(reformat, image=slanted, plane="coronal")[0].pixels)) == {False, True}
