"""How large a mask is, against shapes whose measures are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, mask_image
from medvistagym_segment import measure_mask
from medvistagym_segment.tools import longest_diameter


def test_a_rectangle_is_measured_along_its_diagonal() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 5:35] = True  # 30 x 10 pixels of 0.5 x 2 mm: 15 x 20 mm
    found = longest_diameter(mask, (2.0, 0.5))
    assert found["longest_diameter_mm"] == pytest.approx(25.0)
    assert found["short_axis_mm"] == pytest.approx(25 * 15 / 20)  # across the diagonal, from one long side to the other
    assert sorted(found["diameter_ends"]) in ([[5.0, 10.0], [35.0, 20.0]], [[5.0, 20.0], [35.0, 10.0]])


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 77.0])
def test_an_ellipse_has_its_axes_however_it_lies(angle: float) -> None:
    y, x = np.mgrid[:400, :400] - 199.5
    turn = math.radians(angle)
    u, v = x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn)
    found = longest_diameter((u / 150) ** 2 + (v / 60) ** 2 <= 1, (0.4, 0.4))
    assert found["longest_diameter_mm"] == pytest.approx(120.0, abs=0.8)
    assert found["short_axis_mm"] == pytest.approx(48.0, abs=0.8)


def test_a_volume_is_measured_on_the_slice_where_it_is_longest(chest: Callable[..., Image]) -> None:
    volume = chest(slices=10)  # 2 x 1 x 1 mm
    inside = np.zeros(volume.pixels.shape, bool)
    inside[4:6, 70:80, 60:90] = True
    inside[6, 75, 50:110] = True
    result = measure_mask.run({"image": volume, "mask": mask_image(inside, volume)})
    data: Any = result.data
    assert data["volume_ml"] == pytest.approx((600 + 60) * 2 / 1000)
    assert data["diameter_slice"] == 6
    assert data["longest_diameter_mm"] == pytest.approx(math.hypot(60, 1))
    values = volume.pixels[inside]
    assert data["values"] == pytest.approx(
        {
            "mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max(),
            "median": np.median(values), "unit": "HU",
        }
    )  # fmt: skip
    assert "longest diameter 60.0 mm on slice 6, across it 1.0 mm" in result.text
    assert "in HU" in result.text


def test_without_a_spacing_there_are_no_millimetres(chest: Callable[..., Image]) -> None:
    image = chest(spacing=None)
    inside = np.zeros(image.shape, bool)
    inside[20:30, 20:30] = True
    result = measure_mask.run({"image": image, "mask": mask_image(inside, image)})
    assert result.data is not None
    assert "longest_diameter_mm" not in result.data
    assert "100 pixels (no size in mm known)" in result.text
