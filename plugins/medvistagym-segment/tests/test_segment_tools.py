"""The tools: what they find and cut in shapes of known size, what they keep, say, and refuse."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.plugins import Registry
from medvistagym_core.testing import conformance
from medvistagym_core.tools import Tool, ToolError
from medvistagym_segment import Segment, SegmentCrop, crop_to_mask
from medvistagym_segment.masks import boxes_of

WHOLE = Box(0, 0, 1000, 1000)
OPTIONS = {"point": None, "box": None, "tolerance": None}

test_conformance = conformance("segment", examples=4)


def chest(slices: int | None = None, **changes: Any) -> Image:
    """A body of 40 HU with two lungs of -800 HU, a spine of 600 HU, noise, and a table; 1 mm in plane, 2 mm between slices."""
    y, x = np.mgrid[:160, :200]
    plane = np.full((160, 200), -1000.0)
    plane[((x - 100) / 80) ** 2 + ((y - 75) / 60) ** 2 < 1] = 40
    for cx in (65, 135):
        plane[((x - cx) / 22) ** 2 + ((y - 75) / 35) ** 2 < 1] = -800
    plane[(x - 100) ** 2 + (y - 110) ** 2 < 100] = 600
    plane[148:150, 20:180] = 100
    kept: dict[str, Any] = {"unit": "HU", "modality": "CT", "spacing": (1.0, 1.0), "window": Window(40, 400), **changes}
    if slices is not None:
        volume = np.repeat(plane[None], slices, 0)
        volume[:3], volume[-2:] = -1000, -1000
        plane, kept["spacing"] = volume, (2.0, 1.0, 1.0)
    plane = plane + np.random.default_rng(0).normal(0, 10, plane.shape)
    return Image(pixels=plane.astype(np.int16), **kept)


def found(image: Image, method: str, **options: Any) -> tuple[Image, str, dict[str, Any]]:
    return Segment(image, method=method, **{**OPTIONS, **options})


def refusal(tool: Tool, **arguments: Any) -> str:
    error = tool.run({**(OPTIONS if tool is not crop_to_mask else {}), **arguments}).error
    assert isinstance(error, ToolError)
    assert error.code == "bad_value", error
    return error.message


# -- as a plugin


def test_the_plugin_offers_its_tools() -> None:
    assert list(Registry.discover("segment").toolbox()) == ["crop_to_mask", "segment", "segment_crop"]


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, medvistagym_segment; print([m for m in ('numpy', 'SimpleITK', 'torch', 'monai') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- segment

BODY, LUNGS, SPINE = math.pi * 80 * 60, 2 * math.pi * 22 * 35, math.pi * 100


@pytest.mark.parametrize(("method", "area"), [("body", BODY), ("lung", LUNGS), ("bone", SPINE), ("otsu", BODY)])
def test_sizes_are_those_of_the_shapes(method: str, area: float) -> None:
    mask, text, data = found(chest(), method)
    assert data["area_mm2"] == pytest.approx(area, rel=0.06)
    assert (mask.unit, mask.pixels.dtype, mask.spacing) == ("mask", bool, (1.0, 1.0))
    assert set(np.unique(mask.view())) == {0, 255}
    assert text.startswith(f"{method}: {data['area_mm2']:.0f} mm2")
    volume, _, more = found(chest(slices=20), method)
    assert more["volume_ml"] == pytest.approx(area * 15 * 2 / 1000, rel=0.08)
    assert more["slices"] == [3, 17]
    assert volume.pixels.shape == (20, 160, 200)


@pytest.mark.parametrize("slices", [2, 3, 4])
def test_thin_volumes_without_units_have_a_body(slices: int) -> None:
    plane = chest(unit="raw")
    volume = plane.replace(pixels=np.repeat(plane.pixels[None], slices, 0), spacing=(2.0, 1.0, 1.0))
    _, _, data = found(volume, "body")
    assert data["volume_ml"] == pytest.approx(BODY * slices * 2 / 1000, rel=0.08)  # blurred, it is a little wider


def test_the_table_and_the_outside_of_the_field_are_not_the_patient() -> None:
    image = chest()
    pixels = image.pixels.copy()
    pixels[:, :10] = -3024
    _, _, data = found(image.replace(pixels=pixels), "otsu")
    assert data["area_mm2"] == pytest.approx(BODY, rel=0.06)
    assert not found(image, "body")[0].pixels[145:].any()


def test_a_region_grows_from_a_point_as_far_as_values_are_alike() -> None:
    mask, _, data = found(chest(), "region", point=[325, 470])
    assert data["area_mm2"] == pytest.approx(LUNGS / 2, rel=0.05)
    assert not mask.pixels[:, 100:].any()
    wide = found(chest(), "region", point=[325, 470], tolerance=900.0)[2]
    assert wide["area_mm2"] > BODY - LUNGS
    volume = chest(slices=20).replace(frame=10)
    assert found(volume, "region", point=[325, 470])[2]["volume_ml"] == pytest.approx(LUNGS / 2 * 30 / 1000, rel=0.05)


def test_bright_is_bright_whatever_the_photometric_sense() -> None:
    image = chest(unit="raw")
    inverted = image.replace(pixels=image.pixels.max() - image.pixels, photometric="MONOCHROME1")
    one, other = (found(each, "otsu")[2] for each in (image, inverted))
    assert one["box"] == other["box"]
    assert found(inverted, "otsu")[0].photometric == "MONOCHROME2"


def test_frames_that_are_no_volume_are_taken_one_by_one() -> None:
    image = chest()
    frames = np.stack([np.full_like(image.pixels, -1000), image.pixels])
    stack = image.replace(pixels=frames, spacing=(1.0, 1.0), frame=1)
    mask, _, data = found(stack, "body")
    assert mask.pixels.shape == (160, 200)
    assert data["area_mm2"] == pytest.approx(BODY, rel=0.03)


def test_the_finest_pixels_are_searched() -> None:
    mask, _, data = found(chest().resized(40, 50), "lung")
    assert mask.shape == (160, 200)
    assert data["area_mm2"] == pytest.approx(LUNGS, rel=0.06)


# -- cropping


def test_a_crop_knows_where_it_lies() -> None:
    image = chest(spacing=(2.0, 0.5))
    mask, _, _ = found(image, "lung")
    part, text = crop_to_mask(image, mask, margin_mm=4.0)
    y0, x0 = 75 - 35, 65 - 22
    left, top, right, bottom = part.box_to_source(WHOLE)
    assert (left, top) == pytest.approx((x0 - 8, y0 - 2), abs=2)
    assert (right, bottom) == pytest.approx((201 - x0 + 8, 151 - y0 + 2), abs=2)
    assert np.array_equal(part.pixels, image.pixels[int(top) : int(bottom), int(left) : int(right)])
    assert (part.unit, part.spacing, part.window) == ("HU", (2.0, 0.5), image.window)
    assert "mm" in text
    once, said, _ = SegmentCrop(image, method="lung", **OPTIONS, margin_mm=4.0)
    assert once.digest == part.digest
    assert text in said


def test_a_volume_is_cut_in_three_directions() -> None:
    volume = chest(slices=20)
    part, text, data = SegmentCrop(volume, method="lung", **OPTIONS, margin_mm=4.0)
    assert part.frames == 15 + 2 * 2
    assert part.attributes["slices"] == "1-19"
    assert part.frame == 10 - 1
    assert "mm" in text
    inner, _, _ = SegmentCrop(part, method="lung", **OPTIONS, margin_mm=0.0, mask_out=True)
    assert inner.attributes["slices"] == "3-17"
    assert inner.pixels.max() < 0
    assert data["slices"] == [3, 17]


def test_masking_out_leaves_only_what_was_found() -> None:
    image = chest()
    part, _, _ = SegmentCrop(image, method="lung", **OPTIONS, margin_mm=10.0, mask_out=True)
    assert part.pixels[0, 0] == image.pixels.min()
    assert (part.pixels > -300).mean() < 0.01
    low = chest(unit="raw").replace(pixels=-image.pixels, photometric="MONOCHROME1", window=None)
    dark, _, _ = SegmentCrop(low, method="otsu", **OPTIONS, margin_mm=10.0, mask_out=True)
    assert dark.view()[0, 0] == 0
    colour = Image(pixels=np.repeat(image.view()[..., None], 3, -1), photometric="RGB")
    black, _, _ = SegmentCrop(colour, method="otsu", **OPTIONS, margin_mm=10.0, mask_out=True)
    assert black.pixels[0, 0].tolist() == [0, 0, 0]


def test_a_mask_serves_what_shows_the_same_region() -> None:
    image = chest()
    mask, _, _ = found(image, "lung")
    small = image.resized(40, 50)
    assert crop_to_mask(small, mask, margin_mm=0.0)[0].digest == crop_to_mask(image, mask, margin_mm=0.0)[0].digest
    coarse = mask.resized(80, 100).replace(pixels=mask.pixels[::2, ::2], detail=None)
    assert crop_to_mask(image, coarse, margin_mm=0.0)[0].shape == pytest.approx((70, 114), abs=4)
    stack = chest(slices=20)
    assert crop_to_mask(stack, mask, margin_mm=0.0)[0].frames == 20
    other = mask.crop(0, 0, 100, 160)
    assert "another region" in refusal(crop_to_mask, image=image, mask=other, margin_mm=0.0, mask_out=False)
    assert "another region" in refusal(
        crop_to_mask, image=image.crop(5, 5, 100, 100), mask=mask, margin_mm=0.0, mask_out=False
    )
    volume_mask = found(stack, "lung")[0]
    assert "20 slices" in refusal(crop_to_mask, image=image, mask=volume_mask, margin_mm=0.0, mask_out=False)


def test_what_is_no_mask_is_refused() -> None:
    image = chest()
    assert "one that segment made" in refusal(crop_to_mask, image=image, mask=image, margin_mm=0.0, mask_out=False)
    empty = image.replace(pixels=np.zeros(image.shape, bool), unit="mask")
    assert "empty" in refusal(crop_to_mask, image=image, mask=empty, margin_mm=0.0, mask_out=False)


def test_without_spacing_the_margin_is_in_pixels_and_said_so() -> None:
    part, text, data = SegmentCrop(chest(spacing=None), method="bone", **OPTIONS, margin_mm=3.0)
    assert "the margin is 3 pixels" in text
    assert "area_mm2" not in data
    assert part.shape == pytest.approx((19 + 6, 19 + 6), abs=2)


# -- boxes of many masks


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 1.0])
def test_boxes_hold_what_is_set(share: float) -> None:
    random = np.random.default_rng(int(share * 1e4))
    for _ in range(60):
        n, h, w = (int(random.integers(1, most)) for most in (5, 140, 90))
        masks = random.random((n, h, w)) < share
        if w % 2:
            masks = np.asfortranarray(masks)
        wanted = []
        for mask in masks:
            y, x = np.nonzero(mask)
            wanted.append([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])
        boxes = boxes_of(masks)
        assert boxes.tolist() == wanted
        assert boxes.dtype.kind == "i"


def test_boxes_of_nothing_and_of_edges() -> None:
    assert boxes_of(np.zeros((0, 8, 8), bool)).shape == (0, 4)
    assert boxes_of(np.zeros((3, 0, 8), bool)).tolist() == [[0] * 4] * 3
    masks = np.zeros((6, 70, 33), bool)
    for mask, (y, x) in zip(masks, ((0, 0), (0, 32), (69, 0), (69, 32), (31, 16)), strict=False):
        mask[y, x] = True
    wanted = [[0, 0, 1, 1], [32, 0, 33, 1], [0, 69, 1, 70], [32, 69, 33, 70], [16, 31, 17, 32], [0, 0, 0, 0]]
    assert boxes_of(masks).tolist() == wanted
    assert boxes_of(masks[:, ::-1, ::-1])[:4].tolist() == wanted[3::-1]


# -- refusals and bad input


def test_refusals_say_what_would_be_taken() -> None:
    assert "needs a CT in HU" in refusal(Segment, image=chest(unit="raw"), method="lung")
    assert "needs a point" in refusal(Segment, image=chest(), method="region")
    assert "tolerance goes with" in refusal(Segment, image=chest(), method="lung", tolerance=5.0)
    flat = Image(pixels=np.full((32, 32), 50, np.int16), unit="HU")
    assert "no lung was found" in refusal(Segment, image=flat, method="lung")
    with pytest.raises(ToolError, match="did you mean lung"):
        Segment.validate({"image": 0, "method": "lungs"})
    with pytest.raises(ToolError, match="point"):
        Segment.validate({"image": 0, "method": "region", "point": [1, 2, 3]})


@pytest.mark.parametrize("method", ["body", "bone", "lung", "otsu", "region"])
def test_bad_pixels_end_in_a_sentence_at_once(method: str) -> None:
    more = {"method": method, "point": [500, 500]}
    nan = np.zeros((16, 16), np.float32)
    nan[3, 3] = np.nan
    assert "1 of 256 pixels have no value" in refusal(Segment, image=Image(pixels=nan, unit="HU"), **more)
    huge = Image(pixels=np.broadcast_to(np.int16(0), (100_000, 100_000)), unit="HU")
    started = time.perf_counter()
    assert "10,000,000,000 pixels" in refusal(Segment, image=huge, **more)
    assert time.perf_counter() - started < 5
    for shape in ((1, 1), (1, 9), (9, 1), (2, 3)):
        result = Segment.run({**OPTIONS, **more, "image": Image(pixels=np.full(shape, 7, np.int16), unit="HU")})
        assert result.ok or result.error.code == "bad_value"  # type: ignore[union-attr]
    for pixels in (np.zeros((0, 5)), np.zeros((2, 2, 2, 2, 2))):
        with pytest.raises(ValueError, match="shape"):
            Image(pixels=pixels)
    with pytest.raises(ValueError, match="spacing is positive"):
        Image(pixels=nan, spacing=(1.0, -1.0))
