"""`segment`: what it finds in shapes of known size, what it says, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, ToolError
from medvistagym_segment import Segment

Chest = Callable[..., Image]
Refusal = Callable[..., str]
segment = cast(Tool, Segment)  # to a type checker a decorated class is still the class
NONE = {"box": None, "tolerance": None}

BODY, LUNGS, SPINE = math.pi * 80 * 60, 2 * math.pi * 22 * 35, math.pi * 100


@pytest.mark.parametrize(("method", "area"), [("body", BODY), ("lung", LUNGS), ("bone", SPINE), ("otsu", BODY)])
def test_sizes_are_those_of_the_shapes(chest: Chest, method: str, area: float) -> None:
    mask, text, data = segment(chest(), method=method)
    assert data["area_mm2"] == pytest.approx(area, rel=0.06)
    assert (mask.unit, mask.pixels.dtype, mask.spacing) == ("mask", bool, (1.0, 1.0))
    assert set(np.unique(mask.view())) == {0, 255}
    assert text.startswith(f"{method}: {data['area_mm2']:.0f} mm2")
    volume, _, more = segment(chest(slices=20), method=method)
    assert more["volume_ml"] == pytest.approx(area * 15 * 2 / 1000, rel=0.08)
    assert more["slices"] == [3, 17]
    assert volume.pixels.shape == (20, 160, 200)


@pytest.mark.parametrize("slices", [2, 3, 4])
def test_thin_volumes_without_units_have_a_body(chest: Chest, slices: int) -> None:
    plane = chest(unit="raw")
    volume = plane.replace(pixels=np.repeat(plane.pixels[None], slices, 0), spacing=(2.0, 1.0, 1.0))
    _, _, data = segment(volume, method="body")
    assert data["volume_ml"] == pytest.approx(BODY * slices * 2 / 1000, rel=0.08)  # blurred, it is a little wider


def test_the_table_and_the_outside_of_the_field_are_not_the_patient(chest: Chest) -> None:
    image = chest()
    pixels = image.pixels.copy()
    pixels[:, :10] = -3024
    _, _, data = segment(image.replace(pixels=pixels), method="otsu")
    assert data["area_mm2"] == pytest.approx(BODY, rel=0.06)
    assert not segment(image, method="body")[0].pixels[145:].any()


def test_a_region_grows_from_a_point_as_far_as_values_are_alike(chest: Chest) -> None:
    mask, _, data = segment(chest(), method="region", point=[325, 470])
    assert data["area_mm2"] == pytest.approx(LUNGS / 2, rel=0.05)
    assert not mask.pixels[:, 100:].any()
    wide = segment(chest(), method="region", point=[325, 470], tolerance=900.0)[2]
    assert wide["area_mm2"] > BODY - LUNGS
    volume = chest(slices=20).replace(frame=10)
    assert segment(volume, method="region", point=[325, 470])[2]["volume_ml"] == pytest.approx(
        LUNGS / 2 * 30 / 1000, rel=0.05
    )


def test_bright_is_bright_whatever_the_photometric_sense(chest: Chest) -> None:
    image = chest(unit="raw")
    inverted = image.replace(pixels=image.pixels.max() - image.pixels, photometric="MONOCHROME1")
    one, other = (segment(each, method="otsu")[2] for each in (image, inverted))
    assert one["box"] == other["box"]
    assert segment(inverted, method="otsu")[0].photometric == "MONOCHROME2"


def test_of_frames_that_are_no_volume_one_is_taken_and_that_is_told(chest: Chest) -> None:
    image = chest()
    frames = np.stack([np.full_like(image.pixels, -1000), image.pixels])
    stack = image.replace(pixels=frames, spacing=(1.0, 1.0), frame=1)
    mask, text, data = segment(stack, method="body")
    assert mask.pixels.shape == (160, 200)
    assert text.endswith("; frame 1 of 0 to 1 alone, as no distance between them is known")
    assert data["area_mm2"] == pytest.approx(BODY, rel=0.03)


def test_the_finest_pixels_are_searched(chest: Chest) -> None:
    mask, _, data = segment(chest().resized(40, 50), method="lung")
    assert mask.shape == (160, 200)
    assert data["area_mm2"] == pytest.approx(LUNGS, rel=0.06)


# -- noise


def noise(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "bits":
        return rng.integers(0, 2, shape, np.uint8) * np.uint8(255)
    if kind == "specks":
        return np.where(rng.random(shape) < 0.001, 30000, 0).astype(np.uint16)
    if kind == "wide":
        return rng.normal(0, 1e37, shape).astype(np.float32)
    return rng.normal(0, 300, shape).astype(np.int16)


@pytest.mark.parametrize("method", ["body", "bone", "lung", "otsu", "region"])
@pytest.mark.parametrize("kind", ["bits", "specks", "wide", "normal"])
@pytest.mark.parametrize("spacing_mm", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("shape", [(64, 80), (1, 50, 20), (12, 40, 30)], ids=str)
def test_noise_is_segmented_or_refused(method: str, kind: str, spacing_mm: float, shape: tuple[int, ...]) -> None:
    for unit in ("HU", "raw"):
        image = Image(pixels=noise(kind, shape), unit=unit, spacing=(spacing_mm,) * len(shape))
        result = segment.run({**NONE, "image": image, "method": method, "point": [500, 500]})
        assert result.error is None or result.error.code == "bad_value", result.error
        assert result.error is not None or result.images[0].pixels.any()


def test_what_smoothing_levels_out_has_no_body(refusal: Refusal) -> None:
    image = Image(pixels=noise("normal", (1, 50, 20)), unit="raw", spacing=(1e-3, 1e-6, 1e-5))
    assert "no threshold divides the values of the image" in refusal(segment, image=image, method="body")


# -- refusals


def test_refusals_say_what_would_be_taken(chest: Chest, refusal: Refusal) -> None:
    assert "needs a CT in HU" in refusal(segment, image=chest(unit="raw"), method="lung")
    assert "needs a point" in refusal(segment, image=chest(), method="region")
    assert "tolerance goes with" in refusal(segment, image=chest(), method="lung", tolerance=5.0)
    flat = Image(pixels=np.full((32, 32), 50, np.int16), unit="HU")
    assert "no lung was found" in refusal(segment, image=flat, method="lung")
    with pytest.raises(ToolError, match="did you mean lung"):
        segment.validate({"image": 0, "method": "lungs"})
    with pytest.raises(ToolError, match="point"):
        segment.validate({"image": 0, "method": "region", "point": [1, 2, 3]})


@pytest.mark.parametrize("method", ["body", "bone", "lung", "otsu", "region"])
def test_bad_pixels_end_in_a_sentence(refusal: Refusal, method: str) -> None:
    more = {"method": method, "point": [500, 500]}
    nan = np.zeros((16, 16), np.float32)
    nan[3, 3] = np.nan
    assert "1 of 256 pixels have no value" in refusal(segment, image=Image(pixels=nan, unit="HU"), **more)
    huge = Image(pixels=np.broadcast_to(np.int16(0), (100_000, 100_000)), unit="HU")
    assert "10,000,000,000 pixels" in refusal(segment, image=huge, **more)
    for shape in ((1, 1), (1, 9), (9, 1), (2, 3)):
        result = segment.run({**NONE, **more, "image": Image(pixels=np.full(shape, 7, np.int16), unit="HU")})
        assert result.ok or result.error.code == "bad_value"  # type: ignore[union-attr]
