"""Pictures that a server sends are decoded elsewhere: whatever they make their decoder do costs one error."""

from __future__ import annotations

import base64
import io
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import PIL.Image
import psutil
import pytest
from mcp import types

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolError
from medvistagym_mcp.client._pictures import close_reader
from medvistagym_mcp.client._pictures import decode_picture as decode_before
from medvistagym_mcp.client._results import to_tool_result


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    close_reader()
    yield
    close_reader()


def decode_picture(tool: str, data: bytes) -> Image:
    return decode_before(tool, data, time.monotonic() + 60)


def encoded(pixels: np.ndarray, form: str = "png") -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_values_come_as_they_were_sent(kind: str) -> None:
    pixels = np.arange(48, dtype=kind).reshape(6, 8)
    image = decode_picture("work", encoded(pixels, "tiff"))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.unit == ("grey" if kind == "u1" else "raw")


def test_a_picture_that_was_damaged_on_its_way_is_not_shown() -> None:
    data = bytearray(encoded(np.arange(48, dtype=np.uint8).reshape(6, 8)))
    data[data.index(b"IDAT") + 12] ^= 1
    with pytest.raises(ToolError, match=r"work returned an image that cannot be read\."):
        decode_picture("work", bytes(data))


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_what_is_too_large_is_not_decoded(side: int) -> None:
    header = bytearray(encoded(np.zeros((2, 2), np.uint8)))
    header[16:24] = side.to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(ToolError, match=r"work returned an image that (is too large|cannot be read)"):
        decode_picture("work", bytes(header))


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot stop a process and let it go on")
def test_a_decoder_that_is_ended_costs_one_picture() -> None:
    picture = encoded(np.zeros((4, 4), np.uint8))
    before = children()
    assert decode_picture("work", picture).shape == (4, 4)
    (decoder,) = children() - before
    os.kill(decoder, signal.SIGSTOP)  # so that the picture is at it when it ends
    ending = threading.Timer(0.5, os.kill, (decoder, signal.SIGKILL))
    ending.start()
    with pytest.raises(ToolError, match=r"work returned an image that cannot be read\."):
        decode_picture("work", picture)
    ending.join()
    time.sleep(0.1)
    assert decode_picture("work", picture).shape == (4, 4)


def test_all_pictures_of_a_result_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_picture("work", encoded(np.zeros((4, 4), np.uint8)))  # so that its process is there
    with pytest.raises(ToolError, match="work returned images that take more than 60 s to read"):
        decode_before("work", encoded(np.zeros((4, 4), np.uint8)), time.monotonic())
    monkeypatch.setattr("medvistagym_mcp.client._results.READ_S", 0.05)
    data = base64.b64encode(encoded(np.zeros((3000, 3000), np.uint8))).decode()
    answer = types.CallToolResult(content=[types.ImageContent(data=data, mime_type="image/png")] * 64)
    with pytest.raises(ToolError, match="work returned images that take more than") as late:
        to_tool_result("work", answer)
    assert late.value.code == "timeout"


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}
