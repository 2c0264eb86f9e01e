"""`distance`: lengths in millimetres, angles, and what is said where a length is not one in the patient."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from medvistagym_core.imaging import Box
from medvistagym_dicom import (
    area,
    distance,
    read_one,
    zoom,
)

from .calls import WHOLE, Write, ct_slice, error_message, grid_points, text_and_data


@settings(max_examples=50, deadline=None)
@given(grid_points, grid_points)
def test_a_distance_is_that_of_pythagoras_in_millimetres(start: list[int], end: list[int]) -> None:
    image = ct_slice()
    if start == end:
        assert "give two different points" in error_message(distance, image=image, from_point=start, to_point=end)
        return
    _, data = text_and_data(distance, image=image, from_point=start, to_point=end)
    across, down = (end[0] - start[0]) / 1000 * 300 * 0.25, (end[1] - start[1]) / 1000 * 200 * 0.5
    assert data["distance_mm"] == pytest.approx(math.hypot(across, down))
    assert data["distance_px"] == pytest.approx(math.hypot(across / 0.25, down / 0.5))
    assert 0 <= data["angle_deg"] < 180
    assert math.tan(math.radians(data["angle_deg"])) * across == pytest.approx(-down, abs=1e-6) or abs(across) < 1e-9
    back = text_and_data(distance, image=image, from_point=end, to_point=start)[1]
    assert back["distance_mm"] == data["distance_mm"]


def test_a_distance_means_the_same_in_a_zoomed_or_small_view() -> None:
    image = ct_slice()
    part = zoom(image, Box(200, 200, 600, 600))
    whole = text_and_data(distance, image=image, from_point=[300, 300], to_point=[500, 400])[1]
    seen = text_and_data(distance, image=part, from_point=[250, 250], to_point=[750, 500])[1]
    assert seen["distance_mm"] == pytest.approx(whole["distance_mm"], rel=0.01)
    small = text_and_data(distance, image=image.resized(20, 30), from_point=[300, 300], to_point=[500, 400])[1]
    assert small["distance_mm"] == pytest.approx(whole["distance_mm"])


def test_a_distance_says_what_it_knows() -> None:
    line = {"from_point": [0, 500], "to_point": [400, 500]}
    assert text_and_data(distance, image=ct_slice(), **line)[0] == "30.0 mm, 0 degrees to the rows; a pixel is 0.5 mm"
    text, data = text_and_data(distance, image=ct_slice(spacing=None), **line)
    assert text == "120.0 pixels (no size in mm known), 0 degrees to the rows"
    assert data["distance_mm"] is None
    text, _ = text_and_data(distance, image=ct_slice(attributes={"spacing_at": "detector"}), **line)
    assert text.startswith("30.0 mm at the detector, ")
    up = text_and_data(distance, image=ct_slice(), from_point=[0, 1000], to_point=[1000, 250])[1]
    assert up["angle_deg"] == pytest.approx(45)  # to the upper right


def test_a_real_detector_is_named(write: Write) -> None:
    film = read_one(write(np.zeros((40, 40), np.uint16), Modality="DX", ImagerPixelSpacing=[0.2, 0.2]))
    assert "4.0 mm at the detector" in text_and_data(distance, image=film, from_point=[0, 0], to_point=[500, 0])[0]
    assert "mm2 at the detector" in text_and_data(area, image=film, ellipse=WHOLE)[0]
