"""Projections of slabs, and slices and slabs that do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_dicom import project, reformat

from .volumes import HEAD, PLANES, Named, lying, run


@pytest.mark.parametrize(("method", "reduce"), [("maximum", np.max), ("minimum", np.min), ("mean", np.mean)])
@pytest.mark.parametrize("plane", ["acquired", *PLANES])
def test_projections_equal_numpy(method: Any, reduce: Any, plane: Any) -> None:
    values = np.random.default_rng(0).normal(0, 300, (9, 12, 15)).astype(np.int16)
    volume = Image(pixels=values, unit="HU", spacing=(1.0, 1.0, 1.0), attributes={"direction": "1 0 0 0 1 0 0 0 1"})
    axis, flip = {"acquired": (0, 1), "axial": (0, 1), "coronal": (1, -1), "sagittal": (2, -1)}[plane]
    view, result = run(project, image=volume, method=method, plane=plane)
    np.testing.assert_allclose(view.pixels, reduce(values, axis)[::flip], rtol=1e-5)
    slab, _ = run(project, image=volume, method=method, plane=plane, from_mm=2.0, to_mm=5.5)
    np.testing.assert_allclose(slab.pixels, reduce(values.take(range(2, 6), axis), axis)[::flip], rtol=1e-5)
    assert result.text.startswith(f"{method} of {values.shape[axis]} {plane} slices, 0.0 to ")


def test_a_slab_is_counted_from_the_same_end_as_slices() -> None:
    volume = lying(HEAD * [[1], [-1], [-1]], spacing=(2.0, 1.0, 1.0))
    for plane in PLANES:
        slice_, told = run(reformat, image=volume, plane=plane, index=1)
        assert told.data is not None
        place = told.data["position_mm"]
        slab, _ = run(project, image=volume, method="mean", plane=plane, from_mm=place - 0.1, to_mm=place + 0.1)
        np.testing.assert_allclose(slab.pixels, slice_.pixels, rtol=1e-5, atol=1e-4)


def test_values_that_are_missing_are_passed_over() -> None:
    values = np.array([[[1.0, np.nan]], [[3.0, np.nan]], [[np.nan, np.inf]]], np.float32)
    volume = Image(pixels=values, unit="HU", spacing=(1.0, 1.0, 1.0))
    assert run(project, image=volume, method="mean")[0].pixels[0, 0] == 2
    assert run(project, image=volume, method="maximum")[0].pixels[0, 0] == 3
    assert np.isnan(run(project, image=volume, method="mean")[0].pixels[0, 1])


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"index": 1, "position_mm": 2.0}, "give an index or a position_mm, not both"),
        ({"index": 9}, "there is no slice 9; they are 0 to 8"),
        ({"plane": "coronal", "index": 20}, "there is no coronal slice 20; they are 0 to 19"),
        ({"plane": "axial", "position_mm": 40.0}, "the axial slices lie from 0 to 20.0 mm"),
    ],
)
def test_slices_that_do_not_exist_are_refused(arguments: dict[str, Any], fragment: str) -> None:
    error = reformat.run({"image": lying(HEAD), **arguments}).error
    assert error is not None
    assert error.code == "bad_value"
    assert fragment in error.message


def test_slabs_that_do_not_exist_are_refused() -> None:
    for arguments, fragment in (
        ({"from_mm": 5.0, "to_mm": 3.0}, "from_mm must not be above to_mm, got 5 and 3"),
        ({"from_mm": 90.0, "to_mm": 99.0}, "no slice lies from 90 to 99 mm; the 9 slices lie from 0 to 20.0 mm"),
        ({"from_mm": 0.5, "to_mm": 1.0}, "no slice lies from 0.5 to 1 mm"),
        ({"from_mm": 90.0}, "no slice lies beyond 90 mm; the 9 slices lie from 0 to 20.0 mm"),
    ):
        error = project.run({"image": lying(HEAD), "method": "mean", **arguments}).error
        assert error is not None
        assert error.code == "bad_value"
        assert fragment in error.message


def test_a_single_slice_has_no_other_planes(image: Named) -> None:
    for tool, arguments in ((reformat, {}), (reformat, {"plane": "coronal"}), (project, {"method": "mean"})):
        error = tool.run({"image": image("CT_small.dcm"), **arguments}).error
        assert error is not None
        assert error.message.endswith(
            "this image is a single slice; only a volume or a stack of frames has other planes."
        ) or ("only a volume or a stack of frames has others" in error.message)
