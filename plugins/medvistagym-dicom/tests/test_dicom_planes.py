"""Planes and slabs of volumes: where they lie in the patient, however the slices were acquired, and what is said of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from medvistagym_core.image import IDENTITY, Box, Image, Window
from medvistagym_core.tool import ToolResult
from medvistagym_dicom import measure, project, read, read_one, reformat, zoom

Write = Callable[..., Path]
Named = Callable[[str], Image]
# Plane -> patient axis (0 left, 1 back, 2 head) that it is counted along, that its columns run along, and its rows, with sign.
VIEWS = {"axial": (2, (0, 1), (1, 1)), "coronal": (1, (0, 1), (2, -1)), "sagittal": (0, (1, 1), (2, -1))}
PLANES = list(VIEWS)
WEIGHTS = np.array([1.0, 3.0, 10.0])
HEAD = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # directions of a row, a column and the step between slices


def lying(
    directions: np.ndarray,
    spacing: Sequence[float] = (2.5, 0.75, 0.5),
    shape: tuple[int, int, int] = (9, 20, 26),
    **more: Any,
) -> Image:
    """A volume whose values are WEIGHTS times the place in the patient, in mm, so that every pixel tells where it lies."""
    row, column, step = directions
    k, j, i = np.indices(shape)
    places = [
        index[..., None] * unit * s for index, unit, s in zip((k, j, i), (step, column, row), spacing, strict=True)
    ]
    normal = np.cross(row, column)
    height = spacing[0] * abs(float(step @ normal))
    told = " ".join(f"{v:.9g}" for v in directions.ravel())
    attributes = {"direction": told, **more.pop("attributes", {})}
    return Image(
        pixels=sum(places) @ WEIGHTS, unit="HU", spacing=(height, *spacing[1:]), attributes=attributes, **more
    )  # fmt: skip


def run(tool: Any, **arguments: Any) -> tuple[Image, ToolResult]:
    result = tool.run(arguments)
    assert result.error is None, result.error
    return result.images[0], result


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


def turned(degrees: float, axis: Sequence[float]) -> np.ndarray:
    """Directions turned about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    turn = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return np.asarray(HEAD @ turn.T)


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


def write_series(write: Write, values: np.ndarray, directions: np.ndarray, spacing: Sequence[float]) -> None:
    row, column, step = directions
    for k, pixels in enumerate(values):
        write(
            pixels,
            SeriesInstanceUID="1.2.3",
            InstanceNumber=len(values) - k,
            ImagePositionPatient=[float(f"{v:.6f}") for v in np.array([10, -20, 30]) + k * spacing[0] * step],
            ImageOrientationPatient=[float(f"{v:.8f}") for v in (*row, *column)],
            PixelSpacing=list(spacing[1:]),
        )


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("lie", ["axial", "sagittal", "oblique", "tilted"])
def test_a_series_read_from_files_is_cut_as_simpleitk_cuts_it(
    plane: Any, lie: str, write: Write, tmp_path: Path
) -> None:
    directions = {
        "axial": HEAD, "sagittal": HEAD[[1, 2, 0]] * [[1], [-1], [-1]], "oblique": turned(25, (1, 1, 0)),
        "tilted": turned(18, (1, 0, 0)),
    }[lie]  # fmt: skip
    if lie == "tilted":
        directions = np.stack([directions[0], directions[1], HEAD[2]])
    spacing = (3.0, 1.0, 0.8)
    blurred = np.random.default_rng(3).normal(0, 300, (10, 24, 30))
    for axis, k in itertools.product(range(3), range(3)):
        blurred = blurred + np.roll(blurred, 1 + k, axis) / (2 + k)
    values = blurred.astype(np.int16)
    write_series(write, values, directions, spacing)
    (volume,) = read(tmp_path)
    view, result = run(reformat, image=volume, plane=plane)
    assert result.data is not None
    assert ("the slices lie oblique" in result.text) == (lie == "oblique")
    assert ("sheared by 18 degrees (gantry tilt), which is corrected" in result.text) == (lie == "tilted")
    assert volume.attributes.get("shear_deg") == ("18.0" if lie == "tilted" else None)
    # the same cut of three volumes that hold places tells where its pixels lie; SimpleITK says what is there
    coordinates = []
    for axis in range(3):
        k, j, i = np.indices(values.shape)
        along = sum(
            index * s * unit[axis]
            for index, s, unit in zip((k, j, i), spacing, (directions[2], directions[1], directions[0]), strict=True)
        )
        if np.dot(np.cross(directions[0], directions[1]), directions[2]) < 0:  # slices are read along their normal
            along = along[::-1]
        coordinates.append(run(reformat, image=volume.replace(pixels=along), plane=plane)[0].pixels)
    places = np.stack(coordinates, -1)
    reference = SimpleITK.GetImageFromArray(values.astype(np.float32))
    reference.SetSpacing(spacing[::-1])
    flat = np.stack([directions[0], directions[1], directions[2]], 1)
    index = (places @ np.linalg.inv(flat).T) / np.array(spacing[::-1])
    seen = 0
    for y, x in itertools.product(range(2, view.shape[0] - 2, 3), range(2, view.shape[1] - 2, 3)):
        at = index[y, x]
        if not np.isfinite(at).all() or (at < 0.1).any() or (at > np.array(values.shape[::-1]) - 1.1).any():
            continue
        reference.SetOrigin((0, 0, 0))
        expected = reference.EvaluateAtContinuousIndex([float(v) for v in at], SimpleITK.sitkLinear)
        assert view.pixels[y, x] == pytest.approx(expected, abs=0.1)
        seen += 1
    assert seen > 20


