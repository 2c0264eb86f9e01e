"""Planes of series and of multi-frame objects as they are read from files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from medvistagym_dicom import project, read, read_one, reformat

from .volumes import HEAD, PLANES, Named, Write, run, turned


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
        along: np.ndarray = np.zeros(values.shape)
        for index, step, unit in zip(np.indices(values.shape), spacing, np.array(directions)[::-1], strict=True):
            along = along + index * step * unit[axis]
        if np.dot(np.cross(directions[0], directions[1]), directions[2]) < 0:  # slices are read along their normal
            along = along[::-1]
        coordinates.append(run(reformat, image=volume.replace(pixels=along), plane=plane)[0].pixels)
    places = np.stack(coordinates, -1)
    reference = SimpleITK.GetImageFromArray(values.astype(np.float32))
    reference.SetSpacing(spacing[::-1])  # type: ignore[no-untyped-call]
    flat = np.stack([directions[0], directions[1], directions[2]], 1)
    indices = (places @ np.linalg.inv(flat).T) / np.array(spacing[::-1])
    seen = 0
    for y, x in itertools.product(range(2, view.shape[0] - 2, 3), range(2, view.shape[1] - 2, 3)):
        at = indices[y, x]
        if not np.isfinite(at).all() or (at < 0.1).any() or (at > np.array(values.shape[::-1]) - 1.1).any():
            continue
        reference.SetOrigin((0, 0, 0))  # type: ignore[no-untyped-call]
        point = [float(v) for v in at]
        expected = reference.EvaluateAtContinuousIndex(point, SimpleITK.sitkLinear)  # type: ignore[no-untyped-call]
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
