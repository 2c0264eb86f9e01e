"""Pictures as they come: every depth, orientation, palette, ink and transparency, many pages, and what is no picture."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from medvistagym_core.imaging import Image, read_raster

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def quadrants(size: int = 32) -> np.ndarray:
    """Red, green, blue and yellow quarters."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half], pixels[:half, half:], pixels[half:, :half], pixels[half:, half:] = RED, GREEN, BLUE, YELLOW
    return pixels


def encoded(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(values: np.ndarray, order: str = "<", photometric: int = 1, **tags: int) -> bytes:
    """An uncompressed TIFF of one strip, `(H, W)` or `(H, W, C)`, in a byte order and with any tags."""
    content = values.astype(values.dtype.newbyteorder(order)).tobytes()
    channels = values.shape[2] if values.ndim == 3 else 1
    bits = values.dtype.itemsize * 8
    entries = {
        256: (3, values.shape[1]), 257: (3, values.shape[0]), 258: (3, bits), 259: (3, 1), 262: (3, photometric), 273: (4, 8),
        277: (3, channels), 278: (3, values.shape[0]), 279: (4, len(content)),
        339: (3, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]),
    }  # fmt: skip
    entries |= {int(tag): (3, value) for tag, value in tags.items()}
    after = b""
    fields = []
    for tag, (kind, value) in sorted(entries.items()):
        count, packed = 1, struct.pack(f"{order}{'H' if kind == 3 else 'L'}", value).ljust(4, b"\0")
        if tag in (258, 339) and channels > 2:
            count, packed = channels, struct.pack(f"{order}L", 8 + len(content) + len(after))
            after += struct.pack(f"{order}{channels}H", *[value] * channels)
        fields.append(struct.pack(f"{order}HHL", tag, kind, count) + packed)
    directory = struct.pack(f"{order}H", len(fields)) + b"".join(fields) + bytes(4)
    start = 8 + len(content) + len(after)
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, start) + content + after + directory


# -- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.tif", "photo.webp"])
def test_pictures_are_turned_as_viewers_turn_them(tmp_path: Path, orientation: int, name: str) -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, :6], pixels[12:] = RED, GREEN
    picture = PIL.Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / name, exif=exif, quality=95)
    with PIL.Image.open(tmp_path / name) as file:
        seen = np.asarray(PIL.ImageOps.exif_transpose(file))
    assert np.array_equal(Image.open(tmp_path / name).pixels, seen)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow tells of it
def test_a_picture_is_whole_though_its_exif_data_are_not() -> None:
    content = bytearray(encoded(PIL.Image.fromarray(quadrants()), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 60))
    assert Image.open(bytes(content)).shape == (32, 32)


# -- depth


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
def test_the_depth_sign_and_byte_order_of_a_tiff_are_kept(order: str, dtype: str) -> None:
    limits = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
    values = np.linspace(float(limits.min), float(limits.max), 48).reshape(6, 8).astype(dtype)
    content = tiff(values, order)
    if (order, dtype) == (">", "uint32"):
        with pytest.raises(ValueError, match="of a kind that is not read"):
            Image.open(content)
        return
    image = Image.open(content)
    assert np.array_equal(image.pixels, values)
    assert image.pixels.dtype.isnative
    assert image.unit == ("grey" if dtype == "uint8" else "raw")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_in_a_tiff_white_may_be_zero(dtype: str) -> None:
    values = np.array([[0, 200], [100, 255]], dtype)
    view = Image.open(tiff(values, photometric=0)).view()
    assert view[0, 0] == 255
    assert view[1, 1] == 0


def test_16_bits_of_grey_are_kept_in_a_png_and_those_of_colours_are_said_to_be_lost() -> None:
    values = np.arange(60_000, 60_064, dtype=np.uint16).reshape(8, 8)
    image = Image.open(encoded(PIL.Image.fromarray(values), "PNG"))
    assert np.array_equal(image.pixels, values)
    assert image.unit == "raw"
    colours = Image.open(tiff(np.full((4, 4, 3), 40_000, np.uint16), photometric=2))
    assert (colours.pixels.dtype, colours.attributes) == (np.uint8, {"bits": "8 of 16 a colour"})


def test_one_bit_is_black_and_white() -> None:
    bits = np.eye(9, dtype=bool)
    for kind in ("PNG", "TIFF", "BMP"):
        image = Image.open(encoded(PIL.Image.fromarray(bits), kind))
        assert np.array_equal(image.pixels, np.where(bits, 255, 0))
        assert image.unit == "grey"


def test_floats_with_nan_are_kept() -> None:
    values = np.array([[np.nan, 1.5], [-2.5, np.inf]], np.float32)
    assert np.array_equal(Image.open(encoded(PIL.Image.fromarray(values), "TIFF")).pixels, values, equal_nan=True)


# -- colours


def test_colours_are_not_called_grey() -> None:
    image = Image.open(encoded(PIL.Image.fromarray(quadrants()), "PNG"))
    assert (image.unit, image.photometric, image.physical_unit) == ("RGB", "RGB", None)
    assert "grey" not in repr(image)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_a_palette_is_its_colours_and_greys_where_all_are_greys(kind: str) -> None:
    picture = PIL.Image.fromarray(quadrants()).quantize(4)
    assert np.array_equal(Image.open(encoded(picture, kind)).pixels, quadrants())
    greys = PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).convert("P")
    assert Image.open(encoded(greys, kind)).pixels.tolist() == (np.arange(64).reshape(8, 8) * 3).tolist()


