"""`read_text` and `hide_text`, on text of real pictures and on planted text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from pydicom.data import get_testdata_file

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import Tool
from medvistagym_dicom import read_one, zoom
from medvistagym_ocr import HideText, ReadText

READ, HIDE = cast(Tool, ReadText), cast(Tool, HideText)
NAME, DATE, SIZE = "DOE^JANE", "12.05.1980", "LIVER 10.4 cm"


@pytest.fixture(scope="module")
def ultrasound() -> Image:
    return read_one(get_testdata_file("US1_UNCR.dcm"))


@pytest.fixture(scope="module")
def head() -> Image:
    return read_one(get_testdata_file("693_UNCR.dcm"))


def draw_text(grey: np.ndarray, *lines: str, value: int = 255, size: int = 18) -> np.ndarray:
    """A uint8 picture with lines of text in its upper left."""
    picture = PIL.Image.fromarray(grey)
    draw = PIL.ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        draw.text((10, 8 + 36 * row), line, fill=value, font=PIL.ImageFont.load_default(size))
    return np.asarray(picture)


def page(*lines: str, **changes: Any) -> Image:
    return Image(pixels=draw_text(np.full((120, 200), 20, np.uint8), *lines), **changes)


def read(image: Image, **arguments: Any) -> tuple[str, dict[str, Any]]:
    result = READ.run({"image": image, "places_only": False, **arguments})
    assert result.error is None, result.error
    assert result.data is not None
    return result.text, result.data


def hide(image: Image, which: str = "all") -> tuple[Image, dict[str, Any]]:
    result = HIDE.run({"image": image, "which": which})
    assert result.error is None, result.error
    assert result.data is not None
    return result.images[0], result.data


def texts(data: dict[str, Any]) -> list[str]:
    return [line["text"] for line in data["lines"] if line["text"] is not None]


def covers(box: list[int], x: float, y: float) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


# -- real pictures


def test_settings_are_read_and_the_hospital_and_the_time_are_not(ultrasound: Image) -> None:
    text, data = read(ultrasound)
    assert {"LYMPH", "NODE", "MSCSKEL", "CINE 0118", "IM#2", "PWR"} <= set(texts(data))
    assert any(line.startswith("TIS<0.4 MI=0.8") for line in texts(data))
    for secret in ("BAPTIST", "CTR", "2:09", "630"):
        assert secret not in text + repr(data)
    kinds = {line["may_identify"] for line in data["lines"]}
    assert {"place", "time", "number"} <= kinds
    assert f"{data['may_identify']} may identify a person" in text
    node = next(line for line in data["lines"] if line["text"] == "NODE")
    assert covers(node["box"], 1000 * 335 / 640, 1000 * 368 / 480)
    assert node["confidence"] > 0.9


def test_a_scan_without_text_has_none(head: Image) -> None:
    text, data = read(head)
    assert text == "no text was found in this image"
    assert data == {"lines": [], "may_identify": 0}
    result, hidden = hide(head)
    assert hidden == {"hidden": [], "left": 0}
    assert np.array_equal(result.pixels, head.pixels)


def test_a_large_side_marker_is_read_in_a_large_film() -> None:
    film = read_one(get_testdata_file("RG3_UNCR.dcm"))  # its marker is in mirror writing
    _, data = read(film.replace(pixels=film.pixels[:, ::-1]))
    assert texts(data) == ["R"]
    assert data["may_identify"] == 0
    assert covers(data["lines"][0]["box"], 305, 800)


def test_hidden_text_is_gone_and_the_scan_is_not(ultrasound: Image) -> None:
    hidden, data = hide(ultrasound)
    assert len(data["hidden"]) >= 15
    assert texts(read(hidden)[1]) == []
    middle = ultrasound.box_to_pixels(Box(150, 320, 850, 600))
    part = (slice(middle[1], middle[3]), slice(middle[0], middle[2]))
    assert np.array_equal(hidden.pixels[part], ultrasound.pixels[part])
    kept, data = hide(ultrasound, "may_identify")
    assert data["left"] > 10
    text, left = read(kept)
    assert left["may_identify"] == 0
    assert "LYMPH" in text


# -- planted text


def test_a_planted_name_and_date_are_found_and_not_told() -> None:
    text, data = read(page(NAME, DATE, SIZE))
    assert texts(data) == [SIZE]
    assert [line["may_identify"] for line in data["lines"]] == ["name", "date", None]
    assert "1 date, 1 name" in text
    for secret in ("DOE", "JANE", "1980", "12.05"):
        assert secret not in text + repr(data)


def test_places_only_tells_nothing() -> None:
    text, data = read(page(NAME, SIZE), places_only=True)
    assert texts(data) == []
    assert [line["may_identify"] for line in data["lines"]] == ["name", None]
    assert "LIVER" not in text


def test_who_runs_it_may_allow_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDVISTAGYM_OCR_SHOW_ALL", "1")
    allowed: Any = object.__new__(READ._function)  # type: ignore[call-overload]
    allowed.setup("cpu")
    text, data = allowed.run(page(NAME, SIZE))
    assert texts(data) == [NAME, SIZE]
    assert "1 may identify a person (1 name)" in text
    assert "withheld" not in text


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_text_is_found_where_it_is(turns: int) -> None:
    image = page("", "", "PROSTATE 31 ml")
    turned = image.replace(pixels=np.rot90(image.pixels, turns), source_shape=None)
    _, data = read(turned)
    assert texts(data) == ["PROSTATE 31 ml"]
    x, y = 1000 * 60 / 200, 1000 * 90 / 120
    for _ in range(turns):
        x, y = y, 1000 - x
    assert covers(data["lines"][0]["box"], x, y)


def test_dark_text_coloured_text_and_the_displayed_frame_of_a_stack() -> None:
    light = Image(pixels=draw_text(np.full((60, 160), 220, np.uint8), SIZE, value=0))
    assert texts(read(light)[1]) == [SIZE]
    assert texts(read(light.replace(photometric="MONOCHROME1"))[1]) == [SIZE]
    frames = np.stack([page("SPLEEN").pixels, page("BLADDER").pixels])
    stack = Image(pixels=frames, frame=1, spacing=(2.0, 0.5, 0.5))
    assert texts(read(stack)[1]) == ["BLADDER"]
    hidden, _ = hide(stack)
    assert (hidden.frames, hidden.pixels.ndim, hidden.spacing) == (1, 2, (0.5, 0.5))
    assert texts(read(hidden)[1]) == []
    yellow = np.stack([page("SPLEEN").pixels] * 2 + [np.full((120, 200), 20, np.uint8)], -1)
    colour = Image(pixels=yellow, photometric="RGB")
    assert texts(read(colour)[1]) == ["SPLEEN"]
    assert hide(colour)[0].pixels.max() <= 20


def test_text_is_read_in_the_finest_pixels_and_gone_from_all() -> None:
    overview = page(NAME, SIZE).resized(30, 50)
    assert texts(read(overview)[1]) == [SIZE]
    hidden, _ = hide(overview)
    assert hidden.detail is None
    assert texts(read(zoom(hidden, Box(0, 0, 1000, 500)))[1]) == []


def test_text_that_the_window_does_not_show_is_hidden_too() -> None:
    values = draw_text(np.zeros((120, 200), np.uint8), NAME).astype(np.int16) * 8 + 1000
    image = Image(pixels=values, unit="HU", window=Window(40, 80))
    assert np.ptp(image.view()) == 0
    hidden, data = hide(image)
    assert len(data["hidden"]) == 1
    assert np.ptp(hidden.pixels) == 0
    assert hidden.window == image.window


def test_graphics_over_the_picture_are_read_and_taken_out() -> None:
    graphics = draw_text(np.zeros((120, 200), np.uint8), NAME, size=30) > 127
    image = Image(pixels=np.full((120, 200), 90, np.uint8), overlay=graphics)
    assert read(image)[1]["may_identify"] == 1
    hidden, _ = hide(image)
    assert hidden.overlay is not None
    assert not hidden.overlay.any()


SCANS = (
    "693_UNCR.dcm", "MR2_UNCR.dcm", "RG1_UNCR.dcm", "RG3_UNCR.dcm", "bad_sequence.dcm", "explicit_VR-UN.dcm",
    "MR-SIEMENS-DICOM-WithOverlays.dcm",
)  # fmt: skip
IDENTIFIERS = ("DOE^JANE", "SMITH, JOHN", "12.05.1980", "ID 4711234", "MUELLER ANNA", "1999-03-07")
SIZES = (10, 12, 14, 18, 24, 30)


@pytest.mark.parametrize(
    ("turns", "planted", "least"),
    [
        pytest.param((0, 1, 4, 5, 6), 30, 29, id="without the films of 1,800 pixels"),
        pytest.param(range(len(SCANS)), 42, 40, id="the share in the README", marks=pytest.mark.slow),
    ],
)
def test_identifiers_planted_in_scans_are_noticed(turns: Sequence[int], planted: int, least: int) -> None:
    """Each scan holds all six, in another order of sizes, dark on bright and bright on dark."""
    noticed = total = 0
    for turn in turns:
        grey = read_one(get_testdata_file(SCANS[turn])).view()
        h, w = grey.shape
        picture = PIL.Image.fromarray(grey)
        draw = PIL.ImageDraw.Draw(picture)
        places = []
        for k, identifier in enumerate(IDENTIFIERS):
            font = PIL.ImageFont.load_default(SIZES[(k + turn) % len(SIZES)])
            at = (int(w * (0.05 + 0.5 * (k % 2))), int(h * (0.05 + 0.3 * (k // 2))))
            x0, y0, x1, y1 = (int(n) for n in draw.textbbox(at, identifier, font=font))
            draw.text(at, identifier, fill=255 if grey[y0:y1, x0:x1].mean() < 128 else 0, font=font)
            places.append((500 * (x0 + x1) / w, 500 * (y0 + y1) / h))
        text, data = read(Image(pixels=np.asarray(picture)))
        assert not any(secret in text for secret in ("DOE", "SMITH", "1980", "4711", "MUELLER", "1999"))
        warned = [line["box"] for line in data["lines"] if line["may_identify"]]
        noticed += sum(any(covers(box, *place) for box in warned) for place in places)
        total += len(places)
    assert total == planted
    assert noticed >= least


# -- bad input


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (6, 2000), (2000, 6), (7, 7), (3, 1, 1)])
def test_tiny_narrow_and_constant_images_have_no_text(shape: tuple[int, ...]) -> None:
    image = Image(pixels=np.full(shape, 7, np.int16), unit="HU")
    assert read(image)[1]["lines"] == []
    assert hide(image)[0].shape == image.shape


def test_pixels_without_a_value_are_no_text() -> None:
    assert read(Image(pixels=np.full((90, 90), np.nan, np.float32)))[1]["lines"] == []
    values = page(SIZE).pixels.astype(np.float32)
    values[80:, 100:] = np.nan
    image = Image(pixels=values)
    assert texts(read(image)[1]) == [SIZE]
    assert np.isnan(hide(image)[0].pixels[80:, 100:]).all()


def test_huge_images_are_refused() -> None:
    huge = Image(pixels=np.broadcast_to(np.uint8(0), (100_000, 100_000)))
    for tool in (READ, HIDE):
        error = tool.run({"image": huge}).error
        assert error is not None
        assert error.code == "bad_value"
        assert "10,000,000,000 pixels" in error.message
