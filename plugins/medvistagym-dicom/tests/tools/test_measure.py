"""`measure`: statistics and sizes of boxes, from the full-resolution pixels."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import ToolResult
from medvistagym_dicom import (
    measure,
    window,
    zoom,
)

from .calls import WHOLE, Named, boxes, ct_slice


def measured(image: Image, box: Box = WHOLE) -> ToolResult:
    result = measure.run({"image": image, "box": box})
    assert result.error is None
    return result


@settings(max_examples=60, deadline=None)
@given(boxes())
def test_measure_equals_numpy(box: Box) -> None:
    image = ct_slice()
    x0, y0, x1, y1 = image.box_to_pixels(box)
    region = image.pixels[y0:y1, x0:x1].astype(float)
    data = measured(image, box).data
    assert data is not None
    assert data["mean"] == pytest.approx(region.mean(), abs=1e-9)
    assert data["sd"] == pytest.approx(region.std(), abs=1e-9)
    assert (data["min"], data["max"]) == (region.min(), region.max())
    assert (data["width_mm"], data["height_mm"]) == (0.25 * (x1 - x0), 0.5 * (y1 - y0))


def test_measure_is_the_same_with_any_number_of_threads() -> None:
    program = (
        "import numpy as np; from medvistagym_core.imaging import Box, Image; from medvistagym_dicom import measure; "
        "pixels = np.random.default_rng(0).normal(0, 600, (300, 400)); "
        "print(measure.run({'image': Image(pixels=pixels, unit='HU'), 'box': Box(0, 0, 1000, 1000)}).data)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(said) == 1


def test_measure_says_it_in_a_line() -> None:
    image = Image(pixels=np.array([[-60, -50], [-70, -40]], np.int16), unit="HU", spacing=(1.5, 2.0))
    assert measured(image).text == "mean -55 HU, SD 11, min -70, max -40, 4.0 x 3.0 mm"


def test_measure_reads_the_source_not_the_view() -> None:
    image = ct_slice(256, 256)
    overview = window(image.resized(64, 64), preset="lung")
    assert measured(overview, Box(0, 0, 250, 250)).data == measured(image, Box(0, 0, 250, 250)).data
    part = zoom(overview, Box(250, 250, 500, 500))
    assert measured(part).data == measured(image, Box(250, 250, 500, 500)).data


def test_measure_says_when_there_is_no_unit_and_no_size(image: Named) -> None:
    text = measured(image("emri_small.dcm")).text
    assert text.endswith("64 x 64 pixels (no size in mm known); the values are raw counts without a physical unit")
    result = measured(image("US1_UNCR.dcm"))
    assert "grey levels without a physical unit" in result.text
    assert result.data is not None
    assert result.data["unit"] is None


def test_measure_says_when_a_size_is_that_of_the_detector() -> None:
    image = ct_slice(attributes={"spacing_at": "detector"})
    assert measured(image).text.endswith("75.0 x 100.0 mm at the detector")


def test_small_values_keep_their_digits() -> None:
    image = Image(pixels=np.full((2, 2), 0.012345, np.float32), unit="Gy")
    assert measured(image).text.startswith("mean 0.01235 Gy, SD ")


def test_pixels_without_a_value_are_left_out_and_counted() -> None:
    pixels = np.array([[1, np.nan], [np.inf, 3]], np.float32)
    result = measured(Image(pixels=pixels, unit="HU"))
    assert result.text.endswith("; 2 pixels without a value left out")
    assert result.data is not None
    assert (result.data["mean"], result.data["ignored"]) == (2.0, 2)
    error = measure.run({"image": Image(pixels=np.full((2, 2), np.nan), unit="HU"), "box": WHOLE}).error
    assert error is not None
    assert error.message == "measure: all 4 pixels of the box are without a value (NaN or infinite)."


def test_nan_does_not_stop_window_or_zoom() -> None:
    pixels = np.full((8, 8), np.nan, np.float32)
    pixels[:4] = 40
    image = Image(pixels=pixels, unit="HU")
    assert window(image, center=40, width=10).view()[7, 7] == 0
    assert zoom(image, Box(0, 0, 500, 500)).view().shape == (8, 8)


@pytest.mark.parametrize(
    "kind", [np.bool_, np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float64]
)
def test_any_kind_of_number_is_measured_and_enlarged(kind: type) -> None:
    pixels: np.ndarray = np.array([[0, 1], [1, 0]]).astype(kind)
    image = Image(pixels=pixels, unit="raw")
    data = measured(image).data
    assert data is not None
    assert (data["mean"], data["sd"], data["max"]) == (0.5, 0.5, 1.0)
    assert zoom(image, Box(0, 0, 500, 500)).pixels.max() == 0