def test_inks_are_colours_inverted_or_not() -> None:
    inks = PIL.Image.fromarray(quadrants()).convert("CMYK")
    adobe = encoded(inks, "JPEG", quality=100, subsampling=0)
    marker = adobe.index(b"\xff\xee")
    plain = adobe[:marker] + adobe[marker + 2 + int.from_bytes(adobe[marker + 2 : marker + 4], "big") :]
    for content, inverted in ((adobe, False), (encoded(inks, "TIFF"), False), (plain, True)):
        pixels = Image.open(content).pixels.astype(int)
        # without Adobe's marker the same bytes are plain amounts of ink: cyan, magenta, yellow for red, green, blue, or white
        expected = quadrants() if not inverted else np.zeros((32, 32, 3))
        assert np.abs(pixels - expected).mean() < 6, inverted


def test_what_is_transparent_shows_white_behind_it() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3], pixels[2:6, 2:6] = 7, (10, 20, 30, 255)
    pixels[0, 0] = (100, 100, 100, 128)
    image = Image.open(encoded(PIL.Image.fromarray(pixels), "PNG"))
    assert image.pixels[7, 7].tolist() == [255, 255, 255]
    assert image.pixels[4, 4].tolist() == [10, 20, 30]
    assert image.pixels[0, 0].tolist() == [177, 177, 177]
    grey = Image.open(encoded(PIL.Image.fromarray(pixels[..., :2], "LA"), "PNG"))
    assert grey.photometric == "MONOCHROME2"
    keyed = PIL.Image.fromarray(np.zeros((4, 4), np.uint8))
    assert Image.open(encoded(keyed, "PNG", transparency=0)).pixels.min() == 255


# -- pages


def test_the_pages_of_a_tiff_are_the_frames_of_a_stack(tmp_path: Path) -> None:
    pages = [PIL.Image.fromarray(np.full((16, 12), 1000 * k, np.uint16)) for k in range(5)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    image = Image.open(tmp_path / "stack.tif")
    assert (image.frames, image.pixels[:, 0, 0].tolist()) == (5, [0, 1000, 2000, 3000, 4000])
    assert Image.open(tmp_path / "stack.tif", page=3).pixels.max() == 3000
    with pytest.raises(ValueError, match=r"stack.tif: it has 5 pages, counted from 0, and no page 9"):
        Image.open(tmp_path / "stack.tif", page=9)


def test_pages_that_differ_are_images_of_their_own(tmp_path: Path) -> None:
    first = PIL.Image.fromarray(np.zeros((16, 12), np.uint8))
    first.save(tmp_path / "mixed.tif", save_all=True, append_images=[first.resize((4, 4))])
    assert [image.shape for image in read_raster(tmp_path / "mixed.tif")] == [(16, 12), (4, 4)]
    with pytest.raises(ValueError, match=r"its 2 pages differ in size or kind \(12 x 16, 4 x 4\)"):
        Image.open(tmp_path / "mixed.tif")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_a_stack(kind: str) -> None:
    frames = [PIL.Image.fromarray(quadrants() // (k + 1)) for k in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.open(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (image.frames, image.shape, image.photometric) == (3, (32, 32), "RGB")
    assert image.pixels[2, 0, 0, 0] == 85


# -- where pictures come from


def test_bytes_and_open_files_are_read_too(tmp_path: Path) -> None:
    content = encoded(PIL.Image.fromarray(quadrants()), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    with (tmp_path / "a.png").open("rb") as file:
        from_file = Image.open(file)
    for image in (Image.open(content), Image.open(io.BytesIO(content)), Image.open(str(tmp_path / "a.png")), from_file):
        assert np.array_equal(image.pixels, quadrants())


def test_a_region_of_any_picture_is_cut_out() -> None:
    image = Image.open(encoded(PIL.Image.fromarray(quadrants()), "PNG"), region=(8, 8, 24, 12))
    assert (image.shape, image.source_shape, image.to_source) == ((4, 16), (32, 32), (1.0, 0.0, 8.0, 0.0, 1.0, 8.0))
    with pytest.raises(ValueError, match="does not lie within the image of 32 x 32"):
        Image.open(encoded(PIL.Image.fromarray(quadrants()), "PNG"), region=(8, 8, 24, 40))


# -- what is no picture, or a bad one


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.dcm", bytes(200))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"no picture", "it is not an image that can be read; pictures are PNG, JPEG"),
        (zipped(), "a ZIP archive; unpack it"),
        (b"\x1f\x8b\x08\0" + bytes(20), "pip install medvistagym-files"),
        (bytes(344) + b"n+1\0" + bytes(200), "a NIfTI volume, which medvistagym-files reads"),
        (b"NRRD0004\n", "an NRRD volume"),
        (b"ObjectType = Image\n", "a MetaImage volume"),
        (bytes(128) + b"DICM", "it is DICOM, which medvistagym-dicom reads"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read"),
        (tiff(np.zeros((4, 4, 5), np.uint8), photometric=2)[:-40], "is damaged"),
        (tiff(np.zeros((3, 3), np.float64)), "of a kind that is not read, such as 64-bit floats"),
        (encoded(PIL.Image.fromarray(quadrants()), "PNG")[:90], "damaged"),
        (encoded(PIL.Image.fromarray(quadrants()), "JPEG")[:300], "damaged"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"^file\.png: ") as caught:
        Image.open(tmp_path / "file.png")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png: no such file"):
        Image.open(tmp_path / "none.png")
    with pytest.raises(ValueError, match="it is a folder"):
        Image.open(tmp_path)
