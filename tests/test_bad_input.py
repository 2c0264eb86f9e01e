"""Every installed tool on the worst images and files there are: a result or a typed error, in bounded memory and time."""

from __future__ import annotations

import functools
import json
import math
import re
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image, LookupTable, Window
from medvistagym_core.cli._errors import CommandError
from medvistagym_core.cli._image_files import read_images
from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.plugins import Registry
from medvistagym_core.testing._strategies import argument_strategy, with_images
from medvistagym_core.tools import Tool, ToolCall, ToolResult

FIRST_PARTY = ("dicom", "kornia", "monai", "ocr", "segment")
SECONDS = 20.0  # of processor time for one call, far above what is needed on a busy machine
GROWTH_MIB = 700


@functools.cache
def registry() -> Registry:
    return Registry.discover(FIRST_PARTY)


def tools() -> list[Tool]:
    """The tools of the plugins of this project that are installed."""
    return list(registry().tools.values())


# -- images


def numbers(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise over the whole range of a type."""
    rng = np.random.default_rng(3)
    if kind == "bool":
        return rng.random(shape) < 0.5
    if np.dtype(kind).kind == "f":
        return np.asarray(rng.normal(0, 100, shape).astype(kind))
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def bad_images() -> dict[str, Callable[[], Image]]:
    """Images that are allowed, and that no tool likes."""
    plain = numbers("int16", (24, 32)) // 16
    some_nan = plain.astype(np.float32)
    some_nan[3:9, 4:20] = np.nan
    some_infinite = some_nan.copy()
    some_infinite[0, 0], some_infinite[5, 5] = np.inf, -np.inf
    window, ct = Window(40, 400), {"unit": "HU", "modality": "CT", "spacing": (0.7, 0.7)}
    made: dict[str, Callable[[], Image]] = {
        "all NaN": lambda: Image(pixels=np.full((16, 20), np.nan, np.float32), unit="HU", spacing=(1.0, 1.0)),
        "all infinite": lambda: Image(pixels=np.full((16, 20), np.inf), unit="raw"),
        "some NaN": lambda: Image(pixels=some_nan, window=window, **ct),
        "some infinite": lambda: Image(pixels=some_infinite, **ct),
        "NaN slices": lambda: Image(
            pixels=np.full((4, 8, 8), np.nan, np.float32), unit="HU", modality="CT", spacing=(2.0, 1.0, 1.0)
        ),
        "NaN colour": lambda: Image(pixels=np.full((8, 8, 3), np.nan, np.float32), photometric="RGB"),
        "constant 0": lambda: Image(pixels=np.zeros((24, 32), np.uint8)),
        "constant HU": lambda: Image(pixels=np.full((24, 32), -1000, np.int16), window=window, **ct),
        "constant mask": lambda: Image(pixels=np.ones((16, 16), bool), unit="mask", spacing=(1.0, 1.0)),
        "empty mask": lambda: Image(pixels=np.zeros((24, 32), bool), unit="mask", spacing=(0.7, 0.7)),
        "mask of a corner": lambda: Image(pixels=np.eye(24, 32, 31) > 0, unit="mask", spacing=(0.7, 0.7)),
        "mask of checks": lambda: Image(
            pixels=np.indices((4, 24, 32)).sum(0) % 2 > 0, unit="mask", spacing=(1e-5, 9, 1)
        ),
        "constant volume": lambda: Image(pixels=np.full((5, 16, 16), 7, np.int32), unit="raw", spacing=(2.0, 1.0, 1.0)),
        "one pixel": lambda: Image(pixels=np.array([[7]], np.uint16), unit="raw"),
        "one voxel": lambda: Image(pixels=np.array([[[7.5]]], np.float32), unit="HU", spacing=(1.0, 1.0, 1.0)),
        "one column": lambda: Image(pixels=numbers("uint8", (500, 1))),
        "one row, very long": lambda: Image(pixels=numbers("uint8", (1, 100_000)), spacing=(1.0, 1.0)),
        "one column, very long": lambda: Image(pixels=numbers("int16", (100_000, 1)), **ct),
        "two pixels a side": lambda: Image(pixels=numbers("uint8", (2, 2))),
        "one slice": lambda: Image(pixels=plain[None], unit="HU", modality="CT", spacing=(5.0, 0.7, 0.7)),
        "many small slices": lambda: Image(pixels=numbers("uint8", (300, 2, 2)), spacing=(1.0, 1.0, 1.0)),
        "greatest floats": lambda: Image(pixels=np.array([[1e308, -1e308] * 8] * 16), unit="raw"),
        "smallest floats": lambda: Image(pixels=np.array([[5e-324, 0.0] * 8] * 16), unit="raw", spacing=(1.0, 1.0)),
        "half floats": lambda: Image(pixels=np.full((12, 12), 65504, np.float16) * plain[:12, :12].astype(bool)),
        "greatest integers": lambda: Image(pixels=numbers("int64", (16, 16)), unit="raw"),
        "unsigned 64 bit": lambda: Image(pixels=numbers("uint64", (16, 16)), unit="raw"),
        "unsigned 32 bit": lambda: Image(pixels=numbers("uint32", (4, 16, 16)), unit="raw"),
        "other byte order": lambda: Image(pixels=plain.astype(">i2"), **ct),
        "backwards in memory": lambda: Image(pixels=plain[::-1, ::-2], **ct),
        "columns first in memory": lambda: Image(pixels=np.asfortranarray(plain), **ct),
        "tiny spacing": lambda: Image(pixels=plain, unit="HU", modality="CT", spacing=(1e-9, 1e-9)),
        "huge spacing": lambda: Image(pixels=plain, unit="HU", modality="CT", spacing=(1e9, 1e9)),
        "lopsided spacing": lambda: Image(
            pixels=np.stack([plain] * 4), unit="HU", modality="CT", spacing=(1e6, 1e-6, 1.0)
        ),
        "no slice spacing": lambda: Image(pixels=np.stack([plain] * 4), unit="HU", modality="CT", spacing=(1.0, 1.0)),
        "narrowest window": lambda: Image(pixels=plain, window=Window(0, 1e-300, "linear_exact"), **ct),
        "widest window": lambda: Image(pixels=plain, window=Window(1e300, 1e300), **ct),
        "dark is bright": lambda: Image(pixels=numbers("uint16", (16, 16)), unit="raw", photometric="MONOCHROME1"),
        "colour frames": lambda: Image(pixels=numbers("uint8", (3, 8, 9, 3)), photometric="RGB"),
        "deep colour": lambda: Image(pixels=numbers("uint16", (8, 9, 3)), photometric="RGB"),
        "coarse with detail": lambda: Image(pixels=plain, **ct).crop(1, 1, 30, 20).resized(3, 5),
        "all overlay": lambda: Image(pixels=plain, overlay=np.ones(plain.shape, bool), **ct),
        "senseless facts": lambda: Image(
            pixels=np.stack([plain] * 3),
            unit="HU",
            spacing=(1.0, 1.0, 1.0),
            attributes={"direction": "nan 0 0 0 0 0", "padding": "x y", "slice_offsets_mm": "0 0 0", "kvp": "many"},
        ),
        "a table to look up in": lambda: Image(
            pixels=plain, window=LookupTable.from_entries(-300, [9, 0, 7] * 100, 9), **ct
        ),
        "a table, and some NaN": lambda: Image(pixels=some_nan, window=LookupTable.from_entries(-1, [0], 1), **ct),
        "a table, and two sorts of infinity": lambda: Image(
            pixels=np.array([[1e308, -np.inf] * 8] * 16), window=LookupTable.from_entries(65535, range(65536), 65535)
        ),
    }
    return made


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((0, 5)), "at least one pixel"),
        (np.zeros((5, 0), np.uint8), "at least one pixel"),
        (np.zeros((0, 4, 4)), "at least one pixel"),
        (np.zeros(7), "have shape"),
        (np.zeros((2, 2, 2, 2, 2)), "have shape"),
        (np.zeros((2, 2, 2, 4)), "have shape"),
        (np.array("text"), "real numbers"),
        (np.zeros((2, 2), complex), "real numbers"),
    ],
)
def test_pixels_that_are_no_image_are_refused(pixels: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Image(pixels=pixels)


@pytest.mark.parametrize("spacing", [(-1.0, 1.0), (0.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0,), (1.0,) * 4])
def test_spacing_that_is_none_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="spacing"):
        Image(pixels=np.zeros((4, 4)), spacing=spacing)


# -- tools


# Arguments that a schema allows are seldom sensible together; with these a tool gets to its work.
USUAL: dict[str, list[dict[str, Any]]] = {
    "area": [{"points": [[100, 100], [900, 200], [400, 900]]}, {"ellipse": [0, 0, 1000, 1000]}],
    "window": [{"center": 40.0, "width": 400.0}, {"preset": "lung", "function": "sigmoid"}],
    "reformat": [{"plane": "coronal"}, {"plane": "sagittal", "position_mm": 0.0}, {"plane": "axial", "index": 0}],
    "project": [{"method": "mean", "plane": "sagittal"}, {"method": "minimum", "plane": "axial"}],
    "resample": [{"spacing_mm": 1.0}, {"spacing_mm": 0.3, "slice_mm": 2.0}],
    "scale_intensity": [{"method": "zscore"}, {"method": "range", "low": -100.0, "high": 100.0}],
    "segment": [{"method": "region", "point": [500, 500]}, {"method": "otsu"}],
    "segment_crop": [{"method": "body"}, {"method": "otsu", "mask_out": True}],
}


@functools.cache
def arguments_of(tool: Tool, few: int = 8) -> list[dict[str, Any]]:
    """Some arguments that the tool's schema allows, the usual and the least ones first, without those that are images."""
    found: list[dict[str, Any]] = [dict(one) for one in USUAL.get(tool.name, ())]
    argument_strategy(tool.spec, 40, found.append)
    distinct = list({json.dumps(arguments, sort_keys=True): arguments for arguments in found}.values())
    first = 1 + len(USUAL.get(tool.name, ()))
    return distinct[:first] + distinct[first :: max(1, len(distinct) // few)][:few]


def ordinary() -> Image:
    pixels = np.random.default_rng(5).integers(-1000, 1000, (24, 32)).astype(np.int16)
    return Image(pixels=pixels, unit="HU", modality="CT", spacing=(0.7, 0.7), window=Window(40, 400))


# Drawn at random, arguments of these would nearly always be refused.
SENSIBLE = {"overlay": {"image": 0, "boxes": [[100, 100, 500, 500]]}}


def calls_on(tool: Tool, turn: int) -> Iterator[dict[str, Any]]:
    """Calls in which the bad image, handle 0, is one of the images or all of them."""
    if tool.name in SENSIBLE:
        yield SENSIBLE[tool.name]
    choices = arguments_of(tool)
    chosen = [choices[0], choices[turn % len(choices)], choices[(turn * 3 + 1) % len(choices)]]
    for nth, arguments in enumerate(chosen):
        handles = with_images(tool.spec, arguments)
        if nth and len(tool.image_arguments) > 1:  # the other image is an ordinary one
            handles[tool.image_arguments[nth % len(tool.image_arguments)]] = 1
        yield handles


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(part)
    elif isinstance(value, float):
        yield value


def complaints(result: ToolResult, given: Image) -> list[str]:
    """What is wrong with the result of a call on an image; nothing if it is as it should be."""
    if result.error is not None:
        said = result.error.message
        wrong = [] if result.error.code in ("bad_value", "bad_arguments") else [str(result.error)]
        return wrong + ([f"not one short sentence: {said}"] if "\n" in said or len(said) > 400 else [])
    wrong = []
    if not all(math.isfinite(number) for number in numbers_in(result.data or {})):
        wrong.append(f"data is not finite: {result.data}")
    if re.search(r"\b-?(nan|inf)\b", result.text):
        wrong.append(f"the text is not finite: {result.text}")
    source = given.detail or given
    with np.errstate(over="ignore"):  # float32 is what a resampled image may hold
        finite = bool(np.isfinite(source.pixels.astype(np.float32)).all())
    most = max(8 * source.pixels.nbytes * 8, 4 * 2**20 * 8)
    for image in result.images:
        if image.pixels.nbytes > most:
            wrong.append(f"{image} of {image.pixels.nbytes:,} bytes was made of {source}")
        if finite and image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
            wrong.append(f"{image} holds values that are not finite")
        try:
            image.view(48)
        except (ArithmeticError, ValueError, RuntimeWarning) as error:
            wrong.append(f"{image} has no picture: {error}")
    return wrong


def same(before: np.ndarray, after: np.ndarray) -> bool:
    return before.tobytes() == np.ascontiguousarray(after).tobytes()


# The weights of the brain segmenter are TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("tool", tools(), ids=lambda tool: tool.id)
def test_bad_images_give_a_result_or_a_sentence(tool: Tool) -> None:
    wrong: list[str] = []
    worked = 0
    with LocalExecutor(registry().toolbox(tool.name), workers=1, cache_bytes=0) as executor:
        for arguments in calls_on(tool, 0):  # what is loaded on first use does not count
            executor.run([(ImageStore([ordinary(), ordinary()]), [ToolCall(name=tool.name, arguments=arguments)])])
        before = _peak_mib()
        for turn, (kind, make) in enumerate(bad_images().items()):
            image = make()
            pixels = np.ascontiguousarray(image.pixels).copy()
            for arguments in calls_on(tool, turn):
                began = time.process_time()
                store = ImageStore([image, ordinary()])
                ((result,),) = executor.run([(store, [ToolCall(name=tool.name, arguments=arguments)])])
                worked += result.ok
                took = time.process_time() - began
                found = complaints(result, image)
                found += [f"took {took:.0f} s"] if took > SECONDS else []
                found += [] if same(pixels, image.pixels) else ["changed the image that it was given"]
                wrong += [f"{kind}, {arguments}: {what}" for what in found]
    assert wrong == []
    assert worked  # arguments that a tool always refuses would try nothing
    assert _peak_mib() - before < GROWTH_MIB


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


# -- files


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom(rows: bytes, columns: bytes, *, size_kind: bytes = b"US", pixels: int = 32, **more: bytes) -> bytes:
    """A CT slice of 4 x 4 pixels, whose header says what it is told to say."""
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    body = element(8, 0x60, b"CS", b"CT") + element(0x10, 0x10, b"PN", b"ZQX^Plantagenet")
    body += element(0x28, 2, b"US", b"\1\0") + element(0x28, 4, b"CS", b"MONOCHROME2")
    body += element(0x28, 8, b"IS", more["frames"]) if "frames" in more else b""
    body += element(0x28, 0x10, size_kind, rows) + element(0x28, 0x11, size_kind, columns)
    body += element(0x28, 0x30, b"DS", more["spacing"]) if "spacing" in more else b""
    for number, value in ((0x100, 16), (0x101, 16), (0x102, 15), (0x103, 1)):
        body += element(0x28, number, b"US", struct.pack("<H", value))
    return (
        bytes(128)
        + b"DICM"
        + meta
        + body
        + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, pixels)
        + bytes(range(pixels))
    )


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


FOUR = struct.pack("<H", 4)
MOST = struct.pack("<H", 65535)
WIDE = struct.pack("<I", 100_000)
WHOLE = dicom(FOUR, FOUR)
BROKEN = {
    "empty.dcm": b"",
    "text.dcm": b"no image " * 40,
    "truncated.dcm": WHOLE[:-9],
    "truncated header.dcm": WHOLE[:200],
    "huge.dcm": dicom(WIDE, WIDE, size_kind=b"UL"),
    "huge frames.dcm": dicom(MOST, MOST, frames=b"100000"),
    "no rows.dcm": dicom(b"\0\0", FOUR),
    "negative frames and rows.dcm": dicom(struct.pack("<i", -5), FOUR, size_kind=b"SL", frames=b"-3"),
    "truncated.png": png(8, 8)[:45],
    "huge.png": png(100_000, 100_000),
    "short.png": png(50, 50),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    before, began = _peak_mib(), time.process_time()
    with pytest.raises(CommandError) as caught:
        read_images(registry(), [tmp_path / name])
    said = str(caught.value)
    assert name in said
    assert "\n" not in said
    assert "Plantagenet" not in said
    assert len(said) < 300
    assert time.process_time() - began < SECONDS
    assert _peak_mib() - before < 300


@pytest.mark.parametrize("spacing", [b"-1\\-1", b"0\\0", b"nan\\nan", b"1e999\\1", b"1\\2\\3", b"1e-30\\1e30", b"wide"])
def test_a_file_with_impossible_spacing_has_none(spacing: bytes, tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_bytes(dicom(FOUR, FOUR, spacing=spacing))
    (image,) = read_images(registry(), [tmp_path / "scan.dcm"])
    assert image.spacing is None
    box = {"image": 0, "box": [0, 0, 1000, 1000]}
    with LocalExecutor(registry().toolbox("measure")) as executor:
        ((result,),) = executor.run([(ImageStore([image]), [ToolCall(name="measure", arguments=box)])])
    assert "4 x 4 pixels (no size in mm known)" in result.text
