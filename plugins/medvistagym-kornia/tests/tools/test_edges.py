"""`edges`: steepness in values per pixel, or lines as a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_kornia import Edges

edges = cast(Tool, Edges)  # to a type checker a decorated class is still the class


def step() -> np.ndarray:
    """80 to the right of column 16."""
    pixels = np.zeros((32, 32), np.float32)
    pixels[:, 16:] = 80
    return pixels


def test_steepness_is_in_values_per_pixel() -> None:
    steepness = edges(Image(pixels=step(), unit="HU"))
    assert steepness.unit == "HU/px"
    assert steepness.pixels.max() == pytest.approx(40)  # half the step, over two pixels
    assert steepness.pixels[:, :14].max() == 0


def test_lines_lie_where_values_change() -> None:
    lines = edges(Image(pixels=step(), unit="HU"), method="canny")
    assert lines.unit == "mask"
    columns = np.flatnonzero(lines.pixels.any(0)).tolist()
    assert columns in ([15], [16])
    assert set(np.unique(lines.view())) == {0, 255}
    assert not edges(Image(pixels=np.full((20, 20), 7, np.uint8)), method="canny").pixels.any()


def test_the_edges_of_colours_are_those_of_their_luma() -> None:
    pixels = np.random.default_rng(0).integers(90, 140, (32, 40, 3), dtype=np.uint8)
    steepness = edges(Image(pixels=pixels, photometric="RGB"))
    assert (steepness.pixels.shape, steepness.unit, steepness.photometric) == ((32, 40), "grey/px", "MONOCHROME2")


def test_lines_of_a_stack_are_displayed_in_the_frame_that_was_displayed() -> None:
    stack = Image(pixels=np.stack([step(), np.zeros((32, 32), np.float32)]), frame=1)
    lines = edges(stack, method="canny")
    assert lines.frame == 1
    assert lines.pixels[0].any()
    assert not lines.pixels[1].any()


def test_a_threshold_goes_with_lines_alone(scan: Callable[..., Image], refusal: Callable[..., str]) -> None:
    assert "threshold goes with" in refusal(edges, image=scan(), method="sobel", threshold=0.5)
