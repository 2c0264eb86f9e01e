"""Reading of DICOM files, multi-frame objects and folders of series as images: the functions that others call."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Final

from medvistagym_core.imaging import Image
from medvistagym_dicom.reading._errors import DicomError, call_safely
from medvistagym_dicom.reading._study import Study, is_raster, read_series
from medvistagym_dicom.reading._study import read_study as _read_study

MAX_BYTES: Final = 1 << 30
_log: Final = logging.getLogger("medvistagym_dicom")


def read_study(path: str | Path, *, overlays: bool = False, max_bytes: int = MAX_BYTES) -> Study:
    """The images of a file or folder as `read` gives them, and why files of a folder were left out.

    Args:
        path: A file or a folder.
        overlays: Also read overlay planes, as graphics. Off by default, because graphics can spell out names.
        max_bytes: Most bytes of stored pixels that a call may decode.

    Raises:
        DicomError: A file cannot be read, or no file of a folder; the message is one sentence without identifiers,
            `reason` tells
            the kind.
    """
    path = Path(path)
    name = path.name or path.absolute().name or "the folder"
    return call_safely(functools.partial(_read_study, path, overlays=overlays, max_bytes=max_bytes), name)


def read(path: str | Path, *, overlays: bool = False, max_bytes: int = MAX_BYTES) -> list[Image]:
    """Images of a file, or of all files of a folder and its subfolders.

    Slices and frames make an image for each volume: `(H, W)` for a single one, `(N, H, W)` for several, in the order of
    space along their normal. Which belong together is decided by series, direction and place; where places repeat, by
    echo, phase, time point, image type, segment and the like, and last by times. Frames at one place are a clip in the
    order of time. A copy of a file counts once. PNG, JPEG, TIFF, BMP, GIF and WebP files are read too; in folders they
    are passed over, as are files that are no images. A DICOM image of a folder that cannot be read is left out, and the
    reason logged as a warning; `read_study` returns it.

    Values are in physical units where the file defines them ("HU", "Bq/ml", "Gy"), otherwise "raw" counts, or "grey" for 8-bit
    pictures. They stay integers when the rescaling is one of integers, else they are float32. MONOCHROME1 keeps its values.
    The window is the first valid one of the file; without one it is the file's VOI lookup table, or 40/400 for HU, or none for
    8-bit greys, or the 0.5th to 99.5th percentile of the values that are not padding.

    Args:
        path: A file or a folder.
        overlays: Also read overlay planes, as graphics. Off by default, because graphics can spell out names.
        max_bytes: Most bytes of stored pixels that a call may decode.

    Raises:
        DicomError: A file cannot be read, or no file of a folder; the message is one sentence without identifiers,
            `reason` tells
            the kind.
    """
    study = read_study(path, overlays=overlays, max_bytes=max_bytes)
    for error in study.left_out:
        _log.warning("left out: %s", error)
    return study.images


def read_one(
    path: str | Path, *, series: int | None = None, overlays: bool = False, max_bytes: int = MAX_BYTES
) -> Image:
    """The one image of a file or folder.

    Args:
        path: A file or a folder.
        series: Which image to take, by its place in what `read` returns, from 0. Of a folder, the others need not fit into
            `max_bytes` then. None where there is only one.
        overlays: As for `read`.
        max_bytes: As for `read`.

    Raises:
        DicomError: As `read`; also when there are several images and none, or one that does not exist, was chosen.
    """
    path = Path(path)
    name = path.name or "the folder"
    if series is not None and series >= 0 and path.is_dir():
        choose = functools.partial(read_series, path, series, overlays=overlays, max_bytes=max_bytes)
        if (image := call_safely(choose, name)) is not None:
            return image
    images = read(path, overlays=overlays, max_bytes=max_bytes)
    if series is None and len(images) == 1:
        return images[0]
    choices = ", ".join(f"{k}: {_summary(image)}" for k, image in enumerate(images[:8]))
    choices += ", ..." if len(images) > 8 else ""
    if series is None:
        raise DicomError(
            "mixed_series",
            f"{name}: it holds {len(images)} series; choose one with series=0 to {len(images) - 1} ({choices})",
        )
    if not 0 <= series < len(images):
        raise DicomError(
            "bad_argument", f"{name}: there is no series {series}; choose from 0 to {len(images) - 1} ({choices})"
        )
    return images[series]


def read_if_dicom(path: str | Path) -> list[Image] | None:
    """`read`, or None for a file that is not DICOM: for a program that asks several readers in turn.

    Raises:
        DicomError: It is DICOM, or a folder, and cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            if is_raster(file.read(132)):
                return None
    except OSError:
        pass  # a folder, or a file that `read` will refuse with a sentence
    try:
        return read(path)
    except DicomError as error:
        if error.reason == "not_an_image":
            return None
        raise


def _summary(image: Image) -> str:
    h, w = image.shape
    size = f"{w} x {h}" + (f" x {image.frames}" if image.is_stack else "")
    part = image.attributes.get("part")
    return f"{image.modality or 'unknown'} {size}" + (
        f", {part} by {image.attributes.get('told_apart_by')}" if part else ""
    )
