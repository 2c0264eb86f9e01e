"""DICOM files, multi-frame objects and series folders as `Image`s: physical values, geometry, windows, no identifiers."""

from __future__ import annotations

import os
import stat
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from medvistagym_core.imaging import Image, LookupTable, Window
from medvistagym_dicom import attributes as facts
from medvistagym_dicom.display import default_window, overlay_of, padding_of, table_of, tables_of, windows_of
from medvistagym_dicom.errors import DicomError
from medvistagym_dicom.geometry import (
    between_frames,
    frame_position,
    in_plane,
    orientation,
    place,
    rounded,
    step_between,
    vector,
    where,
)
from medvistagym_dicom.header import Header, read_header
from medvistagym_dicom.pixels import Layout, layout, stored_values
from medvistagym_dicom.values import palette, physical

MAX_BYTES: Final = 1 << 30
MAX_FILES: Final = 20_000
_RASTER: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


def read(path: str | Path, *, overlays: bool = False, max_bytes: int = MAX_BYTES) -> list[Image]:
    """Images of a file, or of all files of a folder and its subfolders.

    A file gives one image: `(H, W)`, or `(N, H, W)` when it has several frames. A folder gives one image a series, its slices
    sorted along their normal (by instance number where positions are missing) and stacked to `(N, H, W)`; a series that holds
    several volumes at the same positions gives one each. PNG, JPEG, TIFF, BMP, GIF and WebP files are read too; in folders
    they are passed over, as are files that are no images.

    Values are in physical units where the file defines them ("HU", "Bq/ml", "Gy"), otherwise "raw" counts, or "grey" for 8-bit
    pictures. They stay integers when the rescaling is one of integers, else they are float32. MONOCHROME1 keeps its values.
    The window is the first valid one of the file; without one it is the file's VOI lookup table, or 40/400 for HU, or none for
    8-bit greys, or the 0.5th to 99.5th percentile of the values that are not padding.

    Args:
        path: A file or a folder.
        overlays: Also read overlay planes, as graphics. Off by default, because graphics can spell out names.
        max_bytes: Most bytes of stored pixels that a call may decode.

    Raises:
        DicomError: It cannot be read; the message is one sentence without identifiers, `reason` tells the kind.
    """
    path = Path(path)
    name = path.name or path.absolute().name or "the folder"
    failure: DicomError
    try:
        if path.is_dir():
            return _read_folder(path, name, overlays, max_bytes)
        data = _bytes(path, name, max_bytes)
        if _is_raster(data):
            return [_read_picture(path, name)]
        return [_read_object(data, name, overlays, max_bytes)]
    except DicomError as error:
        failure = error
    except MemoryError:
        failure = DicomError("too_large", f"{name}: there is not enough memory to read it")
    except OSError as error:
        failure = DicomError("not_found", f"{name}: it cannot be opened, {os.strerror(error.errno or 5).lower()}")
    except (ValueError, ArithmeticError, LookupError, struct.error, AssertionError):
        failure = DicomError("corrupt", f"{name}: its contents contradict each other")
    failure.__context__ = None  # what went wrong inside may quote the file
    failure.__traceback__ = None
    raise failure


def read_one(
    path: str | Path, *, series: int | None = None, overlays: bool = False, max_bytes: int = MAX_BYTES
) -> Image:
    """The one image of a file or folder; `series` chooses by its place in what `read` returns.

    Raises:
        DicomError: As `read`; also when a folder holds several series and none, or one that does not exist, was chosen.
    """
    images = read(path, overlays=overlays, max_bytes=max_bytes)
    name = Path(path).name or "the folder"
    if series is None and len(images) == 1:
        return images[0]
    offered = ", ".join(f"{k}: {_summary(image)}" for k, image in enumerate(images[:8])) + (
        ", ..." if len(images) > 8 else ""
    )
    if series is None:
        raise DicomError(
            "mixed_series",
            f"{name}: it holds {len(images)} series; choose one with series=0 to {len(images) - 1} ({offered})",
        )
    if not 0 <= series < len(images):
        raise DicomError(
            "bad_argument", f"{name}: there is no series {series}; choose from 0 to {len(images) - 1} ({offered})"
        )
    return images[series]


