"""Image files, read and written through whichever plugin knows them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import CommandError, UsageError

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.plugins import Registry


__all__ = ["add_reading_options", "check_output_name", "describe_output", "read_images", "write_images"]

_DICOM: Final = (".dcm", ".dicom", ".ima")
_VOLUMES: Final = {
    ".nii": "NIfTI", ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".nhdr": "NRRD", ".mha": "MetaImage", ".mhd": "MetaImage",
}  # fmt: skip
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
        "--image-index", metavar="N", type=int, nargs="+", help="of the images that the files hold only these, from 0"
    )
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
    images = [image for path in paths for image in _read(registry, path, region)]
    if index is not None:
        missing = [number for number in index if not 0 <= number < len(images)]
        if missing:
            raise UsageError(f"--image-index {missing[0]}: the files hold {len(images)} images, counted from 0")
        images = [images[number] for number in index]
    return images if unit is None else [_with_unit(image, unit) for image in images]


def _read(registry: Registry, path: Path, region: _Region | None) -> Sequence[Image]:
    from medvistagym_core.imaging import read_raster

    if not path.exists():
        raise UsageError(f"{path}: there is no such file")
    try:
        for reader in registry.readers:
            images = reader(path)
            if images is not None:
                return _cropped(images, region)
    except (ValueError, OSError) as error:
        raise CommandError(str(error) if path.name in str(error) else f"{path.name}: {error}") from error
    _refuse_unread(registry, path)
    try:
        images = read_raster(path, region=region)
    except ValueError as error:
        raise CommandError(str(error) if path.name in str(error) else f"{path.name}: {error}") from error
    for image in images:
        if "reduced" in image.attributes:
            print_stderr(
                f"{path.name}: opened at {image.attributes['reduced']} pixels; --image-region opens a part as it is"
            )
    return images


def _cropped(images: Sequence[Image], region: _Region | None) -> Sequence[Image]:
    return images if region is None else [image.crop(*region) for image in images]


def _refuse_unread(registry: Registry, path: Path) -> None:
    """Refuse what no loaded plugin reads and what is no picture either."""
    from medvistagym_core.imaging import file_suffix

    kind = None if path.is_dir() else _VOLUMES.get(file_suffix(path, _VOLUMES) or "")
    if kind is not None:
        raise UsageError(f"{path}: {_missing_plugin(kind)}")
    if (path.is_dir() or _is_dicom(path)) and not registry.readers:
        raise UsageError(f"{path}: {_missing_plugin('DICOM')}")
    if path.is_dir() or path.suffix.lower() in _DICOM:
        raise CommandError(
            f"{path.name}: no loaded plugin can read it, and it is not a picture either; is it the right file?"
        )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in _DICOM or file.read(132)[128:] == b"DICM"


def _missing_plugin(kind: str) -> str:
    from medvistagym_core.plugins import load_catalog

    entry = load_catalog().entry_for_format(kind)
    install = f": {entry.install}" if entry else ""
    return f"{kind} is read by a plugin, and none that does is loaded{install}"


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


def check_output_name(registry: Registry, path: Path) -> None:
    """Refuse, before any work, a name under which no image can be written.

    Raises:
        UsageError: The ending is not that of an image file, or the folder does not exist.
    """
    from medvistagym_core.imaging import file_suffix, writable_suffixes

    suffixes = writable_suffixes(registry.writers)
    if file_suffix(path, suffixes) is None:
        kind = _VOLUMES.get(file_suffix(path, _VOLUMES) or "")
        if kind is not None:
            raise UsageError(f"{path}: {_missing_plugin(kind).replace(' is read ', ' is written ')}")
        raise UsageError(f"{path}: an image file's name ends in one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist")


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
            raise CommandError(f"{target.name}: {error}") from error
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
    text += f"written to {path}"
    if image.is_stack and not holds_values(path):
        text += f", slice {image.displayed_frame} of 0 to {image.frames - 1} alone; .nii.gz, .nrrd, .mha, .npy, .tif keep all"
    return text
