"""Values in NumPy's files and in TIFF, with what they mean, and pictures that say what they show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import MASK_WINDOW, Image, LookupTable, Window, writable_suffixes, write_image


def volume(dtype: str = "int16", **changes: Any) -> Image:
    pixels = (np.arange(4 * 6 * 5).reshape(4, 6, 5) % 120).astype(dtype)
    fields: dict[str, Any] = {
        "pixels": pixels,
        "unit": "HU",
        "spacing": (2.5, 0.75, 0.5),
        "modality": "CT",
        "window": Window(40.0, 400.0, name="soft tissue"),
        "windows": (Window(-600.0, 1500.0, "sigmoid"),),
        "frame": 2,
        "attributes": {"direction": "1 0 0 0 1 0 0 0 1", "position_mm": "-1 -2 3.5", "body_part": "chest"},
    }
    return Image(**{**fields, **changes})


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.TIFF"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", "int32", "float32", "float16", "bool", "int64"])
def test_values_and_what_they_mean_come_back(tmp_path: Path, name: str, dtype: str) -> None:
    image = volume(dtype)
    write_image(image, tmp_path / name)
    again = Image.open(tmp_path / name)
    assert again.pixels.dtype == image.pixels.dtype
    assert again.digest == image.digest
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
@pytest.mark.parametrize(
    "image",
    [
        Image(pixels=np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8), photometric="RGB", modality="US"),
        Image(pixels=np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8), photometric="RGB", frame=0),
        Image(
            pixels=np.eye(6, dtype=np.uint16),
            unit="raw",
            photometric="MONOCHROME1",
            window=LookupTable.from_entries(0, [9, 4], 9),
        ),
        Image(pixels=np.arange(64, dtype=np.int16).reshape(8, 8), unit="HU", spacing=(1.0, 2.0)).crop(2, 3, 7, 8),
    ],
)
def test_colours_tables_and_crops_come_back(tmp_path: Path, name: str, image: Image) -> None:
    write_image(image, tmp_path / name)
    again = Image.open(tmp_path / name)
    assert again.digest == image.digest
    assert np.array_equal(again.view(), image.view())


def test_a_tiff_refuses_values_that_it_cannot_hold(tmp_path: Path) -> None:
    for pixels in (np.full((3, 3), 2**40), np.full((3, 3), 1 / 3), np.full((3, 3), 2**31, np.uint32)):
        with pytest.raises(ValueError, match=r"does not hold these values of .*; write \.npy"):
            write_image(Image(pixels=pixels), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_says_what_it_shows(tmp_path: Path) -> None:
    image = volume("int16")
    write_image(image, tmp_path / "a.png")
    picture = Image.open(tmp_path / "a.png")
    assert np.array_equal(picture.pixels, image.view())
    assert (picture.unit, picture.spacing, picture.modality) == ("grey", (0.75, 0.5), "CT")
    assert (picture.attributes["frame"], picture.attributes["frames"]) == ("2", "4")
    with PIL.Image.open(tmp_path / "a.png") as file:
        assert file.mode == "L"
    mask = Image(pixels=np.eye(9, dtype=bool), unit="mask", window=MASK_WINDOW)
    write_image(mask, tmp_path / "mask.png")
    assert Image.open(tmp_path / "mask.png").unit == "mask"


def test_an_array_of_others_is_read_as_it_is(tmp_path: Path) -> None:
    values = np.arange(24, dtype=">i2").reshape(4, 6)
    np.save(tmp_path / "a.npy", values)
    image = Image.open(tmp_path / "a.npy")
    assert np.array_equal(image.pixels, values)
    assert (image.pixels.dtype.isnative, image.unit) == (True, "raw")
    np.save(tmp_path / "columns.npy", np.asfortranarray(values))
    assert np.array_equal(Image.open(tmp_path / "columns.npy").pixels, values)
    np.save(tmp_path / "colours.npy", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r'colours\.npy: pixels of shape \(9, 9, 3\) .*photometric="RGB"'):
        Image.open(tmp_path / "colours.npy")


def test_an_array_that_claims_too_much_or_holds_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros((3, 3), complex))
    header = "{'descr': '<i2', 'fortran_order': False, 'shape': (100000, 100000), }".ljust(117) + "\n"
    (tmp_path / "huge.npy").write_bytes(
        b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(99)
    )
    for name, said in (
        ("objects", "holds object"),
        ("complex", "holds complex128"),
        ("huge", "20,000,000,000 bytes, and it holds 99"),
    ):
        with pytest.raises(ValueError, match=said):
            Image.open(tmp_path / f"{name}.npy")


def test_a_description_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_image(volume(), tmp_path / "a.npy")
    beside = tmp_path / "a.npy.json"
    described = json.loads(beside.read_text())
    for change, said in (
        ({"shape": [4, 6, 6]}, "says that its pixels are"),
        ({"unit": "HU\x1b[31m"}, "unit"),
        ({"window": {"center": 1, "width": -4}}, "width"),
        ({"spacing": [1, -1]}, "spacing"),
        ({"attributes": {"Patient Name": "x"}}, "attributes"),
        ({"dtype": "|u1", "shape": None}, "does not hold them"),
    ):
        beside.write_text(json.dumps({**described, **change}))
        if "dtype" in change:
            np.save(tmp_path / "a.npy", volume().pixels + 500)
        with pytest.raises(ValueError, match=rf"a\.npy: .*{said}"):
            Image.open(tmp_path / "a.npy")


def test_a_name_that_is_no_image_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.xyz: the name of an image file ends in one of \.png, \.jpg"):
        write_image(volume(), tmp_path / "a.xyz")
    assert writable_suffixes()[-1] == ".npy"
    with pytest.raises(ValueError, match=r"a\.npy: a picture's name ends in"):
        volume().save(tmp_path / "a.npy")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="No space left"):
        write_image(volume(), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []
