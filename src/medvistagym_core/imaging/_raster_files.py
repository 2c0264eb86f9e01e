"""Reading pictures: PNG, JPEG, TIFF and the like, decoded by Pillow, and arrays in NumPy's files.

What a file claims is checked before its pixels are decoded: the memory that they take against `_limits`. Only raster formats
are tried, none that is a program (EPS) or a container of other files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._image_description import ImageDescription, is_description
from medvistagym_core.imaging._limits import MAX_DECODED_BYTES, MAX_FRAMES, MAX_INFLATED_BYTES, check_decoded_size
from medvistagym_core.imaging._picture_files import PNG_SIGNATURE
from medvistagym_core.imaging._plain_png import MAX_FILE_BYTES, PlainPng
from medvistagym_core.imaging._png_checksums import check_png_checksums
from medvistagym_core.imaging._raster_decoding import Page, decode_page, decoding_bytes, is_beside
from medvistagym_core.imaging._tiff_directory import check_tiff_directories
from medvistagym_core.imaging._tiff_region import Region, cut_tiff, tiff_levels, tiff_spacing

if TYPE_CHECKING:
    from medvistagym_core.imaging._image import Image

Source = str | Path | bytes | IO[bytes]
FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "AVIF", "PPM")
_WITH_PAGES: Final = ("TIFF", "PNG", "GIF", "WEBP", "AVIF")  # of the pictures in one JPEG (MPO) the first is the photo
_BYTES_A_PIXEL: Final = 8  # of a picture in colours while it is decoded
_NUMPY: Final = b"\x93NUMPY"
_FILES: Final = "which medvistagym-files reads: pip install medvistagym-files"
# Where files that are often taken for pictures have their magic bytes, and what they are.
_OTHERS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"PK\x03\x04", "it is a ZIP archive; unpack it, and give its files"),
    (0, b"\x1f\x8b", f"it is a gzip file; a NIfTI volume may be in one, {_FILES}"),
    (344, b"n+1\0", f"it is a NIfTI volume, {_FILES}"),
    (344, b"ni1\0", f"it is the header of a NIfTI volume, {_FILES}"),
    (0, b"NRRD00", f"it is an NRRD volume, {_FILES}"),
    (0, b"ObjectType", f"it is a MetaImage volume, {_FILES}"),
    (128, b"DICM", "it is DICOM, which medvistagym-dicom reads: pip install medvistagym-dicom"),
    (0, b"%PDF", "it is a PDF document; give the pictures in it"),
)


def read_raster_file(
    build: Callable[..., Image], source: Source, page: int | None = None, region: Region | None = None
) -> list[Image]:
    """The images of a picture file: one, with a frame a page; or, where its pages differ in size or kind, one a page.

    A TIFF that is too large is opened at a lower resolution that it holds, which its attribute `reduced` says.

    Args:
        build: `Image`, which is not imported here since it opens files by this function.
        source: A path, the bytes of a file, or a file that is open for reading.
        page: Which page to read, from 0; all of them unless given.
        region: `(x0, y0, x1, y1)`, the part to keep, in pixels, the last two exclusive; of a large TIFF only this is decoded.

    Raises:
        ValueError: The file is missing, broken, too large, or not a picture, or the region leaves it.
    """
    try:
        with _opened(source) as file:
            plain = _read_plain(build, file) if region is None and not page else None
            if plain is not None:
                return [plain]
            pages, left = _read(file, page, region)
        images = [build(**fields) for fields in pages]
        return images if left is None else [image.crop(*left) for image in images]
    except FileNotFoundError:
        raise ValueError(f"{_name(source)}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{_name(source)}: it is a folder") from None
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{_name(source)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    first, *_ = str(error).strip().split("\n")
    if first == "unknown pixel mode":
        return "its pixels are of a kind that is not read, such as 64-bit floats, or channels that are no colours"
    return first if isinstance(error, ValueError) and first else f"it is damaged ({first or type(error).__name__})"


def _name(source: object) -> str:
    name = source if isinstance(source, str | Path) else getattr(source, "name", None)
    return Path(name).name if isinstance(name, str | Path) else "the picture"


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield file
    else:
        yield source if source.seekable() else io.BytesIO(source.read())


def _read(file: IO[bytes], page: int | None, region: Region | None) -> tuple[list[dict[str, Any]], Region | None]:
    """The attributes of each image, and the region that is still to be cut out of them."""
    stored_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    if not head:
        raise ValueError("the file is empty")
    if head.startswith(_NUMPY):
        from medvistagym_core.imaging._array_files import read_array

        return [read_array(file, stored_bytes)], region
    picture = _identify(file, head, stored_bytes)
    if picture.format == "TIFF" and decoding_bytes(picture) > MAX_INFLATED_BYTES:
        part = _part_of_tiff(picture, file, stored_bytes, page, region)
        if part is not None:
            return [part], None
    return _images(picture, head, stored_bytes, page), region


def _read_plain(build: Callable[..., Image], file: IO[bytes]) -> Image | None:
    """The image of a plain PNG file, which is shown and kept as it is stored; None for any other file, from its beginning."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(len(PNG_SIGNATURE))
    data = head + file.read() if head == PNG_SIGNATURE and size <= MAX_FILE_BYTES else b""
    file.seek(0)
    plain = PlainPng.parse(data)
    pixels = None if plain is None else plain.decode()
    if plain is None or pixels is None:
        return None
    image = build(pixels=pixels, photometric="RGB" if pixels.ndim == 3 else "MONOCHROME2")
    image.render_from(plain.png)
    return image


