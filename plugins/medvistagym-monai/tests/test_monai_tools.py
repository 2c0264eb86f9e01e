"""The tools on shapes of known size: what they cut, keep, say, and refuse."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.plugins import Registry
from medvistagym_core.testing import conformance
from medvistagym_core.tools import Tool, ToolError
from medvistagym_monai import components, crop_foreground, fill_holes, resample, scale_intensity

WHOLE = Box(0, 0, 1000, 1000)
NAMES = ["components", "crop_foreground", "fill_holes", "resample", "scale_intensity"]
TOOLS: list[tuple[Tool, dict[str, Any]]] = [
    (crop_foreground, {}), (resample, {"spacing_mm": 1.5}), (scale_intensity, {}), (components, {}), (fill_holes, {}),
]  # fmt: skip

test_conformance = conformance("monai", examples=4)


def scan(slices: int | None = None, **changes: Any) -> Image:
    """A block of 40 HU in air, 60 x 30 mm, at rows 20 to 59 and columns 30 to 149 of 100 x 200 pixels."""
    pixels = np.full((100, 200), -1000, np.int16)
    pixels[20:60, 30:150] = 40
    kept: dict[str, Any] = {
        "unit": "HU",
        "modality": "CT",
        "spacing": (0.75, 0.5),
        "window": Window(40, 400),
        **changes,
    }
    if slices is not None:
        pixels = np.repeat(pixels[None], slices, 0)
        pixels[:2], pixels[-3:] = -1000, -1000
        kept["spacing"] = (4.0, 0.75, 0.5)
    return Image(pixels=pixels, **kept)


def mask(pixels: np.ndarray, **changes: Any) -> Image:
    return Image(pixels=pixels, unit="mask", window=Window(0.5, 1.0, "linear_exact"), **changes)


def refusal(tool: Tool, **arguments: Any) -> str:
    model = {name: field.default for name, field in tool.arguments.model_fields.items()}
    error = tool.run({**model, **arguments}).error
    assert isinstance(error, ToolError)
    assert error.code == "bad_value", error
    assert "\n" not in error.message
    return error.message


# -- as a plugin


def test_the_plugin_offers_its_tools() -> None:
    assert list(Registry.discover("monai").toolbox()) == NAMES


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    heavy = ("numpy", "scipy", "SimpleITK", "torch", "monai")
    code = f"import sys, medvistagym_monai; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- crop_foreground


def test_the_border_is_taken_away_and_the_rest_knows_where_it_lies() -> None:
    part, text = crop_foreground(scan(), margin_mm=3.0)
    assert part.box_to_source(WHOLE) == (30 - 6, 20 - 4, 150 + 6, 60 + 4)
    assert (part.unit, part.spacing, part.window) == ("HU", (0.75, 0.5), Window(40, 400))
    assert np.array_equal(part.pixels, scan().pixels[16:64, 24:156])
    assert "66.0 x 36.0 mm" in text
    volume, _ = crop_foreground(scan(slices=12))
    assert volume.pixels.shape == (7, 40, 120)
    assert volume.attributes["slices"] == "2-8"


def test_thresholds_are_values_or_percentiles() -> None:
    pixels = scan().pixels.copy()
    pixels[5, 5] = -990  # a speck of noise
    image = scan().replace(pixels=pixels)
    assert crop_foreground(image)[0].shape == (55, 145)
    assert crop_foreground(image, above=-300.0)[0].shape == (40, 120)
    assert crop_foreground(image, percentile=76.0)[0].shape == (40, 120)
    assert "not both" in refusal(crop_foreground, image=image, above=0.0, percentile=5.0)
    assert "no pixel is above 100; the brightest is 40" in refusal(crop_foreground, image=image, above=100.0)


def test_bright_is_bright_whatever_the_photometric_sense() -> None:
    inverted = scan(unit="raw", photometric="MONOCHROME1").replace(pixels=-scan().pixels)
    assert crop_foreground(inverted)[0].shape == (40, 120)
    assert crop_foreground(inverted, above=300.0)[0].shape == (40, 120)
    assert "no pixel is below -100" in refusal(crop_foreground, image=inverted, above=-100.0)
    colour = Image(pixels=np.repeat(scan().view()[..., None], 3, -1), photometric="RGB")
    assert crop_foreground(colour)[0].pixels.shape == (40, 120, 3)


# -- resample


def test_the_same_region_at_another_spacing() -> None:
    made, text = resample(scan(), spacing_mm=1.5)
    assert made.pixels.shape == (50, 67)
    assert made.spacing == pytest.approx((1.5, 100 / 67))
    assert made.box_to_source(WHOLE) == pytest.approx((0, 0, 200, 100))
    assert (made.unit, made.window, made.detail is not None) == ("HU", Window(40, 400), True)
    assert made.pixels.mean() == pytest.approx(scan().pixels.mean(), rel=0.01)
    assert text == "Resampled to 67 x 50 pixels of 1.493 x 1.5 mm"
    finer, _ = resample(made, spacing_mm=0.25)  # of the finest pixels, not of those of the one before
    assert finer.pixels.shape == (300, 400)
    assert finer.pixels[60:180, 60:300].mean() == pytest.approx(40, abs=10)


def test_slices_become_as_dense_as_pixels() -> None:
    image = scan(slices=12, frame=3)
    made, text = resample(image, spacing_mm=1.0, slice_mm=1.0)
    assert made.pixels.shape == (48, 75, 100)
    assert made.spacing == pytest.approx((1.0, 1.0, 1.0))
    assert made.frame == 14  # the middle of slice 3, 14 mm from the start
    assert "in 48 slices 1 mm apart" in text
    block = (made.pixels > -480).any((1, 2))
    assert block.sum() == 7 * 4
    fewer, _ = resample(image, spacing_mm=0.5, slice_mm=8.0)
    assert fewer.pixels.shape == (6, 150, 200)
    assert np.allclose(fewer.pixels[1], fewer.pixels[2], atol=1)
    assert fewer.pixels[4, 60, 100] == pytest.approx((40 - 1000) / 2, abs=1)
    kept, _ = resample(image, spacing_mm=0.5)
    assert kept.pixels.shape == (12, 150, 200)
    assert kept.spacing == pytest.approx((4.0, 0.5, 0.5))


def test_masks_stay_masks_and_greys_stay_greys() -> None:
    inside = mask(scan(slices=12).pixels > 0, spacing=(4.0, 0.75, 0.5))
    made, _ = resample(inside, spacing_mm=1.0, slice_mm=2.0)
    assert (made.pixels.dtype, made.unit) == (bool, "mask")
    size = made.pixels.sum() * np.prod(made.spacing or ())
    assert size == pytest.approx(inside.pixels.sum() * 4.0 * 0.75 * 0.5, rel=0.05)
    labels = Image(pixels=(inside.pixels * 7).astype(np.uint8)[0:5], unit="label", spacing=(4.0, 0.75, 0.5))
    assert set(np.unique(resample(labels, spacing_mm=0.3, slice_mm=1.0)[0].pixels)) == {0, 7}
    picture = Image(pixels=np.arange(64, dtype=np.uint8).reshape(8, 8), spacing=(1.0, 1.0))
    assert resample(picture, spacing_mm=2.0)[0].pixels.dtype == np.uint8
    colour = Image(pixels=np.full((8, 8, 3), 200, np.uint8), photometric="RGB", spacing=(1.0, 1.0))
    assert resample(colour, spacing_mm=0.5)[0].view().tolist() == np.full((16, 16, 3), 200).tolist()


def test_spacings_that_are_refused() -> None:
    assert "spacing of this image is not known" in refusal(resample, image=scan(spacing=None), spacing_mm=1.0)
    assert "more than the image measures (3 mm)" in refusal(resample, image=scan().crop(0, 0, 4, 4), spacing_mm=4.0)
    assert "this is a single frame" in refusal(resample, image=scan(), spacing_mm=1.0, slice_mm=1.0)
    started = time.perf_counter()
    for tiny in (0.005, 1e-300):
        assert "the most is 67,108,864; take a wider spacing" in refusal(resample, image=scan(), spacing_mm=tiny)
        assert "take a wider spacing" in refusal(resample, image=scan(slices=9), spacing_mm=0.1, slice_mm=tiny)
    assert time.perf_counter() - started < 5
    with pytest.raises(ToolError, match="spacing_mm"):
        resample.validate({"image": 0, "spacing_mm": -1.0})
    with pytest.raises(ToolError, match="spacing_mm"):
        resample.validate({"image": 0, "spacing_mm": 1e6})


def test_uneven_slices_are_not_resampled_as_if_they_were_even() -> None:
    stack = Image(
        pixels=np.zeros((4, 8, 8), np.int16), unit="HU", spacing=(2.0, 1.0, 1.0), attributes={"slice_offsets_mm": "0 2 4 30"}
    )  # fmt: skip
    assert "unevenly spaced" in refusal(resample, image=stack, spacing_mm=1.0, slice_mm=1.0)
    assert resample(stack, spacing_mm=2.0)[0].pixels.shape == (4, 4, 4)


# -- scale_intensity


@pytest.mark.parametrize("method", ["percentiles", "range", "zscore"])
def test_values_of_any_scale_become_greys(method: Any) -> None:
    values = np.random.default_rng(0).normal(1000, 100, (64, 48))
    image = Image(pixels=values.astype(np.float32), unit="raw", spacing=(1.0, 1.0)).crop(4, 4, 44, 60)
    values = values[4:60, 4:44]
    ends = {
        "percentiles": np.percentile(values, (1, 99)),
        "range": (900, 1200),
        "zscore": (values.mean() - 3 * values.std(), values.mean() + 3 * values.std()),
    }[method]
    low, high = (900.0, 1200.0) if method == "range" else (None, None)
    made, text = scale_intensity(image, method=method, low=low, high=high)
    wanted = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255
    assert np.abs(made.pixels - wanted).max() < 0.51
    assert (made.unit, made.window, made.pixels.dtype) == ("grey", None, np.uint8)
    assert (made.to_source, made.spacing) == (image.to_source, image.spacing)
    assert np.array_equal(made.view(), made.pixels)
    assert "no unit" in text


def test_low_is_bright_becomes_usual() -> None:
    image = scan(photometric="MONOCHROME1")
    made, text = scale_intensity(image, method="range", low=-1000.0, high=40.0)
    assert made.photometric == "MONOCHROME2"
    assert made.pixels[0, 0] == 255
    assert made.pixels[30, 60] == 0
    assert text.startswith("Black is 40 HU, white is -1000 HU")


def test_scales_that_are_refused() -> None:
    assert "needs low and high" in refusal(scale_intensity, image=scan(), method="range", low=0.0)
    assert "low must be below high" in refusal(scale_intensity, image=scan(), method="zscore", low=2.0, high=1.0)
    assert "within 0 to 100" in refusal(scale_intensity, image=scan(), method="percentiles", high=101.0)
    assert "alike" in refusal(scale_intensity, image=scan(), method="percentiles", high=50.0)
    colour = Image(pixels=np.zeros((4, 4, 3), np.uint8), photometric="RGB")
    assert "colours" in refusal(scale_intensity, image=colour)
    for low, high in ((0.0, 1e-308), (-1e308, 1e308), (1e300, 2e300)):
        assert "too close together or too far apart" in refusal(
            scale_intensity, image=scan(), method="range", low=low, high=high
        )


def test_values_beyond_float32_are_black_or_white_or_refused() -> None:
    values = np.array([[-3e38, 0.0], [5.0, 3e38]], np.float32)
    made, _ = scale_intensity(Image(pixels=values, unit="raw"), method="range", low=0.0, high=10.0)
    assert made.pixels.tolist() == [[0, 0], [128, 255]]
    beyond = Image(pixels=np.full((4, 4), 1e300), unit="raw", spacing=(1.0, 1.0))
    assert "have no value" in refusal(resample, image=beyond, spacing_mm=2.0)


def test_the_finest_pixels_are_scaled() -> None:
    overview = scan().resized(8, 8)
    made, _ = scale_intensity(overview)
    assert made.shape == scan().shape


# -- components and fill_holes


def parts() -> np.ndarray:
    """Of 30 x 40 pixels: squares of 100, 25 and 25 with a corner in common, and one pixel."""
    made = np.zeros((30, 40), bool)
    made[2:12, 3:13] = True
    made[15:20, 20:25] = made[20:25, 25:30] = True
    made[28, 38] = True
    return made


def test_parts_are_listed_by_size_and_one_is_kept() -> None:
    image = mask(parts(), spacing=(0.5, 2.0))
    largest, text, data = components(image)
    assert np.array_equal(largest.pixels, parts() & (np.arange(30) < 12)[:, None])
    assert (largest.unit, largest.spacing) == ("mask", (0.5, 2.0))
    assert data["parts"] == 4
    assert [part["area_mm2"] for part in data["listed"]] == [100, 25, 25, 1]
    assert data["area_mm2"] == 100
    assert data["listed"][3]["box"] == [950, 933, 975, 967]
    assert text.startswith("part 1 of 4: 100 mm2")
    assert "4: 1.0 mm2 at [950, 933, 975, 967]" in text
    second, _, _ = components(image, keep=2)
    assert second.pixels[15:20, 20:25].all()
    assert second.pixels.sum() == 25
    assert "there is no part 5" in refusal(components, mask=image, keep=5)


def test_parts_of_a_volume_reach_across_slices() -> None:
    volume = np.zeros((6, 10, 10), bool)
    volume[0:3, 1:4, 1:4] = True
    volume[3, 3:9, 3:9] = True  # touches the one below at a single pixel
    volume[5, 0, 0] = True
    image = mask(volume, spacing=(5.0, 2.0, 1.0))
    kept, _, data = components(image)
    assert data["parts"] == 2
    assert data["volume_ml"] == pytest.approx((27 + 36) * 10 / 1000)
    assert data["slices"] == [0, 3]
    assert data["listed"][1]["slices"] == [5, 5]
    assert kept.frame == 3
    last, _, _ = components(image, keep=2)
    assert last.frame == 5


def test_many_parts_are_counted_and_ten_are_listed() -> None:
    dots = np.zeros((60, 60), bool)
    dots[::2, ::2] = True
    _, text, data = components(mask(dots), keep=900)
    assert data["parts"] == 900
    assert len(data["listed"]) == 10
    assert text.endswith("; 890 more")


def test_holes_are_what_a_slice_encloses() -> None:
    plane = np.zeros((20, 20), bool)
    plane[2:18, 2:18] = True
    plane[5:8, 5:8] = False  # a hole
    plane[10:12, 10:20] = False  # a bay
    plane[14, 14] = plane[15, 15] = False  # two holes that touch at a corner
    filled, text, data = fill_holes(mask(plane, spacing=(1.0, 2.0)))
    assert filled.pixels[5:8, 5:8].all()
    assert not filled.pixels[10:12, 12:].any()
    assert (data["holes"], data["added"]["area_mm2"]) == (3, 22)
    assert text.startswith("Filled 3 holes of 22.0 mm2 in all: ")
    again, text, data = fill_holes(filled)
    assert again.digest == filled.digest
    assert data["holes"] == 0
    assert text.startswith("There is no hole to fill")
    tube = np.repeat(plane[None], 4, 0)  # open at both ends, and filled all the same
    volume, _, data = fill_holes(mask(tube, spacing=(3.0, 1.0, 2.0)))
    assert np.array_equal(volume.pixels, np.repeat(filled.pixels[None], 4, 0))
    assert data["holes"] == 12


def test_what_is_no_mask_is_refused_and_what_a_file_holds_is_taken() -> None:
    for tool in (components, fill_holes):
        assert "give one that segment made" in refusal(tool, mask=scan())
        assert "give one that segment made" in refusal(
            tool, mask=Image(pixels=np.arange(9, dtype=np.uint8).reshape(3, 3))
        )
        assert "the mask is empty" in refusal(tool, mask=mask(np.zeros((4, 4), bool)))
        assert "give one" in refusal(tool, mask=Image(pixels=np.zeros((4, 4, 3), np.uint8), photometric="RGB"))
        assert tool.run(
            {**({"keep": 1} if tool is components else {}), "mask": Image(pixels=parts() * np.uint8(255))}
        ).ok


# -- bad input


@pytest.mark.parametrize(("tool", "arguments"), TOOLS, ids=lambda part: getattr(part, "name", ""))
def test_bad_pixels_end_in_a_sentence_at_once(tool: Tool, arguments: Mapping[str, Any]) -> None:
    (name,) = tool.image_arguments
    unit = "mask" if name == "mask" else "HU"
    nan = np.zeros((16, 16), np.float32)
    nan[3, 3] = np.nan
    spaced = {"unit": unit, "spacing": (1.0, 1.0)}
    if name == "image":
        said = refusal(tool, image=Image(pixels=nan, **spaced), **arguments)
        assert "1 of 256 pixels have no value" in said
    started = time.perf_counter()
    huge = Image(pixels=np.broadcast_to(np.int16(1), (100_000, 100_000)), **spaced)
    assert "10,000,000,000 pixels" in refusal(tool, **{name: huge}, **arguments)
    assert time.perf_counter() - started < 5
    for shape in ((1, 1), (1, 9), (9, 1), (2, 3)):
        filled = {k: field.default for k, field in tool.arguments.model_fields.items()}
        result = tool.run({**filled, **arguments, name: Image(pixels=np.full(shape, 7, np.int16), **spaced)})
        assert result.ok or result.error.code == "bad_value"  # type: ignore[union-attr]
    if tool in (crop_foreground, scale_intensity):
        assert "alike" in refusal(tool, image=Image(pixels=np.full((8, 8), 7)), **arguments)
    for pixels in (np.zeros(5), np.zeros((0, 5)), np.zeros((2, 2, 2, 2, 2))):
        with pytest.raises(ValueError, match="shape"):
            Image(pixels=pixels)