def test_a_real_axial_series_is_counted_from_the_feet(path: Callable[[str], Path]) -> None:
    folder = path("dicomdirtests/DICOMDIR").parent
    volume = next(image for image in read(folder) if image.frames == 5)
    files = sorted((folder / "98892001" / "CT5N").iterdir(), key=lambda f: pydicom.dcmread(f).ImagePositionPatient[2])
    for k, file in enumerate(files):
        view, result = run(reformat, image=volume, plane="axial", index=k)
        assert np.array_equal(view.pixels, pydicom.dcmread(file).pixel_array - 1024)
        assert f"axial slice {k} of 0 to 4, {2.5 * k:.1f} of 10.0 mm from the feet" in result.text
        assert (view.unit, view.modality, view.window, view.spacing) == ("HU", "CT", volume.window, volume.spacing[1:])  # type: ignore[index]
    assert np.array_equal(run(reformat, image=volume)[0].pixels, volume.pixels[2])


def test_a_real_gap_in_a_series_is_reported(path: Callable[[str], Path]) -> None:
    volume = next(image for image in read(path("dicomdirtests/DICOMDIR").parent) if image.frames == 4)
    view, result = run(reformat, image=volume, plane="coronal")
    assert "unevenly spaced, up to 202.5 mm apart" in result.text
    assert view.spacing is not None
    assert view.shape[0] * view.spacing[0] == pytest.approx(205, abs=2)


def test_frames_of_a_clip_are_taken_as_they_are(image: Named) -> None:
    clip = image("examples_ybr_color.dcm")
    view, result = run(reformat, image=clip, index=7)
    assert np.array_equal(view.pixels, clip.pixels[7])
    assert result.text == "slice 7 of 0 to 29, as acquired"
    error = reformat.run({"image": clip, "plane": "coronal"}).error
    assert error is not None
    assert error.code == "bad_value"
    assert "distance between the slices is not known" in error.message
    brightest, result = run(project, image=clip, method="maximum")
    assert np.array_equal(brightest.pixels, clip.pixels.max(0))
    assert result.text == "maximum of 30 frames"


def write_frames(write: Write, heights: Sequence[float]) -> Path:
    """An object whose frames lie at heights of their own; each holds its number."""
    groups = []
    for height in heights:
        position, turn = Dataset(), Dataset()
        position.ImagePositionPatient, turn.ImageOrientationPatient = [0, 0, height], [1, 0, 0, 0, 1, 0]
        group = Dataset()
        group.PlanePositionSequence, group.PlaneOrientationSequence = [position], [turn]
        groups.append(group)
    values = np.arange(len(heights), dtype=np.int16)[:, None, None] * np.ones((1, 6, 6), np.int16)
    return write(values, PixelSpacing=[1, 1], PerFrameFunctionalGroupsSequence=groups)


def test_a_volume_seen_at_several_times_is_not_taken_for_a_taller_one(write: Write) -> None:
    times = read_one(write_frames(write, (0, 5, 10, 0, 5, 10)))
    assert times.spacing == (1.0, 1.0)
    error = reformat.run({"image": times, "plane": "coronal"}).error
    assert error is not None
    assert "distance between the slices is not known" in error.message
    third, _ = run(reformat, image=times, index=3)
    assert third.pixels.max() == 3


def test_frames_with_positions_of_their_own_lie_where_these_say(write: Write) -> None:
    volume = read_one(write_frames(write, (0, -3, -6, -9)))
    assert volume.spacing == (3.0, 1.0, 1.0)
    lowest, _ = run(reformat, image=volume, plane="axial", index=0)
    assert lowest.pixels.max() == 3  # the last frame lies nearest to the feet


def test_a_volume_that_does_not_tell_how_it_lies_is_taken_to_be_axial(image: Named) -> None:
    volume = image("rtdose.dcm")
    foreign = volume.replace(attributes={})
    view, result = run(reformat, image=foreign, plane="coronal")
    assert "the file does not tell how the patient lies" in result.text
    told, result = run(reformat, image=volume, plane="coronal")
    assert "does not tell" not in result.text
    assert np.array_equal(view.pixels, told.pixels)


# -- what a plane is good for afterwards


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


# -- project


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