def _part_of_tiff(
    picture: Any, file: IO[bytes], stored_bytes: int, page: int | None, region: Region | None
) -> dict[str, Any] | None:
    """A region of a TIFF, or the whole of one that is too large at a lower resolution; None where it can be read as it is."""
    if page and not _seek(picture, page):
        return None  # the pages are counted when they are read
    levels = tiff_levels(picture, file)
    width, height = levels[0].width, levels[0].height
    level, scale = levels[0], 1.0
    if region is None:
        fitting = [one for one in levels if one.width * one.height * _BYTES_A_PIXEL <= MAX_INFLATED_BYTES]
        if decoding_bytes(picture) <= MAX_DECODED_BYTES or not fitting:
            return None
        level = fitting[0]
        scale = width / level.width
        region = (0, 0, level.width, level.height)
    x0, y0, x1, y1 = region
    if not (0 <= x0 < x1 <= level.width and 0 <= y0 < y1 <= level.height):
        raise ValueError(f"the region {x0}, {y0}, {x1}, {y1} does not lie within its {width:,} x {height:,} pixels")
    what = f"the region has {x1 - x0:,} x {y1 - y0:,} pixels"
    check_decoded_size((x1 - x0) * (y1 - y0) * _BYTES_A_PIXEL, stored_bytes, what, "open a smaller one")
    content, left, top = cut_tiff(level, file, region)
    cut = _identify(io.BytesIO(content), content[:512], len(content))
    check_decoded_size(decoding_bytes(cut), stored_bytes, f"its tiles there have {cut.width:,} x {cut.height:,} pixels")
    decoded = decode_page(cut, content[:512])
    spacing = tiff_spacing(levels[0])
    fields = _image_fields([decoded._replace(pixels=decoded.pixels[top : top + y1 - y0, left : left + x1 - x0])])
    if scale > 1:
        fields["attributes"] = {**fields["attributes"], "reduced": f"1/{scale:.4g} of {width} x {height}"}
    return {
        **fields,
        "to_source": (scale, 0.0, x0 * scale, 0.0, height / level.height, y0 * scale),
        "source_shape": (height, width),
        "spacing": None if spacing is None else (spacing * scale, spacing * scale),
    }


