"""The tools: what they do to values, places and windows, what they say, and how they refuse."""

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
from medvistagym_kornia import Denoise, Edges, EnhanceContrast, Morphology, Sharpen, difference, orient

WHOLE = Box(0, 0, 1000, 1000)
NAMES = ["denoise", "difference", "edges", "enhance_contrast", "morphology", "orient", "sharpen"]

test_conformance = conformance("kornia", examples=4)


def scan(height: int = 96, width: int = 128, **changes: Any) -> Image:
    """Two noisy squares in air, in HU."""
    pixels = np.full((height, width), -1000.0)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = 40
    pixels[height // 2 : height * 3 // 4, width // 2 : width * 3 // 4] = 400
    pixels += np.random.default_rng(0).normal(0, 20, pixels.shape)
    kept = {"unit": "HU", "modality": "CT", "spacing": (0.5, 0.25), "window": Window(40, 400), **changes}
    return Image(pixels=pixels.astype(np.int16), **kept)


def refusal(tool: Tool, **arguments: Any) -> str:
    error = tool.run(arguments).error
    assert isinstance(error, ToolError)
    assert error.code == "bad_value", error
    return error.message


def facts(image: Image) -> Mapping[str, Any]:
    return {
        name: getattr(image, name) for name in ("unit", "spacing", "window", "to_source", "source_shape", "modality")
    }


# -- as a plugin


def test_the_plugin_offers_its_tools() -> None:
    toolbox = Registry.discover("kornia").toolbox()
    assert list(toolbox) == NAMES


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, medvistagym_kornia; print([m for m in ('numpy', 'cv2', 'torch', 'kornia') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_device_without_kornia_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    from medvistagym_kornia.kernels import kernels

    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(RuntimeError, match=r"pip install 'medvistagym-kornia\[gpu\]'"):
        kernels("cuda")


# -- values


@pytest.mark.parametrize("method", ["median", "bilateral", "gaussian"])
def test_denoising_calms_flat_parts_and_keeps_unit_type_and_place(method: str) -> None:
    image = scan()
    calm = Denoise(image, method=method, radius=2)
    flat = (slice(0, 20), slice(0, 20))
    assert calm.pixels.dtype == image.pixels.dtype
    assert calm.pixels[flat].std() < 0.6 * image.pixels[flat].std()
    assert abs(calm.pixels[flat].mean() - image.pixels[flat].mean()) < 2
    assert facts(calm) == facts(image)


def test_a_median_drops_specks_and_a_bilateral_filter_keeps_edges() -> None:
    pixels = np.zeros((40, 40), np.float32)
    pixels[:, 20:] = 1000
    specked = pixels.copy()
    specked[10, 10] = 5000
    assert np.array_equal(Denoise(Image(pixels=specked), method="median").pixels, pixels)
    noisy = pixels + np.random.default_rng(1).normal(0, 10, pixels.shape).astype(np.float32)
    smooth = Denoise(Image(pixels=noisy), method="bilateral", radius=2).pixels
    assert abs(smooth[:, 19].mean()) < 5
    assert abs(smooth[:, 20].mean() - 1000) < 5


def test_sharpening_steepens_an_edge_by_the_amount() -> None:
    pixels = np.full((32, 32), 100.0, np.float32)
    pixels[:, 16:] = 200
    once, twice = (Sharpen(Image(pixels=pixels), amount=amount).pixels for amount in (1.0, 2.0))
    assert once[5, 15] < 100
    assert once[5, 16] > 200
    np.testing.assert_allclose(twice - pixels, 2 * (once - pixels), atol=1e-3)
    assert np.array_equal(once[:, :4], pixels[:, :4])


def test_integers_stay_within_their_type() -> None:
    pixels = np.zeros((16, 16), np.uint8)
    pixels[4:12, 4:12] = 255
    for kind in (np.uint8, np.int16, np.int32, np.uint64, np.int64):
        top = np.iinfo(kind).max
        sharp = Sharpen(Image(pixels=(pixels > 0) * np.array(top, kind)), amount=10.0).pixels
        assert sharp.dtype == kind
        assert sharp[0, 0] >= 0
        assert abs(int(sharp[8, 8]) - int(top)) <= int(top) // 2**20
    mask = Denoise(Image(pixels=pixels > 0)).pixels
    assert mask.dtype == bool


@pytest.mark.parametrize("method", ["clahe", "equalize", "gamma"])
def test_contrast_is_spread_over_what_is_shown(method: str) -> None:
    image = scan(unit="raw", window=Window(40, 8000))
    spread = EnhanceContrast(image, method=method)
    assert (spread.unit, spread.window, spread.pixels.dtype) == ("grey", None, np.uint8)
    assert (spread.to_source, spread.spacing) == (image.to_source, image.spacing)
    if method != "gamma":
        assert spread.view().std() > image.view().std()
    else:
        assert np.array_equal(spread.view(), np.rint(255 * (image.view() / 255) ** 0.5))


def test_low_is_bright_stays_so() -> None:
    image = scan(photometric="MONOCHROME1", window=None)
    spread = EnhanceContrast(image, method="gamma", gamma=1.0)
    assert spread.photometric == "MONOCHROME2"
    assert np.array_equal(spread.view(), image.view())
    assert "MONOCHROME1" in refusal(Morphology, image=image, operation="erode")


def test_colours_keep_their_hue() -> None:
    pixels = np.random.default_rng(0).integers(90, 140, (32, 40, 3), dtype=np.uint8)
    spread = EnhanceContrast(Image(pixels=pixels, photometric="RGB")).pixels.astype(int)
    shift = spread - pixels
    inside = (spread > 0).all(-1) & (spread < 255).all(-1)
    assert np.ptp(shift[inside], axis=-1).max() == 0
    assert Edges(Image(pixels=pixels, photometric="RGB")).pixels.shape == (32, 40)


def test_edges_lie_where_values_change() -> None:
    pixels = np.zeros((32, 32), np.float32)
    pixels[:, 16:] = 80
    steep = Edges(Image(pixels=pixels, unit="HU"))
    assert steep.unit == "HU/px"
    assert steep.pixels.max() == pytest.approx(40)  # half the step, over two pixels
    assert steep.pixels[:, :14].max() == 0
    lines = Edges(Image(pixels=pixels, unit="HU"), method="canny")
    assert lines.unit == "mask"
    assert np.array_equal(np.flatnonzero(lines.pixels.any(0)), [15]) or np.array_equal(
        np.flatnonzero(lines.pixels.any(0)), [16]
    )
    assert set(np.unique(lines.view())) == {0, 255}
    assert not Edges(Image(pixels=np.full((20, 20), 7, np.uint8)), method="canny").pixels.any()


def test_morphology_of_a_mask() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    mask[2, 2] = True
    mask[20, 20] = False
    image = Image(pixels=mask, unit="mask", window=Window(0.5, 1, "linear_exact"))
    assert Morphology(image, operation="erode", radius=3).pixels.sum() < mask.sum()
    assert not Morphology(image, operation="open", radius=2).pixels[2, 2]
    assert Morphology(image, operation="close", radius=2).pixels[20, 20]
    assert Morphology(image, operation="top_hat", radius=2).pixels[2, 2]
    assert Morphology(image, operation="dilate", radius=1).pixels.dtype == bool
    assert Morphology(image, operation="black_hat", radius=2).window == image.window


def test_stacks_are_worked_on_frame_by_frame() -> None:
    stack = Image(pixels=np.stack([scan().pixels, scan().pixels[::-1]]), unit="HU", frame=1)
    for tool in (Denoise, Sharpen, EnhanceContrast, Edges):
        result = tool(stack)
        assert result.frame == 1
        assert np.array_equal(result.pixels[0], tool(stack.replace(pixels=stack.pixels[0], frame=None)).pixels)


# -- difference


def shifted(image: Image, x: int, y: int) -> Image:
    return image.replace(pixels=np.roll(image.pixels, (y, x), (0, 1)))


def blobs(side: int = 200, **changes: Any) -> Image:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side]
    pixels = sum(
        rng.uniform(100, 500) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * rng.uniform(5, 15) ** 2))
        for cx, cy in rng.uniform(50, side - 50, (12, 2))
    )
    return Image(pixels=np.asarray(pixels, np.float32), **{"unit": "HU", "spacing": (0.5, 0.5), **changes})


