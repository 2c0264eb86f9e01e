"""Where pixels lie in the patient, and the order in which slices are shown."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import (
    AS_STORED,
    Image,
    PatientGeometry,
    display_order,
    geometry_attributes,
    patient_geometry,
    slice_spacing,
)

AXES = {"R": (-1, 0, 0), "L": (1, 0, 0), "A": (0, -1, 0), "P": (0, 1, 0), "F": (0, 0, -1), "H": (0, 0, 1)}


def places(image: Image) -> np.ndarray:
    """The centres of all pixels, in mm, `(N, H, W, 3)`."""
    geometry = patient_geometry(image)
    z, y, x = np.indices((image.frames, *image.shape))
    return np.array(geometry.position) + np.stack([x, y, z], -1) @ np.array(geometry.steps)


def volume(**changes: Any) -> Image:
    attributes = {"direction": "0.6 0.8 0 -0.8 0.6 0 0 0 1", "position_mm": "10 -20 30"}
    fields: dict[str, Any] = {
        "pixels": np.zeros((4, 6, 8), np.int16),
        "spacing": (5.0, 2.0, 0.5),
        "attributes": attributes,
    }
    return Image(**{**fields, **changes})


def test_the_place_of_a_pixel_follows_from_the_attributes() -> None:
    at = places(volume())
    assert at[0, 0, 0].tolist() == [10, -20, 30]
    assert at[0, 0, 2] == pytest.approx([10.6, -19.2, 30])  # two columns on: 1 mm along the row
    assert at[0, 1, 0] == pytest.approx([8.4, -18.8, 30])
    assert at[3, 0, 0] == pytest.approx([10, -20, 45])


def test_parts_lie_where_they_were_cut_from() -> None:
    image = volume()
    assert np.allclose(places(image.crop(2, 1, 7, 5)), places(image)[:, 1:5, 2:7])
    later = image.replace(pixels=image.pixels[2:], attributes={**image.attributes, "slices": "2-3"})
    assert np.allclose(places(later), places(image)[2:])
    finer = image.crop(2, 1, 6, 5).resized(16, 12)
    assert np.allclose(places(finer).mean((0, 1, 2)), places(image)[:, 1:5, 2:6].mean((0, 1, 2)))
    turned = image.replace(
        pixels=np.rot90(image.pixels, 1, (1, 2)), spacing=(5.0, 0.5, 2.0), to_source=(0.0, -1.0, 8.0, 1.0, 0.0, 0.0)
    )
    assert np.allclose(places(turned), np.rot90(places(image), 1, (1, 2)))


def test_what_is_not_known_is_not_made_up() -> None:
    image = Image(pixels=np.zeros((4, 5)), spacing=(2.0, 3.0))
    geometry = patient_geometry(image)
    assert not geometry.is_oriented
    assert geometry_attributes(geometry, 1) == {}
    assert display_order(geometry) == AS_STORED
    with pytest.raises(ValueError, match="unevenly spaced"):
        patient_geometry(volume(attributes={**volume().attributes, "slice_offsets_mm": "0 5 11 15"}))


def test_attributes_and_spacing_say_the_geometry_again() -> None:
    sheared = PatientGeometry((1.5, -2.25, 7.0), ((0.5, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 1.0, 4.0)), True)
    attributes = geometry_attributes(sheared, 4)
    assert attributes["shear_deg"] == f"{math.degrees(math.atan(0.25)):.1f}"
    image = Image(pixels=np.zeros((4, 6, 8)), spacing=slice_spacing(sheared), attributes=attributes)
    again = patient_geometry(image)
    assert again.position == pytest.approx(sheared.position)
    assert np.allclose(again.steps, sheared.steps, atol=1e-5)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_slices_are_shown_as_radiology_shows_them(plane: str) -> None:
    # what a row, a column and the slices run towards in the picture, whatever they run towards in the file
    shown = {"axial": "LPH", "coronal": "LFP", "sagittal": "PFL"}[plane]
    opposite = {"L": "R", "R": "L", "P": "A", "A": "P", "H": "F", "F": "H"}
    ways = [(one, opposite[one]) for one in shown]
    for row, column, step in itertools.product(*ways):
        for first, second in ((row, column), (column, row)):
            steps = tuple(
                tuple(length * v for v in AXES[one]) for one, length in ((first, 1.0), (second, 2.0), (step, 3.0))
            )
            stored = PatientGeometry((0.0, 0.0, 0.0), steps, True)  # type: ignore[arg-type]
            order = display_order(stored)
            displayed = order.geometry(stored, (4, 5, 6))
            units = [np.array(one) / np.linalg.norm(one) for one in displayed.steps]
            assert [tuple(one.astype(int)) for one in units] == [AXES[one] for one in shown]
            pixels = np.arange(120).reshape(4, 5, 6)
            assert np.array_equal(order.inverse_view(order.view(pixels)), pixels)
            assert order.view(pixels).shape == order.shape((4, 5, 6))