def _images(picture: Any, head: bytes, stored_bytes: int, page: int | None) -> list[dict[str, Any]]:
    pages = list(_decode_pages(picture, head, stored_bytes, page))
    if len({page.kind for page in pages}) > 1:
        pages = _in_colour(pages)
    if len({page.kind for page in pages}) == 1:
        return [_image_fields(pages)]
    return [_image_fields([page]) for page in pages]


def _identify(file: IO[bytes], head: bytes, stored_bytes: int) -> Any:
    """The picture in a file, its header read and nothing decoded."""
    import PIL.Image

    PIL.Image.init()
    for kind in FORMATS:
        factory, accepts = PIL.Image.OPEN.get(kind, (None, None))
        if factory is None or accepts is None or accepts(head[:16]) is not True:
            continue
        if kind == "WEBP":  # its decoder takes memory for the canvas at once
            _check_webp_canvas(head, stored_bytes)
        if kind == "PNG":
            check_png_checksums(file)
            file.seek(0)
        if kind == "TIFF":
            check_tiff_directories(file)
            file.seek(0)
        # Not PIL.Image.open: the only limit that knows is one of pixels, and it warns of what is within.
        open_picture: Callable[[IO[bytes], str], Any] = factory
        return open_picture(file, "")
    for offset, magic, what in _OTHERS:
        if head[offset:].startswith(magic):
            raise ValueError(what)
    raise ValueError(f"it is not an image that can be read; pictures are {', '.join(FORMATS)}")


def _check_webp_canvas(head: bytes, stored_bytes: int) -> None:
    """Refuse a canvas that is too large (RFC 9649, 2.5 to 2.7)."""
    if head[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    check_decoded_size(16 * width * height, stored_bytes, f"it has {width:,} x {height:,} pixels")


def _decode_pages(picture: Any, head: bytes, stored_bytes: int, page: int | None) -> Iterator[Page]:
    size_bytes, count = 0, 0
    for number in range(MAX_FRAMES + 1):
        if number and not (picture.format in _WITH_PAGES and _seek(picture, number)):
            break
        if count and page is None and picture.format == "TIFF" and is_beside(picture):
            continue
        count += 1
        if page is not None and number != page:
            continue
        if number == MAX_FRAMES:
            raise ValueError(f"it has more than {MAX_FRAMES:,} pages, and that is the most that is read")
        size_bytes += decoding_bytes(picture)
        pages = f"its first {count} pages have" if count > 1 else "it has"
        what = f"{pages} {picture.width:,} x {picture.height:,} pixels"
        check_decoded_size(size_bytes, stored_bytes, what, _advice(picture))
        yield decode_page(picture, head)
        if page is not None:
            return
    if page is not None:
        raise ValueError(f"it has {count} page{'s' * (count != 1)}, counted from 0, and no page {page}")


def _seek(picture: Any, number: int) -> bool:
    try:
        picture.seek(number)
    except EOFError:
        return False
    return True


def _advice(picture: Any) -> str:
    region = "a region=(x0, y0, x1, y1), --image-region X0,Y0,X1,Y1"
    return f"open {region}" if picture.format == "TIFF" else f"save it smaller, or as a tiled TIFF and open {region}"


def _in_colour(pages: list[Page]) -> list[Page]:
    """Pages of an animation, some of which are 8-bit greys and others colours, all in colour."""
    import numpy as np

    return [
        page._replace(pixels=np.repeat(page.pixels[..., None], 3, 2), photometric="RGB")
        if page.pixels.dtype == np.uint8 and page.pixels.ndim == 2
        else page
        for page in pages
    ]


def _image_fields(pages: list[Page]) -> dict[str, Any]:
    """The attributes of the image of pages of one kind."""
    import numpy as np

    first = pages[0]
    pixels = first.pixels if len(pages) == 1 else np.stack([page.pixels for page in pages])
    if first.description is not None and is_description(first.description):
        return ImageDescription.from_json(first.description).image_fields(pixels)
    unit = "" if pixels.dtype == np.uint8 else "raw"
    return {"pixels": pixels, "unit": unit, "photometric": first.photometric, "attributes": first.attributes}
