"""The networks: what they load, what they leave alone, and that they read from many threads."""

from __future__ import annotations

import hashlib
import io
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from medvistagym_core.imaging import Image
from medvistagym_ocr._text_detection import TextDetector, detect_lines, load_text_detector


def page(text: str = "") -> Image:
    """A dark page with a line of text in its upper left."""
    picture = PIL.Image.new("L", (200, 120), 20)
    PIL.ImageDraw.Draw(picture).text((10, 8), text, fill=255, font=PIL.ImageFont.load_default(18))
    return Image(pixels=np.asarray(picture))


def test_nothing_is_fetched_or_written_or_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    models = Path(str(distribution("rapidocr").locate_file("rapidocr/models")))

    def state() -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(models.iterdir())}

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it reached for the network")

    before = state()
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    heard = io.StringIO()
    logger = logging.getLogger("RapidOCR")
    handler = logging.StreamHandler(heard)
    logger.addHandler(handler)
    try:
        fresh = TextDetector()
        assert [line.text for line in fresh.lines(page("DOE^JANE").pixels)] == ["DOE^JANE"]
        assert fresh.lines(page().pixels) == []
    finally:
        logger.removeHandler(handler)
    assert state() == before
    assert heard.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_calls_from_many_threads_give_the_same() -> None:
    detector = load_text_detector()
    pages = [page(f"LIVER {n}.5 cm") for n in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        texts = [[line.text for line in lines] for lines in pool.map(lambda one: detect_lines(one, detector), pages)]
    assert texts == [[f"LIVER {n}.5 cm"] for n in range(1, 5)]
