"""Windows of files and the pictures they make, against pydicom's windowing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from medvistagym_core.imaging import Image, Window
from medvistagym_dicom import read_one, window

Reference = Callable[[str], tuple[pydicom.Dataset, np.ndarray | None]]
Named = Callable[[str], Image]
Write = Callable[..., Path]
RAMP = np.linspace(-1200, 2000, 6401)


def greys(values: np.ndarray, ds: Dataset, index: int = 0) -> np.ndarray:
    """pydicom's windowing of physical values, its output range mapped to 0 to 255 as floats."""
    padded = np.concatenate([np.asarray(values, np.float64).ravel(), [-1e9, 1e9]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = apply_windowing(padded, ds, index)
    low, high = shown[-2:]
    result: np.ndarray = ((shown[:-2] - low) / (high - low) * 255).reshape(values.shape)
    return result


def test_every_window_of_a_file_shows_what_pydicom_shows(windowed: str, image: Named, reference: Reference) -> None:
    ours = image(windowed)
    ds, theirs = reference(windowed)
    assert theirs is not None
    centers = np.atleast_1d(ds.WindowCenter).astype(float).tolist()
    widths = np.atleast_1d(ds.WindowWidth).astype(float).tolist()
    assert [(w.center, w.width) for w in ours.windows] == list(zip(centers, widths, strict=True))
    assert ours.window == ours.windows[0]
    for index, one in enumerate(ours.windows):
        expected = greys(theirs, ds, index)
        if ours.photometric == "MONOCHROME1":
            expected = 255 - expected
        seen = ours.with_window(one).view()
        assert np.abs(seen - expected).max() <= 1, (index, one)


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (40.5, 80.25), (0, 1), (300, 2), (128, 256)])
def test_window_functions_equal_those_of_pydicom(function: str, center: float, width: float) -> None:
    ds = Dataset()
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, function.upper()
    ds.BitsStored, ds.PixelRepresentation, ds.PhotometricInterpretation = 16, 1, "MONOCHROME2"
    ours = Window(center, width, function).apply(RAMP)  # type: ignore[arg-type]
    assert np.abs(ours - greys(RAMP, ds)).max() <= 0.02


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
@pytest.mark.parametrize(("center", "width"), [(40.0, 400.0), (-600.0, 1500.0), (40.5, 80.25), (300.0, 2.0)])
def test_the_tool_shows_what_the_functions_of_the_standard_and_pydicom_show(
    function: Any, center: float, width: float
) -> None:
    values = RAMP.astype(np.float32).reshape(173, 37)
    shown = window(Image(pixels=values, unit="HU"), center=center, width=width, function=function).view()
    x = values.astype(np.float64)
    by_standard = {  # PS3.3 C.11.2.1.2, C.11.2.1.3.2 and C.11.2.1.3.1, with an output from 0 to 255
        "linear": np.clip(((x - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255),
        "linear_exact": np.clip(((x - center) / width + 0.5) * 255, 0, 255),
        "sigmoid": 255 / (1 + np.exp(np.clip(-4 * (x - center) / width, -700, 700))),
    }[function]
    assert np.abs(shown - by_standard).max() <= 0.51
    ds = Dataset()
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, function.upper()
    ds.BitsStored, ds.PixelRepresentation, ds.PhotometricInterpretation = 16, 1, "MONOCHROME2"
    assert np.abs(shown - greys(values, ds)).max() <= 1


def test_a_preset_takes_a_function_and_keeps_its_name() -> None:
    image = Image(pixels=RAMP.reshape(173, 37), unit="HU")
    assert window(image, preset="lung", function="sigmoid").window == Window(-600, 1500, "sigmoid", "lung")
    assert window(image, preset="lung").window == Window(-600, 1500, "linear", "lung")
    assert window(image, center=1.0, width=0.5).window == Window(1, 0.5, "linear_exact")
    error = window.run({"image": image, "center": 1.0, "width": 0.5, "function": "linear"}).error
    assert error is not None
    assert error.message == "window: the width of a linear window must be at least 1, not 0.5."


def test_the_function_of_the_file_is_used(tmp_path: Path, write: Write) -> None:
    stored = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        file = write(stored, WindowCenter=1000, WindowWidth=700, VOILUTFunction=function)
        image = read_one(file)
        assert image.window == Window(1000, 700, function.lower())  # type: ignore[arg-type]
        assert np.abs(image.view() - greys(stored, pydicom.dcmread(file))).max() <= 1


def test_several_windows_are_all_offered_and_named_only_by_known_words(write: Write) -> None:
    stored = np.zeros((4, 4), np.int16)
    names = ["BRAIN", "Ms Miller's bone", "LUNG"]
    image = read_one(
        write(stored, WindowCenter=[40, 400, -600], WindowWidth=[80, 1800, 1500], WindowCenterWidthExplanation=names)
    )
    assert [w.name for w in image.windows] == ["brain", None, "lung"]
    assert image.window == image.windows[0]


def test_impossible_windows_are_passed_over(write: Write) -> None:
    stored = np.zeros((4, 4), np.int16)
    image = read_one(write(stored, WindowCenter=[40, 50, 0.5, 1], WindowWidth=[0, -1, 0.25, "1e-300"]))
    assert image.windows == (Window(0.5, 0.25, "linear_exact"),)


def test_hu_without_a_window_is_shown_as_soft_tissue(image: Named) -> None:
    scan = image("CT_small.dcm")
    assert scan.windows == ()
    assert scan.window is not None
    assert (scan.window.center, scan.window.width) == (40, 400)


def test_other_values_without_a_window_are_shown_by_percentiles_without_padding(write: Write) -> None:
    rng = np.random.default_rng(1)
    stored = rng.normal(1000, 50, (64, 64)).astype(np.int16)
    stored[:, :40] = -2000
    image = read_one(write(stored, Modality="MR", PixelPaddingValue=-2000))
    assert image.window is not None
    low, high = np.percentile(stored[stored > -2000], (0.5, 99.5))
    assert image.window.center - image.window.width / 2 == pytest.approx(low)
    assert image.window.center + image.window.width / 2 == pytest.approx(high)


def test_constant_values_without_a_window_have_one(write: Write) -> None:
    image = read_one(write(np.full((4, 4), 7, np.uint16), Modality="MR"))
    assert image.view().shape == (4, 4)


def test_eight_bit_greys_are_shown_as_they_are(image: Named) -> None:
    picture = image("image_dfl.dcm")
    assert (picture.window, picture.unit) == (None, "grey")
    assert np.array_equal(picture.view(), picture.pixels)


def test_masks_are_black_and_white(image: Named) -> None:
    mask = image("liver_1frame.dcm")
    assert np.array_equal(mask.view(), mask.pixels * 255)
    assert set(np.unique(mask.pixels)) == {0, 1}


def test_deep_colour_is_shown_over_its_full_range(image: Named) -> None:
    deep, shallow = image("SC_rgb_rle_16bit.dcm"), image("SC_rgb_rle.dcm")
    assert np.abs(deep.view().astype(int) - shallow.view()).max() <= 1


def test_frames_may_carry_their_window_in_functional_groups(image: Named) -> None:
    assert image("eCT_Supplemental.dcm").window == Window(49, 102)
