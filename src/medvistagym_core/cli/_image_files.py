"""Image files, read and written through whichever plugin knows them."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import elapsed_time, print_stderr
from medvistagym_core.cli._errors import CommandError, UsageError

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.plugins import Registry


__all__ = [
    "PIPE", "add_reading_options", "check_output_name", "describe_output", "image_row", "numbered", "read_images",
    "write_images", "write_to_pipe",
]  # fmt: skip

PIPE: Final = Path("-")
"""Where a file is named: the image that another program writes or reads through a pipe."""
_STDIN_LIMIT: Final = 4 * 2**30
# The first bytes of a kind of file -> the ending that a reader knows it by, where it does not look at them.
_MAGIC: Final = (
    (0, b"\x89PNG", ".png"), (0, b"\xff\xd8\xff", ".jpg"), (0, b"II*\0", ".tif"), (0, b"MM\0*", ".tif"), (0, b"GIF8", ".gif"),
    (0, b"BM", ".bmp"), (0, b"RIFF", ".webp"), (0, b"\x93NUMPY", ".npy"), (0, b"NRRD", ".nrrd"), (0, b"\x1f\x8b", ".nii.gz"),
    (128, b"DICM", ".dcm"), (344, b"n+1\0", ".nii"), (4, b"n+2\0", ".nii"), (0, b"ObjectType", ".mha"), (0, b"NDims", ".mha"),
)  # fmt: skip

_UNIT: Final = re.compile(r"[^\W\d_][\w/%^*.-]{0,23}|%")

_Region = tuple[int, int, int, int]


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add what may be said of image files that they do not say themselves."""
    group = parser.add_argument_group("of the image files")
    group.add_argument(
        "--image-region",
        metavar="X0,Y0,X1,Y1",
        type=_region,
        help="open this part alone, in pixels (of large pictures too)",
    )
    group.add_argument(
        "--image-index", metavar="N", type=int, nargs="+", action="extend",
        help="of the images that the files hold only these, from 0",
    )  # fmt: skip
    group.add_argument(
        "--image-unit",
        metavar="UNIT",
        type=_unit,
        help="unit of their values, such as HU, where the files do not say it",
    )


def _region(text: str) -> _Region:
    words = text.replace(" ", "").split(",")
    if len(words) != 4 or not all(word.isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} must be four numbers of pixels: X0,Y0,X1,Y1")
    x0, y0, x1, y1 = map(int, words)
    if not (x0 < x1 and y0 < y1):
        raise argparse.ArgumentTypeError(f"{text!r} must have X0 < X1 and Y0 < Y1")
    return x0, y0, x1, y1


def _unit(text: str) -> str:
    if not _UNIT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a unit such as HU, raw, mask, label or Bq/ml")
    return text


def read_images(registry: Registry, paths: Iterable[Path], options: argparse.Namespace | None = None) -> list[Image]:
    """Read files in order; a file or folder may hold several images.

    Args:
        registry: Whose readers are asked.
        paths: Files or folders.
        options: Those of `add_reading_options`.

    Raises:
        UsageError: A path does not exist, no installed plugin reads it, or it holds no image of an index.
        CommandError: A file is broken.
    """
    region, unit, index = (getattr(options, f"image_{name}", None) for name in ("region", "unit", "index"))
    images: list[Image] = []
    for path in paths:
        with elapsed_time(f"reading {path.name or path}"):
            images += _read(registry, path, region)
    if index is not None:
        missing = [number for number in index if not 0 <= number < len(images)]
        if missing:
            held = f"the files hold {len(images)} image{'' if len(images) == 1 else 's'}, counted from 0"
            raise UsageError(f"--image-index {missing[0]}: {held}", numbered(images))
        images = [images[number] for number in index]
    return images if unit is None else [_with_unit(image, unit) for image in images]


def _read(registry: Registry, path: Path, region: _Region | None) -> Sequence[Image]:
    from medvistagym_core.plugins import ImageFileError, NoReaderError
    from medvistagym_core.plugins import read_images as read_path

    try:
        if path == PIPE:
            with _piped_file() as piped:
                images = read_path(registry, piped, region)
        else:
            images = read_path(registry, path, region)
    except NoReaderError as error:
        raise UsageError(str(error)) from error
    except ImageFileError as error:
        raise CommandError(str(error)) from error
    for image in images:
        if "reduced" in image.attributes:
            print_stderr(
                f"{path.name}: opened at {image.attributes['reduced']} pixels; --image-region opens a part as it is"
            )
    return images


@contextlib.contextmanager
def _piped_file() -> Iterator[Path]:
    """What stands on stdin as a file, named after its kind, for as long as it is read.

    Raises:
        UsageError: Stdin is a terminal, or empty.
        CommandError: It is too large.
    """
    if sys.stdin.isatty():
        raise UsageError("-: an image is read from stdin, and stdin is a terminal; pipe a file into it")
    data = sys.stdin.buffer.read(_STDIN_LIMIT + 1)
    if not data:
        raise UsageError("-: stdin is empty; the command before the pipe wrote no image")
    if len(data) > _STDIN_LIMIT:
        raise CommandError(f"-: stdin holds more than {_STDIN_LIMIT >> 30} GiB")
    suffix = next((ending for at, magic, ending in _MAGIC if data[at : at + len(magic)] == magic), "")
    with tempfile.TemporaryDirectory(prefix="medvistagym-") as folder:
        file = Path(folder, f"stdin{suffix}")
        file.write_bytes(data)
        yield file


