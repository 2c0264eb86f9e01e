"""Where a length is one in the patient: projections, films, treatment images, ultrasound, pixels that are no squares.

Right values are worked out from the definitions of PS3.3 10.7.1, C.8.5.5, C.8.8.2 and C.7.6.3.1.7.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    EnhancedXAImageStorage,
    RTImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

from medvistagym_core.imaging import Box, Image
from medvistagym_dicom import acquisition, area, distance, measure, read_one, zoom

Write = Callable[..., Path]
FILM = np.full((400, 400), 1000, np.uint16)
ACROSS = {"from_point": [0, 500], "to_point": [1000, 500]}


def length(image: Image, **line: Any) -> str:
    result = distance.run({"image": image, **(line or ACROSS)})
    assert result.error is None
    return result.text


def film(write: Write, **elements: Any) -> Image:
    elements = {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX", **elements}
    return read_one(write(FILM, **elements))


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        # equal: neither corrected nor calibrated (PS3.3 10.7.1.3)
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, "80.0 mm at the detector, "),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": ["0.2000001", "0.2"]}, "80.0 mm at the detector, "),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.16, 0.16]}, "64.0 mm, "),
        (
            {
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacing": [0.2, 0.2],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            "80.0 mm, ",
        ),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, "80.0 mm at the detector, "),
        ({"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25}, "64.0 mm, "),
        (
            {
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacing": [0.2, 0.2],
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            "64.0 mm, ",
        ),
        # a source at some distance of the patient says nothing of the plane of what is measured
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "DistanceSourceToDetector": 1000, "DistanceSourceToPatient": 800},
            "80.0 mm at the detector, ",
        ),
        ({"NominalScannedPixelSpacing": [0.2, 0.2]}, "80.0 mm on the film, "),
        ({"NominalScannedPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, "80.0 mm on the film, "),
        ({"PixelSpacing": [0.2, 0.2]}, "80.0 mm (at the detector or in the patient, the file does not tell), "),
        ({"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY"}, "80.0 mm, "),
        ({}, "400.0 pixels (no size in mm known), "),
    ],
)
def test_a_length_in_a_projection_says_where_it_is_one(elements: dict[str, Any], text: str, write: Write) -> None:
    assert length(film(write, **elements)).startswith(text)


@pytest.mark.parametrize(
    ("macros", "text"),
    [
        ({"FramePixelDataPropertiesSequence": {"ImagerPixelSpacing": [0.2, 0.2]}}, "80.0 mm at the detector, "),
        (
            {
                "FramePixelDataPropertiesSequence": {"ImagerPixelSpacing": [0.2, 0.2]},
                "ProjectionPixelCalibrationSequence": {"ObjectPixelSpacingInCenterOfBeam": [0.15, 0.15]},
            },
            "60.0 mm, ",
        ),
    ],
)
def test_an_enhanced_angiogram_is_calibrated_by_functional_groups(
    macros: dict[str, dict[str, Any]], text: str, write: Write
) -> None:
    shared = Dataset()
    for macro, attributes in macros.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(shared, macro, [item])
    image = film(write, SOPClassUID=EnhancedXAImageStorage, Modality="XA", SharedFunctionalGroupsSequence=[shared])
    assert length(image).startswith(text)


def test_slices_are_in_the_patient(write: Write) -> None:
    image = read_one(
        write(FILM, PixelSpacing=[0.2, 0.2], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[0, 0, 0])
    )
    assert length(image).startswith("80.0 mm, ")


def test_a_treatment_image_is_measured_at_the_isocentre(write: Write) -> None:
    elements = {"SOPClassUID": RTImageStorage, "Modality": "RTIMAGE", "ImagePlanePixelSpacing": [0.4, 0.4]}
    assert length(read_one(write(FILM, **elements))).startswith("160.0 mm at the detector, ")
    image = read_one(write(FILM, **elements, RTImageSID=1600, RadiationMachineSAD=1000))
    assert length(image).startswith("100.0 mm, ")  # 400 pixels of 0.4 mm, seen at 1600 mm, lie at 1000 mm


def test_how_a_projection_was_calibrated_is_told(write: Write) -> None:
    told = [
        acquisition.run({"image": film(write, ImagerPixelSpacing=[0.2, 0.2], **elements)}).text
        for elements in (
            {"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"},
            {"EstimatedRadiographicMagnificationFactor": 1.25},
            {},
        )
    ]
    assert "spacing calibrated by geometry" in told[0]
    assert "spacing corrected for a magnification of 1.25" in told[1]
    assert "mm at the detector" in told[2]


# -- ultrasound


def region(x0: int, y0: int, x1: int, y1: int, across: float, down: float, units: tuple[int, int] = (3, 3)) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat = item.RegionDataType = 1
    item.RegionFlags = 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = across, down
    return item


def scan(write: Write, *regions: Dataset, **elements: Any) -> Image:
    greys = np.full((400, 400), 90, np.uint8)
    elements = {"SOPClassUID": UltrasoundImageStorage, "Modality": "US", **elements}
    return read_one(write(greys, SequenceOfUltrasoundRegions=list(regions), **elements))


def test_a_real_ultrasound_clip_is_measured_by_its_region(path: Callable[[str], Path]) -> None:
    file = path("examples_ybr_color.dcm")
    ds = pydicom.dcmread(file)
    delta = ds.SequenceOfUltrasoundRegions[0].PhysicalDeltaY
    text = length(read_one(file), from_point=[500, 200], to_point=[500, 800])
    assert text.startswith(f"{0.6 * ds.Rows * delta * 10:.1f} mm, 90 degrees")


def test_each_region_has_its_own_scale(write: Write) -> None:
    image = scan(
        write, region(0, 0, 199, 399, 0.01, 0.01), region(200, 0, 399, 399, 0.05, 0.05), PixelSpacing=[0.1, 0.1]
    )
    assert image.spacing is None
    assert length(image, from_point=[100, 500], to_point=[400, 500]).startswith("12.0 mm, ")
    assert length(image, from_point=[600, 500], to_point=[900, 500]).startswith("60.0 mm, ")
    assert "no size in mm known; not within one calibrated part of the picture" in length(
        image, from_point=[100, 500], to_point=[900, 500]
    )
    right = measure.run({"image": image, "box": Box(600, 0, 700, 100)})
    assert "20.0 x 20.0 mm" in right.text
    triangle = {"image": image, "points": [[600, 0], [700, 0], [600, 100]]}
    assert area.run(triangle).text.startswith("area 200.0 mm2, ")
    part = zoom(image, Box(500, 0, 1000, 500))
    assert length(part, from_point=[200, 500], to_point=[800, 500]).startswith("60.0 mm, ")


def test_axes_of_a_region_may_differ_and_point_backwards(write: Write) -> None:
    image = scan(write, region(0, 0, 399, 399, 0.02, -0.01))
    assert image.spacing == pytest.approx((0.1, 0.2))
    assert length(image, from_point=[0, 0], to_point=[1000, 0]).startswith("80.0 mm, ")
    assert length(image, from_point=[0, 0], to_point=[0, 1000]).startswith("40.0 mm, ")


@pytest.mark.parametrize("units", [(4, 3), (4, 7), (5, 7), (0, 0)])  # motion over time, velocities, frequencies, none
def test_a_region_of_something_else_has_no_lengths(units: tuple[int, int], write: Write) -> None:
    image = scan(write, region(0, 0, 399, 199, 0.01, 0.01), region(0, 200, 399, 399, 0.01, 0.01, units))
    assert length(image, from_point=[0, 100], to_point=[500, 100]).startswith("20.0 mm, ")
    text = length(image, from_point=[0, 800], to_point=[500, 800])
    assert text.startswith("200.0 pixels (no size in mm known; this part of the picture shows no lengths)")


def test_what_lies_outside_all_regions_is_not_calibrated(write: Write) -> None:
    image = scan(write, region(100, 100, 299, 299, 0.01, 0.01))
    assert "no size in mm known" in length(image, from_point=[0, 100], to_point=[200, 100])
    assert length(image, from_point=[300, 500], to_point=[700, 500]).startswith("16.0 mm, ")


def test_a_region_of_high_priority_lies_above_another(write: Write) -> None:
    inner, outer = region(100, 100, 199, 199, 0.05, 0.05), region(0, 0, 399, 399, 0.01, 0.01)
    inner.RegionFlags = 1
    image = scan(write, outer, inner)
    assert length(image, from_point=[300, 300], to_point=[400, 300]).startswith("20.0 mm, ")
    assert length(image, from_point=[600, 600], to_point=[700, 600]).startswith("4.0 mm, ")


# -- pixels that are no squares


def disc(write: Write, **elements: Any) -> Image:
    """A circle, where pixels are twice as high as wide."""
    y, x = np.mgrid[:100, :200]
    inside = ((x - 100) / 80.0) ** 2 + ((y - 50) / 40.0) ** 2 <= 1
    greys = inside.astype(np.uint8) * 255
    return read_one(write(greys, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", **elements))


def test_lengths_of_pixels_of_known_shape_can_be_compared(write: Write) -> None:
    image = disc(write, PixelAspectRatio=[2, 1])
    across = distance.run({"image": image, "from_point": [100, 500], "to_point": [900, 500]})
    down = distance.run({"image": image, "from_point": [500, 100], "to_point": [500, 900]})
    assert across.data is not None
    assert down.data is not None
    assert across.data["distance_px"] == down.data["distance_px"] == pytest.approx(160)
    assert across.text.startswith("160.0 pixel widths (no size in mm known; a pixel is 2 times as high as wide), ")
    assert "a pixel is 2 times as high as wide" in measure.run({"image": image, "box": Box(0, 0, 500, 500)}).text
    assert "pixels 2 times as high as wide" in acquisition.run({"image": image}).text


def test_a_ratio_of_one_is_not_told(write: Write) -> None:
    image = disc(write, PixelAspectRatio=[1, 1])
    assert length(image).startswith("200.0 pixels (no size in mm known), ")


@pytest.mark.parametrize("elements", [{"PixelSpacing": [1.0, 0.5]}, {"PixelAspectRatio": [2, 1]}])
def test_a_zoomed_circle_is_a_circle(elements: dict[str, Any], write: Write) -> None:
    part = zoom(disc(write, **elements), Box(0, 0, 1000, 1000))
    seen = part.view() > 127
    width, height = int(seen.any(0).sum()), int(seen.any(1).sum())
    assert abs(width - height) <= 2
    if part.spacing is not None:
        assert part.spacing == pytest.approx((0.5, 0.5))


def test_a_turned_picture_keeps_its_scale(write: Write) -> None:
    image = scan(write, region(0, 0, 399, 399, 0.02, 0.01))
    turned = image.replace(
        pixels=np.rot90(image.pixels), spacing=image.spacing[::-1] if image.spacing else None,
        to_source=(0.0, -1.0, 400.0, 1.0, 0.0, 0.0),
    )  # fmt: skip
    assert length(turned, from_point=[0, 0], to_point=[1000, 0]).startswith("40.0 mm, ")
    assert length(turned, from_point=[0, 0], to_point=[0, 1000]).startswith("80.0 mm, ")
