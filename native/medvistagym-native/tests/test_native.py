"""With the kernels and without them, the tools give the same bits; and the kernels refuse what they cannot work on."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Box, Image
from medvistagym_core.imaging import NATIVE_ENV_VAR, Window, bounding_boxes, native_kernels, render_batch
from medvistagym_dicom import zoom
from medvistagym_kornia import EnhanceContrast
from medvistagym_segment import Segment

pytestmark = pytest.mark.skipif(
    native_kernels() is None and not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="the kernels are made with a C compiler, and none is installed here",
)
KINDS = [np.int16, np.uint16, np.int8, np.uint8, np.float32]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Runs something as where the kernels are not installed."""

    def run(work: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setenv(NATIVE_ENV_VAR, "0")
            native_kernels.cache_clear()
            assert native_kernels() is None
            result = work()
        native_kernels.cache_clear()
        assert native_kernels() is not None
        return result

    yield run
    native_kernels.cache_clear()


def noise(shape: tuple[int, ...], kind: Any, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == np.float32:
        values = rng.normal(0, 500, shape).astype(kind)
        odd = (np.nan, np.inf, -np.inf, 3e38, -3e38, -0.0)
        values.reshape(-1)[: len(odd)] = odd[: values.size]
        return values
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def unaligned() -> np.ndarray:
    values = noise((300, 250), np.int16)
    return np.frombuffer(b" " + values.tobytes(), np.int16, offset=1).reshape(values.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(300, 217), (5, 7), (1, 1), (4, 160, 150)], ids=str)
def test_pictures_are_the_same(kind: Any, shape: tuple[int, ...], without: Any) -> None:
    pixels = noise(shape, kind)
    windows = [Window(40, 400), Window(40, 1), Window(0.3, 77.7, "linear_exact"), Window(-600, 1500, "sigmoid"), None]
    windows += [Window(0, 1e-50, "linear_exact"), Window(7, 1e-39, "linear_exact"), Window(0, 1e30)]
    windows += [
        Window(float(c), float(w)) for c, w in np.random.default_rng(1).uniform((-900, 1), (900, 3000), (20, 2))
    ]
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        images = [Image(pixels=pixels, unit="raw", window=window, photometric=photometric) for window in windows]
        images += [image.crop(1, 2, 101, 150) for image in images if shape == (300, 217)]
        wanted = without(lambda images=images: [image.view() for image in images])
        for image, picture in zip(images, wanted, strict=True):
            assert np.array_equal(image.view(), picture), image.window
            assert np.array_equal(render_batch([image, image])[1], picture)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int8, np.uint8])
def test_every_value_is_drawn_the_same(kind: Any, without: Any) -> None:
    limits = np.iinfo(kind)
    pixels = np.resize(np.arange(limits.min, limits.max + 1), (256, 256)).astype(kind)
    windows = [Window(40, 400, "linear_exact"), Window(-600, 1500, "linear_exact"), Window(0, 4096, "linear_exact")]
    windows += [Window(float(c), float(w)) for c in (-600, 35.5, 128) for w in (2, 3, 80, 255, 256, 257, 65535)]
    images = [Image(pixels=pixels, unit="raw", window=window) for window in windows]
    wanted = without(lambda: [image.view() for image in images])
    for image, picture in zip(images, wanted, strict=True):
        assert np.array_equal(image.view(), picture), image.window


def test_pictures_of_colours_and_of_values_that_are_all_alike_are_the_same(without: Any) -> None:
    images = [
        Image(pixels=noise((200, 150, 3), np.uint8), photometric="RGB", window=Window(100, 50)),
        Image(pixels=noise((200, 150, 3), np.uint16), unit="raw", photometric="RGB"),
        Image(pixels=np.full((200, 150), 7, np.int16), unit="raw"),
        Image(pixels=np.full((200, 150), np.nan, np.float32), unit="raw"),
        Image(pixels=noise((200, 150), np.int16).T, unit="raw", window=Window(40, 400)),
        Image(pixels=noise((200, 150), np.int16).astype(">i2"), unit="raw", window=Window(40, 400)),
        Image(pixels=unaligned(), unit="raw", window=Window(40, 400)),
    ]
    wanted = without(lambda: [image.view() for image in images])
    for image, picture in zip(images, wanted, strict=True):
        assert np.array_equal(image.view(), picture)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int8, np.uint8])
def test_enlarged_parts_are_the_same(kind: Any, without: Any) -> None:
    calls = [
        {
            "image": Image(
                pixels=noise(shape, kind), unit="raw", photometric="RGB" if len(shape) == 3 else "MONOCHROME2"
            ),
            "box": box,
        }
        for shape in ((300, 512), (1024, 65), (517, 300, 3))[: 2 if kind != np.uint8 else 3]
        for box in (Box(0, 0, 1000, 1000), Box(1, 2, 333, 900), Box(500, 500, 501, 501), Box(990, 0, 1000, 7))
    ]
    lying = (noise((300, 250), kind).T, noise((300, 500), kind)[:, ::2], *([unaligned()] if kind == np.int16 else []))
    calls += [{"image": Image(pixels=pixels, unit="raw"), "box": Box(100, 100, 300, 450)} for pixels in lying]
    wanted = without(lambda: [zoom(**call).digest for call in calls])
    assert [zoom(**call).digest for call in calls] == wanted


