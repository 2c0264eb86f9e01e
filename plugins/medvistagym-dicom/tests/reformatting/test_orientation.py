"""Where planes lie in the patient, however the slices were acquired, and what is said of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_dicom import project, reformat

from .volumes import HEAD, PLANES, VIEWS, WEIGHTS, lying, run, turned


def check_lie(view: Image, plane: str) -> None:
    """Columns and rows run along the patient's axes, in the usual directions, as far apart as the spacing says."""
    assert view.spacing is not None
    _, (across, right), (down, below) = VIEWS[plane]
    pixels = view.pixels[1:-1, 1:-1]
    inside = np.isfinite(pixels)
    assert inside.mean() > 0.3
    steps = np.diff(pixels, axis=1), np.diff(pixels, axis=0)
    for step, expected in zip(
        steps, (right * WEIGHTS[across] * view.spacing[1], below * WEIGHTS[down] * view.spacing[0]), strict=True
    ):
        step = step[np.isfinite(step)]
        assert np.median(step) == pytest.approx(expected, rel=1e-3)
        assert np.percentile(np.abs(step - expected), 90) < 0.01 * abs(expected) + 1e-3


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_plane_lies_the_same_however_the_slices_were_acquired(plane: Any, order: Any, signs: Any) -> None:
    volume = lying(HEAD[list(order)] * np.array(signs)[:, None])
    counted = VIEWS[plane][0]
    views = [run(reformat, image=volume, plane=plane, index=k) for k in (2, 3)]
    for view, result in views:
        check_lie(view, plane)
        assert "oblique" not in result.text
    (first, told), (second, told_next) = views
    assert told.data is not None
    assert told_next.data is not None
    between = told_next.data["position_mm"] - told.data["position_mm"]
    middle = tuple(n // 2 for n in first.shape)
    assert second.pixels[middle] - first.pixels[middle] == pytest.approx(WEIGHTS[counted] * between, rel=1e-4)
    assert between == pytest.approx(volume.spacing[{2: 0, 1: 1, 0: 2}[list(order).index(counted)]])  # type: ignore[index]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("degrees", "axis"), [(15, (1, 0, 0)), (-30, (0, 1, 0)), (20, (1, 2, 3))])
def test_planes_of_oblique_slices_are_those_of_the_patient(plane: Any, degrees: float, axis: Any) -> None:
    volume = lying(turned(degrees, axis), shape=(16, 30, 36))
    view, result = run(reformat, image=volume, plane=plane)
    check_lie(view, plane)
    assert "the slices lie oblique" in result.text
    counted = VIEWS[plane][0]
    assert result.data is not None
    nearer, before = run(reformat, image=volume, plane=plane, position_mm=result.data["position_mm"] - 1)
    assert before.data is not None
    moved = result.data["position_mm"] - before.data["position_mm"]
    assert np.nanmedian(view.pixels - nearer.pixels) == pytest.approx(WEIGHTS[counted] * moved, rel=0.01)


def test_the_shear_of_a_tilted_gantry_is_reported_and_mended() -> None:
    directions = turned(20, (1, 0, 0))
    directions[2] = HEAD[2]  # the table moves along the patient, not along the tilted normal
    volume = lying(directions, shape=(20, 40, 30), attributes={"shear_deg": "20.0"})
    view, result = run(reformat, image=volume, plane="sagittal")
    check_lie(view, "sagittal")
    assert "the slices are sheared by 20 degrees (gantry tilt), which is corrected" in result.text
    _, result = run(project, image=volume, plane="sagittal", method="maximum")
    assert "which is not corrected" in result.text


def test_uneven_slices_are_put_in_their_places_and_reported() -> None:
    places = np.array([0.0, 2.5, 5, 20, 22.5, 25])
    even = lying(HEAD, shape=(6, 8, 8))
    values = even.pixels - even.pixels[:, :1, :1] + (places * WEIGHTS[2])[:, None, None]
    told = {"slice_spacing": "irregular", "slice_offsets_mm": " ".join(map(str, places))}
    volume = even.replace(pixels=values, attributes={**even.attributes, **told})
    view, result = run(reformat, image=volume, plane="coronal", index=4)
    check_lie(view, "coronal")
    assert view.spacing is not None
    assert view.shape[0] * view.spacing[0] == pytest.approx(27.5, abs=2.5)
    assert "unevenly spaced, up to 15 mm apart; what lies in a gap is not known" in result.text
    assert "unevenly" in run(reformat, image=volume)[1].text
    nearest = run(reformat, image=volume, plane="axial", position_mm=19.0)[1].data
    assert nearest is not None
    assert (nearest["slice"], nearest["position_mm"]) == (3, 20.0)
