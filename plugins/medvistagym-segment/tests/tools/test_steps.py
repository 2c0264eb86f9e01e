"""Segment, clean up, crop: one step after another, across plugins, as the calls of an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.imaging import Box, Image
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ToolCall, ToolResult

pytest.importorskip("medvistagym_kornia", reason="morphology is a tool of medvistagym-kornia")
pytest.importorskip("medvistagym_monai", reason="components and fill_holes are tools of medvistagym-monai")

TOOLS = "segment,morphology,components,fill_holes,crop_to_mask,crop_foreground,resample"


def run_calls(image: Image, *calls: dict[str, Any]) -> list[ToolResult]:
    """The results of calls in one message; image 0 is given, each call adds the next."""
    store = ImageStore([image])
    with LocalExecutor(Registry.discover().toolbox(TOOLS)) as executor:
        (results,) = executor.run([(store, [ToolCall(name=call.pop("tool"), arguments=call) for call in calls])])
    for result in results:
        assert result.ok, result.error
    return results


def abdomen() -> np.ndarray:
    """A bright organ of 60 x 40 pixels with a dark vessel in it, another part joined to it by a thread, and noise."""
    plane = np.full((96, 128), 20.0)
    plane[20:60, 30:90] = 150
    plane[35:39, 50:54] = 20  # a vessel
    plane[40:42, 90:100] = 150  # a thread
    plane[30:50, 100:112] = 150  # what is not sought
    return (plane + np.random.default_rng(0).normal(0, 4, plane.shape)).astype(np.int16)


def source_box(image: Image) -> tuple[int, ...]:
    """Where it lies in the source, in whole pixels."""
    return tuple(int(edge) for edge in image.box_to_source(Box(0, 0, 1000, 1000)))


STEPS: list[dict[str, Any]] = [
    {"tool": "segment", "image": 0, "method": "region", "point": [300, 350], "tolerance": 60},
    {"tool": "morphology", "image": 1, "operation": "open", "radius": 3},
    {"tool": "components", "mask": 2},
    {"tool": "fill_holes", "mask": 3},
    {"tool": "crop_to_mask", "image": 0, "mask": 4, "margin_mm": 4.0},
]


def test_in_two_dimensions() -> None:
    image = Image(pixels=abdomen(), unit="HU", modality="CT", spacing=(1.0, 2.0))
    segmented, opened, kept, filled, cut = run_calls(image, *(dict(step) for step in STEPS))
    assert segmented.images[0].pixels[40, 105]  # through the thread
    assert opened.data is None
    assert kept.data is not None
    assert kept.data["parts"] == 2
    assert filled.images[0].pixels[36, 52]
    part = cut.images[0]
    assert source_box(part) == pytest.approx(
        (30 - 2, 20 - 4, 90 + 2, 60 + 4), abs=1
    )  # opening rounds the thread's root
    left, top, right, bottom = source_box(part)
    assert np.array_equal(part.pixels, image.pixels[top:bottom, left:right])
    assert part.unit == "HU"


def test_in_three_dimensions() -> None:
    volume = np.random.default_rng(1).normal(20, 4, (14, 96, 128)).astype(np.int16)
    volume[4:10] = abdomen()
    image = Image(pixels=volume, unit="HU", modality="CT", spacing=(4.0, 1.0, 2.0), frame=6)
    *_, kept, filled, cut = run_calls(image, *(dict(step) for step in STEPS))
    assert kept.data is not None
    assert kept.data["slices"] == [4, 9]
    assert filled.data is not None
    assert filled.data["volume_ml"] == pytest.approx(60 * 40 * 6 * 8 / 1000, rel=0.02)
    part = cut.images[0]
    assert part.attributes["slices"] == "3-10"
    assert source_box(part) == pytest.approx((28, 16, 92, 64), abs=1)
    left, top, right, bottom = source_box(part)
    assert np.array_equal(part.pixels, volume[3:11, top:bottom, left:right])


def test_from_a_crop_and_at_another_spacing() -> None:
    image = Image(pixels=abdomen(), unit="HU", modality="CT", spacing=(1.0, 2.0))
    *_, cut = run_calls(
        image,
        {"tool": "crop_foreground", "image": 0, "above": 100.0, "margin_mm": 20.0},
        {"tool": "resample", "image": 1, "spacing_mm": 4.0},
        {"tool": "segment", "image": 2, "method": "region", "point": [350, 400], "tolerance": 60},
        {"tool": "morphology", "image": 3, "operation": "open", "radius": 3},
        {"tool": "components", "mask": 4},
        {"tool": "crop_to_mask", "image": 2, "mask": 5, "margin_mm": 0.0},
    )
    part = cut.images[0]
    assert source_box(part) == pytest.approx((30, 20, 90, 60), abs=1)
    assert part.spacing == (1.0, 2.0)  # the finest pixels, not the ones that were resampled
