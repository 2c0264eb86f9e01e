"""`window`: what it keeps, what it shows, and how it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import ToolError
from medvistagym_dicom import (
    PRESETS,
    window,
    zoom,
)

from .calls import Named, ct_slice


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_changes_only_how_values_are_shown(preset: Any) -> None:
    image = ct_slice()
    shown = window(image, preset=preset)
    center, width = PRESETS[preset]
    assert shown.window == Window(center, width, name=preset)
    assert shown.pixels is not None
    assert np.shares_memory(shown.pixels, image.pixels)
    assert (shown.unit, shown.spacing, shown.to_source) == (image.unit, image.spacing, image.to_source)
    assert np.array_equal(shown.view(), window(image, center=center, width=width).view())


def test_windowing_follows_dicom() -> None:
    image = Image(pixels=np.array([[-160, -159, 39, 40, 239, 240]], np.int16), unit="HU")
    # PS3.3 C.11.2.1.2: black up to 39.5 - 199.5, white above 39.5 + 199.5
    assert window(image, center=40, width=400).view().tolist() == [[0, 1, 127, 128, 255, 255]]


def test_a_zoomed_image_and_its_detail_are_windowed_together() -> None:
    part = window(zoom(ct_slice(), Box(100, 100, 300, 300)), preset="bone")
    assert zoom(part, Box(0, 0, 500, 500)).window == part.window


def test_a_window_narrower_than_one_serves_fractional_values() -> None:
    image = Image(pixels=np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16), unit="raw")
    assert window(image, center=0.5, width=0.5).view().max() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "window: give a center and a width, or a preset: abdomen, bone, "),
        ({"center": 40.0}, "window: give a center and a width, or a preset: "),
        ({"width": 40.0}, "window: give a center and a width, or a preset: "),
        ({"preset": "lung", "center": 40.0}, "window: give a preset, or a center and a width, not both."),
    ],
)
def test_incomplete_windows_are_refused(arguments: dict[str, Any], message: str) -> None:
    error = window.run({"image": ct_slice(), **arguments}).error
    assert error is not None
    assert error.code == "bad_value"
    assert error.message.startswith(message)


def test_presets_are_for_hounsfield_units(image: Named) -> None:
    error = window.run({"image": image("MR_small.dcm"), "preset": "brain"}).error
    assert error is not None
    assert error.message == (
        "window: presets are for CT in HU, this image has raw counts without a physical unit; give a center and a width."
    )


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"preset": "bones"}, "did you mean bone?"),
        ({"center": 40, "width": 0}, "width"),
        ({"center": 40, "width": -5}, "width"),
        ({"center": "forty", "width": 400}, "center"),
        ({"center": float("nan"), "width": 400}, "center"),
        ({"level": 40, "width": 400}, "no argument level"),
    ],
)
def test_wrong_arguments_name_themselves(arguments: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ToolError) as caught:
        window.validate({"image": 0, **arguments})
    assert caught.value.code == "bad_arguments"
    assert fragment in caught.value.message