@pytest.mark.parametrize("shape", [(512, 512), (96, 130), (17, 19), (1, 40), (3, 3), (2, 70, 80)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_contrast_is_the_same(shape: tuple[int, ...], seed: int, without: Any) -> None:
    pixels = noise(shape, np.uint8, seed)
    pixels[..., : shape[-1] // 2] //= 16 * seed + 1
    image = Image(pixels=pixels)
    wanted = without(lambda: EnhanceContrast(image=image).pixels)
    assert np.array_equal(EnhanceContrast(image=image).pixels, wanted)


@pytest.mark.parametrize("shape", [(512, 512), (96, 128), (51, 35), (8, 8), (64, 640)], ids=str)
@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 40.0])
def test_contrast_is_that_of_opencv(shape: tuple[int, int], limit: float) -> None:
    import cv2

    down, across = (3, 5) if shape == (51, 35) else (8, 8)
    pixels = np.clip(np.random.default_rng(0).normal(100, 30, shape), 0, 255).astype(np.uint8)
    pixels[: shape[0] // 2, : shape[1] // 2] = 0
    out, kernels = np.empty_like(pixels), native_kernels()
    assert kernels is not None
    kernels.clahe(pixels, out, limit, down, across)
    wanted = cv2.createCLAHE(limit, (across, down)).apply(pixels)
    exact = platform.machine() in ("x86_64", "AMD64")  # elsewhere OpenCV may contract a product and a sum
    assert np.abs(out.astype(int) - wanted).max() <= (0 if exact else 1)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("method", ["otsu", "body", "lung"])
def test_what_is_found_is_the_same(seed: int, method: str, without: Any) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(20, 140, 2).tolist())
    y, x = np.indices(shape)
    inside = np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5) < 0.4
    pixels = np.where(inside, 40, -1000) + rng.integers(-3, 4, shape)
    pixels[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = -900  # a lung, or a hole to be filled
    pixels[rng.random(shape) < 0.02 * seed] = 3000
    image = Image(pixels=pixels.astype(np.int16), unit="HU", modality="CT", spacing=(2.0, 2.0))

    def found() -> Any:
        mask, text, data = Segment(image=image, method=method)
        return mask.pixels.tobytes(), text, data

    assert found() == without(found)


def test_boxes_are_the_same(without: Any) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (3, 1, 9), (40, 23, 64), (9, 130, 65)):
        masks = rng.random(shape) < rng.random(shape[0])[:, None, None] ** 6
        masks[0] = False
        assert np.array_equal(bounding_boxes(masks), without(lambda masks=masks: bounding_boxes(masks)))
        cut = masks[:, :: 2 if shape[1] > 1 else 1, :-1] if shape[2] > 1 else masks
        assert np.array_equal(bounding_boxes(cut), bounding_boxes(cut.copy()))


