"""PNG files of 8-bit greys and colours are shown and kept as they are stored, and nothing else of them is."""

import io
import random
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import NATIVE_ENV_VAR, Image, native_kernels
from medvistagym_core.imaging._picture_files import write_picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2


@pytest.fixture(params=["kernels", "no kernels"])
def kernels(request, monkeypatch):
    if request.param == "no kernels":
        monkeypatch.setenv(NATIVE_ENV_VAR, "0")
    native_kernels.cache_clear()
    yield
    monkeypatch.undo()
    native_kernels.cache_clear()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(pixels, kinds):
    """Rows with the filters of these types, as PNG's specification defines them (9.2)."""
    height = len(pixels)
    rows, step = pixels.reshape(height, -1).astype(int), 1 if pixels.ndim == 2 else 3
    out = bytearray()
    for y, kind in zip(range(height), kinds, strict=True):
        above = rows[y - 1] if y else np.zeros_like(rows[0])
        left = np.concatenate([np.zeros(step, int), rows[y][:-step]])[: rows.shape[1]]
        corner = np.concatenate([np.zeros(step, int), above[:-step]])[: rows.shape[1]]
        p = left + above - corner
        distances = np.abs(np.stack([p - left, p - above, p - corner]))
        paeth = np.choose(distances.argmin(0), [left, above, corner])  # of equal distances the first
        guess = [0, left, above, (left + above) // 2, paeth][kind]
        out += bytes([kind]) + ((rows[y] - guess) % 256).astype(np.uint8).tobytes()
    return bytes(out)


def png(pixels, kinds=None, *, before=(), between=(), behind=b"", tail=b"", packed=None, header=None):
    height, width = pixels.shape[:2]
    kinds = [0] * height if kinds is None else kinds
    packed = zlib.compress(filtered(pixels, kinds)) + tail if packed is None else packed
    fields = (width, height, 8, GREY if pixels.ndim == 2 else RGB, 0, 0, 0)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *fields) if header is None else header)
    parts = [chunk(b"IDAT", packed[:7]), *between, chunk(b"IDAT", packed[7:])]
    return SIGNATURE + head + b"".join([*before, *parts, chunk(b"IEND", b"")]) + behind


def pixels_of(data):
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 13), (1, 1, 3), (9, 1, 3), (6, 11, 3)])
def test_a_picture_is_the_same_whatever_filters_its_rows_have(shape):
    rng = np.random.default_rng(sum(shape))
    for smooth in (True, False):
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        pixels = np.sort(pixels, 0) if smooth else pixels
        for kinds in (*([kind] * shape[0] for kind in range(5)), rng.integers(0, 5, shape[0]).tolist()):
            data = png(pixels, kinds)
            image = Image.open(data)
            np.testing.assert_array_equal(image.pixels, pixels)
            np.testing.assert_array_equal(image.pixels, pixels_of(data))
            assert image.unit == ("RGB" if len(shape) == 3 else "grey")
            rendered = image.rendered()
            np.testing.assert_array_equal(rendered.pixels, image.view())
            np.testing.assert_array_equal(pixels_of(rendered.png), image.view())


@pytest.mark.usefixtures("kernels")
def test_an_image_that_was_changed_is_shown_as_it_is_now():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = Image.open(png(pixels))
    changed = [
        image.replace(photometric="MONOCHROME1"), image.with_pixels(255 - pixels), image.crop(1, 2, 5, 6),
        image.replace(overlay=np.eye(8, dtype=bool)), image.replace(value_range=(0.0, 10.0)),
    ]  # fmt: skip
    for one in changed:
        np.testing.assert_array_equal(pixels_of(one.rendered().png), one.view())
    np.testing.assert_array_equal(pixels_of(image.rendered(16).png), image.view(16))


SECRET = b"DOE^JANE 1970"


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "extra",
    [
        {"before": [chunk(b"tEXt", b"Comment\0" + SECRET)]},
        {"before": [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(SECRET))]},
        {"before": [chunk(b"iTXt", b"Comment\0\0\0\0\0" + SECRET)]},
        {"before": [chunk(b"iCCP", b"x\0\0" + zlib.compress(SECRET))]},
        {"before": [chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0" + SECRET)]},
        {"before": [chunk(b"tIME", b"\x07\xb2\x01\x01\0\0\0"), chunk(b"pHYs", SECRET[:9])]},
        {"before": [chunk(b"paTi", SECRET)]},
        {"behind": SECRET},
        {"behind": chunk(b"tEXt", b"Comment\0" + SECRET)},
        {"tail": SECRET},
        {"packed": zlib.compress(bytes(8 * 9) + SECRET)},
    ],
    ids=lambda extra: "-".join(extra),
)
def test_nothing_but_the_picture_is_kept_of_a_file(extra):
    data = png(np.zeros((8, 8), np.uint8), **extra)
    kept = Image.open(data).rendered().png
    np.testing.assert_array_equal(pixels_of(kept), np.zeros((8, 8)))
    chunks = [kind for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tIME", b"pHYs", b"paTi") if kind in kept]
    assert chunks == []
    inflated = zlib.decompressobj()
    assert len(inflated.decompress(kept[41 : kept.index(b"IEND") - 8])) == 8 * 9
    assert inflated.unused_data == b""
    assert SECRET not in kept


def written(pixels, mode=None, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels, mode).save(file, "png", **options)
    return file.getvalue()


def test_what_changes_a_picture_is_heeded(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert Image.open(written(pixels, exif=exif)).shape == (8, 6)
    clear = written(pixels, transparency=0)
    np.testing.assert_array_equal(Image.open(clear).pixels, np.where(pixels == 0, 255, pixels))
    deep = pixels.astype(np.uint16) * 1000
    np.testing.assert_array_equal(Image.open(written(deep)).pixels, deep)
    frames = io.BytesIO()
    PIL.Image.fromarray(pixels).save(
        frames, "png", save_all=True, append_images=[PIL.Image.fromarray(pixels[::-1].copy())]
    )
    assert Image.open(frames.getvalue()).frames == 2
    write_picture(Image(pixels=pixels, spacing=(0.5, 0.5)), tmp_path / "described.png", described=True)
    assert Image.open(tmp_path / "described.png").spacing == (0.5, 0.5)


@pytest.mark.usefixtures("kernels")
def test_a_damaged_file_is_an_image_or_a_sentence():
    whole = png(np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8), [k % 5 for k in range(12)])
    rng = random.Random(1)
    damaged = [whole[:k] for k in range(0, len(whole), 11)]
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.append(bytes(data))
    damaged.append(png(np.zeros((2, 2), np.uint8), packed=zlib.compress(b"\x09\0\0\x09\0\0")))
    damaged.append(png(np.zeros((2, 2), np.uint8), header=struct.pack(">IIBBBBB", 2**31, 2**31, 8, 0, 0, 0, 0)))
    damaged.append(png(np.zeros((2, 2), np.uint8), header=struct.pack(">IIBBBBB", 0, 2, 8, 0, 0, 0, 0)))
    damaged.append(png(np.zeros((2, 2), np.uint8), packed=zlib.compress(bytes(10**8))))
    sentences = set()
    for data in damaged:
        try:
            image = Image.open(data)
        except ValueError as error:
            sentences.add(str(error))
        else:
            np.testing.assert_array_equal(pixels_of(image.rendered().png), image.view())
    assert sentences
    assert all(sentence.startswith("the picture: ") for sentence in sentences)