def test_an_image_does_not_differ_from_itself() -> None:
    result, text, data = difference(blobs(), blobs())
    assert np.abs(result.pixels).max() < 0.5
    assert data["correlation"] > 0.999
    assert "moved 0.0 px to the right" in text.replace("-0.0", "0.0")


@pytest.mark.parametrize("register", ["shift", "rigid"])
@pytest.mark.parametrize("shift", [(7, -4), (-25, 18)])
def test_a_shift_is_undone_and_said(register: Any, shift: tuple[int, int]) -> None:
    lesion = blobs().pixels.copy()
    lesion[90:100, 90:100] += 300
    image = blobs().replace(pixels=lesion)
    result, text, data = difference(image, shifted(blobs(), *shift), register=register)
    assert data["right_px"] == pytest.approx(-shift[0], abs=0.3)
    assert data["down_px"] == pytest.approx(-shift[1], abs=0.3)
    assert result.pixels[90:100, 90:100].mean() == pytest.approx(300, rel=0.1)
    assert np.abs(result.pixels[60:80, 60:140]).mean() < 10
    assert "mm)" in text


def test_a_turn_is_undone_and_said() -> None:
    import PIL.Image

    turned = np.asarray(PIL.Image.fromarray(blobs().pixels).rotate(5, PIL.Image.Resampling.BICUBIC))
    _, _, data = difference(blobs(), blobs().replace(pixels=turned))
    assert data["turned_degrees"] == pytest.approx(5, abs=0.2)
    assert data["correlation"] > 0.98