def numbered(images: Sequence[Image]) -> str:
    """Images in a line each, with the number that `--image-index` takes."""
    from medvistagym_core.interactive import list_images

    return list_images(images)


def image_row(image: Image) -> dict[str, Any]:
    """What a program is told of an image: nothing that could identify a person."""
    from medvistagym_core.imaging import Window

    window = image.window
    return {
        "modality": image.modality, "width": image.shape[1], "height": image.shape[0],
        "frames": image.frames if image.is_stack else None, "dtype": image.pixels.dtype.name, "unit": image.unit,
        "photometric": image.photometric, "spacing_mm": None if image.spacing is None else list(image.spacing),
        "window": {"center": window.center, "width": window.width} if isinstance(window, Window) else None,
        "attributes": dict(image.attributes),
    }  # fmt: skip


def _with_unit(image: Image, unit: str) -> Image:
    """The image with its values in a unit that its file does not tell, displayed as suits it unless the file tells how."""
    from medvistagym_core.imaging import MASK_WINDOW, fitting_window

    if image.photometric == "RGB":
        raise UsageError("--image-unit: an image has colours, whose values have no unit")
    if unit == image.unit:
        return image
    window = image.window
    if unit == "mask":
        window = MASK_WINDOW
    elif not image.windows:
        window = fitting_window(image.pixels, unit)
    return image.replace(unit=unit, window=window)


def check_output_name(registry: Registry, path: Path, sources: Iterable[Path] = ()) -> None:
    """Refuse, before any work, a name under which no image can be written, or one whose file is read.

    Args:
        registry: Gives the writers.
        path: `--out`.
        sources: The files and folders that are read: what is written there would take the place of the original.

    Raises:
        UsageError: The ending is not that of an image file, the folder does not exist, stdout is a terminal, or the file is
            one of the sources, or a DICOM file in one of them.
    """
    if path == PIPE:
        if sys.stdout.isatty():
            raise UsageError(
                "--out -: an image is written to stdout, and stdout is a terminal; name a file, or pipe it on"
            )
        return
    from medvistagym_core.imaging import file_suffix, writable_suffixes
    from medvistagym_core.plugins import missing_plugin, volume_kind

    suffixes = writable_suffixes(registry.writers)
    if file_suffix(path, suffixes) is None:
        kind = volume_kind(path)
        if kind is not None:
            raise UsageError(f"{path}: {missing_plugin(kind).replace(' is read ', ' is written ')}")
        raise UsageError(f"{path}: an image file's name ends in one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist")
    there = path.resolve()
    read = {source.resolve() for source in sources if source != PIPE}
    in_series = there.suffix == ".dcm" and not read.isdisjoint(there.parents)  # the files of a folder that is read
    if there.exists() and (there in read or in_series):
        raise UsageError(f"{path} is one of the files that are read, and would be lost; name another with --out")


def write_to_pipe(images: Sequence[Image]) -> None:
    """Write one image to stdout as a TIFF, which holds its values, unit, spacing, window and place.

    Raises:
        CommandError: There are several images, or a TIFF cannot hold the values.
    """
    from medvistagym_core.imaging import write_image

    if len(images) != 1:
        raise CommandError(f"-: a pipe takes one image, and there are {len(images)}; name a file, and each is numbered")
    with tempfile.TemporaryDirectory(prefix="medvistagym-") as folder:
        file = Path(folder, "stdout.tif")
        try:
            write_image(images[0], file)
        except ValueError as error:
            raise CommandError(f"-: {error}") from error
        sys.stdout.flush()
        sys.stdout.buffer.write(file.read_bytes())
        sys.stdout.buffer.flush()


def write_images(registry: Registry, images: Sequence[Image], path: Path) -> list[Path]:
    """Write images, each whole or not at all; several are numbered, `out-0.png`, `out-1.png`.

    Raises:
        CommandError: A file of this kind cannot hold an image, or cannot be written.
    """
    from medvistagym_core.imaging import file_suffix, writable_suffixes, write_image

    suffix = file_suffix(path, writable_suffixes(registry.writers)) or path.suffix
    stem, ending = path.name[: -len(suffix)], path.name[-len(suffix) :]
    paths = [path.with_name(f"{stem}-{k}{ending}") if len(images) > 1 else path for k in range(len(images))]
    for image, target in zip(images, paths, strict=True):
        try:
            write_image(image, target, registry.writers)
        except ValueError as error:
            sentence = str(error) if target.name in str(error) else f"{target.name}: {error}"
            raise CommandError(sentence) from error
        except OSError:
            raise
        except Exception as error:  # a plugin's fault
            raise CommandError(f"{target.name}: its writer failed: {type(error).__name__}: {error}") from error
    return paths


def describe_output(image: Image, path: Path | None) -> str:
    """What a person is told of an image that a tool gave: its size and unit, and where it is and what of it.

    Args:
        image: The image.
        path: Where it was written; None where it was not.
    """
    from medvistagym_core.imaging import holds_values

    depth = f" x {image.frames}" if image.is_stack else ""
    unit = "RGB" if image.photometric == "RGB" else image.unit
    text = f"{image.shape[1]} x {image.shape[0]}{depth}, {unit}; "
    if path is None:
        return f"{text}--out FILE keeps it"
    if path == PIPE:
        return f"{text}written to stdout as TIFF"
    text += f"written to {path}"
    if image.is_stack and not holds_values(path):
        text += f", slice {image.displayed_frame} of 0 to {image.frames - 1} alone; .nii.gz, .nrrd, .mha, .npy, .tif keep all"
    return text