def read_if_dicom(path: str | Path) -> list[Image] | None:
    """`read`, or None for a file that is not DICOM: for a program that asks several readers in turn.

    Raises:
        DicomError: It is DICOM, or a folder, and cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            if _is_raster(file.read(132)):
                return None
    except OSError:
        pass  # a folder, or a file that `read` will refuse with a sentence
    try:
        return read(path)
    except DicomError as error:
        if error.reason == "not_an_image":
            return None
        raise


def _is_raster(head: bytes) -> bool:
    """Whether a file begins as a PNG, JPEG, ...; a DICOM file may begin as a TIFF, its preamble is free."""
    return head.startswith(_RASTER) and head[128:132] != b"DICM"


def _summary(image: Image) -> str:
    h, w = image.shape
    return f"{image.modality or 'unknown'} {w} x {h}" + (f" x {image.frames}" if image.is_stack else "")


# -- files and folders


def _bytes(path: Path, name: str, max_bytes: int) -> bytes:
    if not path.exists():
        raise DicomError("not_found", f"{name}: no such file or folder")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DicomError("not_an_image", f"{name}: it is not a regular file")
    if status.st_size == 0:
        raise DicomError("empty", f"{name}: the file is empty")
    if status.st_size > max_bytes + (64 << 20):
        raise DicomError(
            "too_large", f"{name}: {status.st_size / 2**20:.0f} MiB is above the limit of {max_bytes / 2**20:.0f} MiB"
        )
    return path.read_bytes()


def _read_picture(path: Path, name: str) -> Image:
    try:
        with warnings.catch_warnings():  # a damaged picture is told by an error or by what can be seen, not by Pillow
            warnings.simplefilter("ignore")
            return Image.open(path)
    except ValueError as error:
        said = str(error)
    raise DicomError("corrupt", said if os.sep not in said else f"{name}: the picture is damaged")


def _read_object(data: bytes, name: str, overlays: bool, max_bytes: int) -> Image:
    header = read_header(data, name, limit=max_bytes)
    if header.directory:
        raise DicomError("no_pixels", f"{name}: it is an index of files; give its folder or one of the files")
    shape = layout(header, name, max_bytes=max_bytes)
    return _image(header, shape, name, overlays)


def _read_folder(folder: Path, name: str, overlays: bool, max_bytes: int) -> list[Image]:
    groups: dict[tuple[object, ...], list[tuple[Header, Path]]] = {}
    total = files = 0
    for path in _files(folder, name):
        files += 1
        try:
            header = read_header(_bytes(path, path.name, max_bytes), path.name, limit=max_bytes)
            shape = layout(header, path.name, max_bytes=max_bytes)
        except DicomError as error:
            if error.reason in ("not_an_image", "no_pixels", "empty"):
                continue
            raise
        total += shape.rows * shape.columns * shape.frames * shape.samples * max(1, shape.allocated // 8)
        if total > max_bytes:
            raise DicomError("too_large", f"{name}: its images need more than the limit of {max_bytes / 2**20:.0f} MiB")
        header.data = b""
        series = header.word("SeriesInstanceUID")
        alone = path if shape.frames > 1 or not series else None
        key = (series, alone, shape.shape, shape.photometric, rounded(vector(header, "ImageOrientationPatient", 6)))
        groups.setdefault(key, []).append((header, path))
    if not groups:
        raise DicomError(
            "empty", f"{name}: the folder holds no DICOM image" + (f" among its {files} files" if files else "")
        )
    images = []
    for members in groups.values():
        for volume in _volumes(members):
            slices = [
                _read_object(_bytes(path, path.name, max_bytes), path.name, overlays, max_bytes) for _, path in volume
            ]
            images.append(slices[0] if len(slices) == 1 else _stacked(slices, [header for header, _ in volume]))
    return images


def _files(folder: Path, name: str) -> Iterable[Path]:
    count = 0
    for root, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            count += 1
            if count > MAX_FILES:
                raise DicomError(
                    "too_large", f"{name}: the folder holds more than {MAX_FILES} files; name a smaller one"
                )
            if not file.startswith("."):
                yield Path(root, file)


def _volumes(members: list[tuple[Header, Path]]) -> list[list[tuple[Header, Path]]]:
    """Slices of a series in order, as one volume, or one for each time that the positions repeat."""
    members = sorted(members, key=lambda m: (m[0].integer("InstanceNumber", 0), str(m[1])))
    seen: dict[float, list[tuple[Header, Path]]] = {}
    for member in members:
        where = place(member[0])
        if where is None or len(members) == 1:
            return [members]
        seen.setdefault(round(where, 3), []).append(member)
    if len({len(same) for same in seen.values()}) > 1:
        return [members]  # not a grid of positions: in the order of acquisition
    return [list(volume) for volume in zip(*(seen[where] for where in sorted(seen)), strict=True)]


def _stacked(slices: list[Image], headers: list[Header]) -> Image:
    import numpy as np

    first, middle = slices[0], slices[len(slices) // 2]
    places = [place(header) for header in headers]
    step, regular = step_between([where for where in places if where is not None])
    known = dict(middle.attributes)
    if any(image.unit != first.unit for image in slices):
        raise DicomError("corrupt", "a series mixes slices in different units")
    if not regular:
        known["slice_spacing"] = "irregular"
    if known.pop("direction", None):
        known.pop("position_mm", None)
        known |= where(orientation(headers[0]), [frame_position(header, 0) for header in headers])
    spacing = None
    if first.spacing is not None:
        same = all(
            image.spacing is not None and np.allclose(image.spacing, first.spacing, rtol=1e-3) for image in slices
        )
        spacing = ((step, *first.spacing) if step else first.spacing) if same else None
    return Image(
        pixels=np.stack([image.pixels for image in slices]), unit=first.unit, spacing=spacing, modality=first.modality,
        photometric=first.photometric, window=middle.window, windows=middle.windows, overlay=middle.overlay, attributes=known,
    )  # fmt: skip


# -- one object


def _image(header: Header, shape: Layout, name: str, overlays: bool) -> Image:
    stored = stored_values(header, shape, name)
    modality = facts.modality(header)
    known = facts.attributes(header)
    edges = padding_of(header, shape)
    if edges is not None and shape.samples == 1:
        known["padding"] = " ".join(f"{edge:.9g}" for edge in edges)
    photometric = shape.photometric
    if photometric == "PALETTE COLOR":
        values = palette(header, shape, stored, name)
        unit, photometric = "grey", "RGB"
    elif shape.samples == 3:
        values, unit, photometric = stored, "grey" if stored.dtype.str == "|u1" else "raw", "RGB"
    else:
        values, unit = physical(header, shape, stored, modality, name)
    spacing: tuple[float, ...] | None
    spacing, detector = in_plane(header)
    if detector:
        known["spacing_at"] = "detector"
    if shape.frames > 1:
        step, regular = between_frames(header, shape.frames)
        if spacing is not None and step:
            spacing = (step, *spacing)
        if not regular:
            known["slice_spacing"] = "irregular"
        offsets = header.numbers("GridFrameOffsetVector")
        places = [frame_position(header, k) for k in range(shape.frames)]
        if len(set(places)) == 1:  # one position for all of them: that of the first
            places[1:] = [None] * (shape.frames - 1)
        known |= where(orientation(header), places, offsets)
    else:
        values = values[0]
        known |= where(orientation(header), [frame_position(header, 0)])
    windows: tuple[Window, ...] = ()
    window: Window | LookupTable | None = None
    if photometric != "RGB":
        windows = windows_of(header, shape.frames // 2)
        table = table_of(header, shape, shape.frames // 2)
        if tables_of(header, shape.frames // 2):
            known["voi_lut"] = (
                "a damaged table" if table is None else "a table besides the windows" if windows else "a table"
            )
        window = windows[0] if windows else table or default_window(header, shape, values, unit)
    elif values.dtype.str != "|u1":
        full = float(1 << shape.stored)
        window = Window(full / 2, full, "linear_exact", "full range")
    return Image(
        pixels=values, unit=unit, spacing=spacing, modality=modality, photometric=photometric,  # type: ignore[arg-type]
        window=window, windows=windows, overlay=overlay_of(header, shape) if overlays else None, attributes=known,
    )  # fmt: skip