def test_another_spacing_is_brought_to_the_same_scale() -> None:
    coarse = blobs().resized(100, 100).replace(detail=None)
    assert coarse.spacing == (1.0, 1.0)
    result, _, data = difference(blobs(), coarse)
    assert result.shape == (200, 200)
    assert data["mean"] < 5
    message = refusal(difference, image=blobs(spacing=None), other=coarse, register="none")
    assert "their spacing is not known" in message


def test_images_that_do_not_belong_together_are_refused() -> None:
    noise = np.random.default_rng(0)
    one, other = (Image(pixels=noise.normal(0, 1, (64, 64)).astype(np.float32)) for _ in range(2))
    assert "could not be brought together" in refusal(difference, image=one, other=other, register="rigid")
    assert "different units" in refusal(difference, image=blobs(), other=scan(unit="raw"), register="none")
    flat = Image(pixels=np.zeros((64, 64), np.float32))
    assert "all values are equal" in refusal(difference, image=one, other=flat, register="shift")
    assert difference(one, flat, register="none")[2]["largest"] == pytest.approx(np.abs(one.pixels).max())


# -- bad input

CALLS: list[tuple[Tool, dict[str, Any]]] = [
    (Denoise, {"method": "median"}),
    (Denoise, {"method": "bilateral", "radius": 2}),
    (Sharpen, {}),
    (EnhanceContrast, {"method": "clahe"}),
    (EnhanceContrast, {"method": "equalize"}),
    (Edges, {"method": "sobel"}),
    (Edges, {"method": "canny"}),
    (Morphology, {"operation": "open", "radius": 15}),
    (orient, {"angle": 90.0}),
]


@pytest.mark.parametrize(("tool", "arguments"), CALLS, ids=lambda part: getattr(part, "name", None))
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (17, 33), (3, 1, 1)])
def test_small_and_constant_images_give_a_result(tool: Tool, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    result = tool(Image(pixels=np.full(shape, 7, np.int16), unit="HU"), **arguments)
    assert sorted(result.pixels.shape) == sorted(shape)
    assert result.view().dtype == np.uint8


@pytest.mark.parametrize(("tool", "arguments"), [*CALLS[:-1], (difference, {"register": "none"})])
def test_pixels_without_a_value_and_huge_images_are_refused_at_once(tool: Tool, arguments: dict[str, Any]) -> None:
    more = {"other": scan().replace(unit="grey")} if tool is difference else {}
    pixels = np.zeros((96, 128), np.float32)
    pixels[3, 4], pixels[5, 6] = np.nan, np.inf
    assert "2 of 12288 pixels have no value" in refusal(tool, image=Image(pixels=pixels), **arguments, **more)
    huge = Image(pixels=np.broadcast_to(np.uint8(0), (100_000, 100_000)))
    started = time.perf_counter()
    assert "10,000,000,000 pixels" in refusal(tool, image=huge, **arguments, **more)
    assert time.perf_counter() - started < 5


def test_arguments_that_do_not_go_together_are_refused() -> None:
    assert "gamma goes with" in refusal(EnhanceContrast, image=scan(), method="clahe", gamma=2.0)
    assert "threshold goes with" in refusal(Edges, image=scan(), method="sobel", threshold=0.5)
