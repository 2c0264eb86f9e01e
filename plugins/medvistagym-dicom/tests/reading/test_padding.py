"""Padding is no image: not in windows, statistics, interpolation or projections (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medvistagym_core.imaging import Box, Image
from medvistagym_dicom import area, measure, project, read, read_one, reformat, zoom

Write = Callable[..., Path]
WHOLE = Box(0, 0, 1000, 1000)
HU = {"RescaleSlope": 1, "RescaleIntercept": 0}


def half_padded(write: Write, tissue: float, padding: float, kind: Any = np.int16, **elements: Any) -> Image:
    """A slice whose left half is padding."""
    stored = np.full((100, 100), tissue, kind)
    stored[:, :50] = padding
    return read_one(write(stored, PixelSpacing=[1, 1], **elements))


@pytest.mark.parametrize(
    ("kind", "padding", "elements"),
    [
        (np.int16, -2000, {"raw": {0x00280120: ("SS", -2000)}}),
        (np.int16, -2000, {"raw": {0x00280120: ("US", 63536)}}),  # the sign is lost with the wrong representation
        (np.uint16, 65535, {"raw": {0x00280120: ("US", 65535)}}),
        (np.uint16, 63536, {"raw": {0x00280120: ("SS", -2000)}}),
        (np.int16, -2000, {"raw": {0x00280120: ("SS", -2000)}, "RescaleSlope": "0.5", "RescaleIntercept": "0.25"}),
        (np.int16, -2000, {"raw": {0x00280120: ("SS", -1900), 0x00280121: ("SS", -2100)}}),
        (np.float32, -999.5, {"FloatPixelPaddingValue": -999.5}),
        (np.float64, -999.5, {"DoubleFloatPixelPaddingValue": -999.5}),
        (np.float32, -999.5, {"FloatPixelPaddingValue": -900, "FloatPixelPaddingRangeLimit": -1000}),
    ],
)
def test_padding_counts_in_no_statistics(kind: Any, padding: float, elements: dict[str, Any], write: Write) -> None:
    image = half_padded(write, 40, padding, kind, **elements)
    tissue = 40 * float(elements.get("RescaleSlope", 1)) + float(elements.get("RescaleIntercept", 0))
    box = measure.run({"image": image, "box": WHOLE})
    outline = area.run({"image": image, "points": [[100, 100], [900, 100], [900, 900], [100, 900]]})
    for result, left_out in ((box, 5000), (outline, 3200)):
        assert result.data is not None
        assert (result.data["mean"], result.data["min"], result.data["max"]) == (tissue, tissue, tissue)
        assert result.data["padding_px"] == left_out
        assert f"; {left_out} pixels of padding left out" in result.text
    assert image.window is None or image.window.apply(np.array([tissue])).max() <= 255


def test_twelve_bits_of_padding_are_cut_as_pixels_are(write: Write) -> None:
    stored = np.full((10, 10), 40, np.uint16)
    stored[:, :5] = 0xF830  # -2000 in twelve bits, below what is not stored
    image = read_one(write(stored, BitsStored=12, HighBit=11, PixelRepresentation=1, raw={0x00280120: ("US", 63536)}))
    data = measure.run({"image": image, "box": WHOLE}).data
    assert data is not None
    assert (data["mean"], data["padding_px"]) == (40, 50)


@pytest.mark.parametrize("shown_by", ["window", "table"])
def test_padding_before_a_modality_table_has_no_value_behind_it(shown_by: str, write: Write) -> None:
    inverting, shows = Dataset(), Dataset()
    inverting.LUTDescriptor, inverting.LUTData = [4096, 0, 16], np.arange(4095, -1, -1, "<u2").tobytes()
    inverting.ModalityLUTType = "US"
    shows.LUTDescriptor, shows.LUTData = [4096, 0, 16], np.arange(0, 65536, 16, "<u2").tobytes()
    display = {"WindowCenter": 2048, "WindowWidth": 4096} if shown_by == "window" else {"VOILUTSequence": [shows]}
    image = half_padded(
        write, 1000, 0, np.uint16, ModalityLUTSequence=[inverting], raw={0x00280120: ("US", 0)}, **display
    )
    result = measure.run({"image": image, "box": WHOLE})
    assert result.data is not None
    assert (result.data["mean"], result.data["min"], result.data["max"]) == (3095, 3095, 3095)
    view = image.view()
    assert (int(view[0, 0]), int(view[0, 99])) == (0, 193)


def test_a_box_of_padding_alone_is_refused(write: Write) -> None:
    image = half_padded(write, 40, -2000, raw={0x00280120: ("SS", -2000)})
    error = measure.run({"image": image, "box": Box(0, 0, 400, 400)}).error
    assert error is not None
    assert error.message == "measure: all 1600 pixels of the box are padding; there is no image in it."


def test_windows_of_fractional_values_leave_padding_out(write: Write) -> None:
    stored = np.random.default_rng(0).normal(1000, 50, (64, 64)).astype(np.int16)
    stored[:, :40] = -2000
    image = read_one(write(stored, PixelPaddingValue=-2000, RescaleSlope="0.5", RescaleIntercept=0, RescaleType="US"))
    assert image.window is not None
    low, high = np.percentile(stored[stored > -2000] * 0.5, (0.5, 99.5))
    assert image.window.center - image.window.width / 2 == pytest.approx(low)
    assert image.window.center + image.window.width / 2 == pytest.approx(high)


def series(write: Write, folder: Path, **lie: Any) -> Image:
    """Slices of tissue and of padding in turn, 4 mm apart."""
    for k in range(6):
        write(
            np.full((32, 32), 40 if k % 2 else -2000, np.int16), **HU, SeriesInstanceUID="1.2.3", PixelSpacing=[1, 1],
            ImagePositionPatient=[0, 0, 4.0 * k], raw={0x00280120: ("SS", -2000)},
            **{"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], **lie},
        )  # fmt: skip
    (volume,) = read(folder)
    return volume


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_planes_hold_no_mixture_of_padding_and_tissue(plane: Any, write: Write, tmp_path: Path) -> None:
    view = reformat.run({"image": series(write, tmp_path), "plane": plane}).images[0]
    assert set(np.unique(view.pixels)) == {-2000, 40}


def test_oblique_planes_do_not_either(write: Write, tmp_path: Path) -> None:
    volume = series(write, tmp_path, ImageOrientationPatient=[1, 0, 0, 0, 0.9, 0.43589])
    view = reformat.run({"image": volume, "plane": "coronal"}).images[0]
    values = view.pixels[np.isfinite(view.pixels)]
    assert set(np.unique(np.round(values, 3))) == {-2000, 40}


def test_uneven_planes_do_not_either(write: Write, tmp_path: Path) -> None:
    series(write, tmp_path)
    write(
        np.full((32, 32), 40, np.int16), **HU, SeriesInstanceUID="1.2.3", PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, 50],
        raw={0x00280120: ("SS", -2000)}, ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )  # fmt: skip
    view = reformat.run({"image": read_one(tmp_path), "plane": "coronal"}).images[0]
    assert set(np.unique(view.pixels)) == {-2000, 40}


@pytest.mark.parametrize(("method", "value"), [("maximum", 40), ("minimum", 40), ("mean", 40)])
def test_projections_pass_over_padding(method: Any, value: float, write: Write, tmp_path: Path) -> None:
    view = project.run({"image": series(write, tmp_path), "method": method}).images[0]
    assert set(np.unique(view.pixels)) == {value}


def test_an_enlarged_edge_is_tissue_or_padding(write: Write) -> None:
    image = half_padded(write, 40, -2000, raw={0x00280120: ("SS", -2000)}, **HU)
    part = zoom.run({"image": image, "box": Box(400, 400, 600, 600)}).images[0]
    assert part.pixels.shape[0] == 100
    assert set(np.unique(part.pixels)) == {-2000, 40}
    assert part.pixels[50, 0] == -2000
    assert part.pixels[50, -1] == 40


def test_slices_that_are_rescaled_differently_have_no_value_where_they_are_padded(write: Write, tmp_path: Path) -> None:
    for k, slope in enumerate((1, 2)):
        stored = np.full((8, 8), 10, np.uint16)
        stored[:, :4] = 60000
        write(
            stored, RescaleSlope=slope, RescaleIntercept=0, SeriesInstanceUID="1.2.3", PixelSpacing=[1, 1],
            ImagePositionPatient=[0, 0, k], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelPaddingValue=60000,
        )  # fmt: skip
    (volume,) = read(tmp_path)
    assert "padding" not in volume.attributes
    assert np.isnan(volume.pixels[:, :, :4]).all()
    assert volume.pixels[:, 0, -1].tolist() == [10, 20]


def test_frames_that_are_rescaled_differently_have_none_either(write: Write) -> None:
    stored = np.full((2, 4, 4), 10, np.uint16)
    stored[:, 0] = 60000
    frames = []
    for slope in (1, 2):
        transform, group = Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, 0, "HU"
        group.PixelValueTransformationSequence = [transform]
        frames.append(group)
    image = read_one(write(stored, PerFrameFunctionalGroupsSequence=frames, PixelPaddingValue=60000))
    assert np.isnan(image.pixels[:, 0]).all()
    data = measure.run({"image": image, "box": WHOLE}).data
    assert data is not None
    assert (data["mean"], data["ignored"]) == (20, 4)