def spiral(side: int) -> np.ndarray:
    """One long winding part, and around it one long winding gap."""
    mask = np.zeros((side, side), bool)
    for k in range(0, side // 2, 2):
        mask[k, max(0, k - 2) : side - k] = mask[k : side - k, side - k - 1] = True
        mask[side - k - 1, k : side - k] = mask[k + 2 : side - k, k] = True
    return mask


@pytest.mark.parametrize("mask", [spiral(65), np.indices((63, 62)).sum(0) % 2 == 0, np.ones((5, 9), bool)])
def test_parts_that_wind_and_parts_that_touch_by_corners(mask: np.ndarray) -> None:
    import cv2

    kernels: Any = native_kernels()
    part, whole = np.empty_like(mask), np.empty_like(mask)
    kernels.largest(mask, part)
    kernels.filled(mask, whole)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    assert np.array_equal(part, labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
    outside = np.pad(mask, 1).view(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    assert np.array_equal(whole, outside[1:-1, 1:-1] != 2)


def refused() -> dict[str, tuple[str, Callable[[], tuple[Any, ...]]]]:
    grey, floats, counts = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.float32), np.zeros(256, np.int64)
    masks, found = np.zeros((2, 8, 8), bool), np.zeros((2, 4), np.int64)
    return {
        "another shape": ("levels", lambda: (grey, np.zeros((8, 9), np.uint8), 0.0, 1.0, True, False)),
        "float64": ("levels", lambda: (floats.astype(float), grey, 0.0, 1.0, True, False)),
        "the other byte order": ("levels", lambda: (floats.astype(">f4"), grey, 0.0, 1.0, True, False)),
        "nothing at all": ("levels", lambda: (np.zeros((2, 2), "V0"), grey[:2, :2], 0.0, 1.0, True, False)),
        "no alignment": ("levels", lambda: (unaligned(), np.empty((300, 250), np.uint8), 0.0, 1.0, True, False)),
        "one axis": ("levels", lambda: (grey.ravel(), grey, 0.0, 1.0, True, False)),
        "columns": ("levels", lambda: (grey[:, ::2], grey[:, :4].copy(), 0.0, 1.0, True, False)),
        "smaller": ("enlarge", lambda: (grey, np.zeros((7, 8), np.float32))),
        "nothing to enlarge": ("enlarge", lambda: (grey[:0], floats)),
        "floats to enlarge": ("enlarge", lambda: (floats, floats.copy())),
        "integers for floats": ("as_floats", lambda: (grey, grey, 0.0)),
        "uneven tiles": ("clahe", lambda: (grey, grey.copy(), 2.0, 3, 1)),
        "no tiles": ("clahe", lambda: (grey, grey.copy(), 2.0, 0, 1)),
        "no limit": ("clahe", lambda: (grey, grey.copy(), float("nan"), 1, 1)),
        "few classes": ("histogram", lambda: (floats, counts[:255], 0.0, 1.0)),
        "short numbers": ("histogram", lambda: (floats, counts.astype(np.int32), 0.0, 1.0)),
        "few boxes": ("boxes", lambda: (masks, found[:1])),
        "masks of 16 bits": ("boxes", lambda: (masks.astype(np.int16), found)),
        "a mask of another shape": ("largest", lambda: (masks[0], masks[0, :4].copy())),
        "a volume": ("filled", lambda: (masks, masks.copy())),
    }


def test_kernels_that_cannot_be_loaded_are_done_without_and_spoken_of(
    monkeypatch: pytest.MonkeyPatch, without: Any
) -> None:
    def broken(name: str) -> Any:
        raise ImportError("file too short")

    def work() -> None:
        monkeypatch.delenv(NATIVE_ENV_VAR)
        import importlib

        monkeypatch.setattr(importlib, "import_module", broken)
        native_kernels.cache_clear()
        with pytest.warns(RuntimeWarning, match=r"file too short.*install it again"):
            assert native_kernels() is None
        monkeypatch.undo()

    without(work)


def test_otsu_of_values_that_are_hardly_apart_is_quiet(without: Any) -> None:
    image = Image(pixels=np.array([[0, 1e-38], [2e-38, 1e-44]], np.float32).repeat(8, 0).repeat(8, 1), unit="raw")
    for run in (lambda work: work(), without):
        with pytest.raises(ValueError, match="no otsu"):
            run(lambda: Segment(image=image, method="otsu"))


@pytest.mark.parametrize("name", refused())
def test_arrays_that_do_not_fit_are_refused(name: str) -> None:
    kernel, arguments = refused()[name]
    with pytest.raises(ValueError, match=r"^[a-z]"):
        getattr(native_kernels(), kernel)(*arguments())


def test_arrays_that_may_not_be_written_to_are_left_alone() -> None:
    kernels: Any = native_kernels()
    values, out = np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match="read-only"):
        kernels.levels(values, out, 0.0, 1.0, False, False)
    assert not out.any()
    for kernel in ("levels", "as_floats", "enlarge", "clahe", "histogram", "boxes", "largest", "filled"):
        with pytest.raises(TypeError):
            getattr(kernels, kernel)()


def test_rows_of_a_png_that_are_none_are_refused() -> None:
    kernels = native_kernels()
    assert kernels is not None
    rows, out = np.zeros((2, 7), np.uint8), np.zeros((2, 6), np.uint8)
    kernels.unfilter(rows, out, 3)
    for wrong, reason in (
        ((rows, np.zeros((2, 7), np.uint8), 1), "a byte more"),
        ((rows, np.zeros((3, 6), np.uint8), 1), "a byte more"),
        ((np.zeros((2, 0), np.uint8), out, 1), "a byte more"),
        ((rows.astype(np.int16), out, 1), "uint8"),
        ((rows, out, 0), "1 to 8 bytes"),
        ((rows, out, 9), "1 to 8 bytes"),
        ((rows + np.uint8(5), out, 1), "filter"),
    ):
        with pytest.raises(ValueError, match=reason):
            kernels.unfilter(*wrong)
    with pytest.raises(OverflowError):
        kernels.unfilter(rows, out, 2**70)


def test_kernels_that_an_older_version_compiled_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    native_kernels.cache_clear()
    monkeypatch.delattr("medvistagym_native._kernels.unfilter")
    try:
        with pytest.warns(RuntimeWarning, match="they lack unfilter.*; install it again"):
            assert native_kernels() is None
    finally:
        native_kernels.cache_clear()
