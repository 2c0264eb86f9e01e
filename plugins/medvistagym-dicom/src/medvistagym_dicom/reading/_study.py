"""The images of a file or of a folder, and what was left out of it with the reason."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
import warnings
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_dicom.reading._dataset import DICOMDIR_CLASS, DicomDataset
from medvistagym_dicom.reading._errors import DicomError, call_safely
from medvistagym_dicom.reading._frames import frames_of
from medvistagym_dicom.reading._image import DecodedObject, build_image
from medvistagym_dicom.reading._parser import read_dataset
from medvistagym_dicom.reading._pixel_format import PixelFormat, read_pixel_format
from medvistagym_dicom.reading._pixel_spacing import read_calibration
from medvistagym_dicom.reading._source import Source
from medvistagym_dicom.reading._units import is_localizer, object_class, rescale_unit
from medvistagym_dicom.reading._volumes import SAME_PLANE_PX, VolumePlan, plan_volumes

MAX_FILES: Final = 20_000
_RASTER_MAGIC: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


class Study(NamedTuple):
    """What a file or folder holds.

    Attributes:
        images: An image for each volume, clip or single slice.
        left_out: Why files of a folder were left out that are DICOM and could not be read; one sentence each.
    """

    images: list[Image]
    left_out: list[DicomError]


class _Object(NamedTuple):
    dataset: DicomDataset
    pixel_format: PixelFormat


def read_study(path: Path, *, overlays: bool, max_bytes: int) -> Study:
    """The images of a file or folder.

    Raises:
        DicomError: A file cannot be read, or no file of a folder.
    """
    if not path.is_dir():
        return _read_file(path, overlays=overlays, max_bytes=max_bytes)
    folder = _scan_folder(path, max_bytes)
    if folder.total_bytes > max_bytes:
        sizes = f"its images need {folder.total_bytes >> 20} MiB, more than the limit of {max_bytes >> 20} MiB"
        raise DicomError("too_large", f"{folder.name}: {sizes}; choose one of them by series=0, 1, ...")
    images: list[Image] = []
    for read_images, failures in folder.read_groups(overlays=overlays):
        images += read_images
        folder.left_out += failures
    if not images:
        raise folder.nothing_read()
    return Study(images, folder.left_out)


def read_series(path: Path, series: int, *, overlays: bool, max_bytes: int) -> Image | None:
    """The image at a place in what `read_study` gives of a folder, without keeping the others; None where there are fewer.

    Raises:
        DicomError: No file of the folder can be read.
    """
    count = 0
    for images, _ in _scan_folder(path, max_bytes).read_groups(overlays=overlays):
        if count <= series < count + len(images):
            return images[series - count]
        count += len(images)
    return None


def _read_file(path: Path, *, overlays: bool, max_bytes: int) -> Study:
    source = Source.from_path(path, max_bytes)
    if is_raster(source.read(0, 132)):
        return Study([_read_picture(path, source.name)], [])
    images, failures = _read_group([_read_object(source, max_bytes)], overlays=overlays)
    if not images:
        raise failures[0]
    return Study(images, failures)


def is_raster(head: bytes) -> bool:
    """Whether a file begins as a PNG, JPEG, ...; a DICOM file may begin as a TIFF, its preamble is free."""
    return head.startswith(_RASTER_MAGIC) and head[128:132] != b"DICM"


def _read_picture(path: Path, name: str) -> Image:
    try:
        with warnings.catch_warnings():  # a damaged picture is told by an error or by what can be seen, not by Pillow
            warnings.simplefilter("ignore")
            return Image.open(path)
    except ValueError as error:
        message = str(error)
    raise DicomError("corrupt", message if os.sep not in message else f"{name}: the picture is damaged")


def _read_object(source: Source, max_bytes: int) -> _Object:
    dataset = read_dataset(source)
    if dataset.media_class == DICOMDIR_CLASS:
        raise DicomError("no_pixels", f"{source.name}: it is an index of files; give its folder or one of the files")
    return _Object(dataset, read_pixel_format(dataset, max_bytes=max_bytes))


# -- folders


@dataclasses.dataclass
class _Folder:
    """The headers of a folder's images.

    Attributes:
        name: Its name, for errors.
        groups: Objects that may be slices of one volume.
        left_out: Why DICOM images were left out.
        files: How many files there are.
        total_bytes: What all stored values take.
    """

    name: str
    groups: list[list[_Object]] = dataclasses.field(default_factory=list)
    left_out: list[DicomError] = dataclasses.field(default_factory=list)
    files: int = 0
    total_bytes: int = 0

    def read_groups(self, *, overlays: bool) -> Iterator[tuple[list[Image], list[DicomError]]]:
        """The images of one group after another, and why others of them could not be decoded."""
        for group in self.groups:
            for objects in _by_spacing(_without_copies(group)):
                yield _read_group(objects, overlays=overlays)

    def nothing_read(self) -> DicomError:
        if len(self.left_out) == 1:
            return self.left_out[0]
        if self.left_out:
            text = f"none of its {len(self.left_out)} DICOM images can be read; the first: {self.left_out[0]}"
            return DicomError(self.left_out[0].reason, f"{self.name}: {text}")
        among = f" among its {self.files} files" if self.files else ""
        return DicomError("empty", f"{self.name}: the folder holds no DICOM image{among}")


def _scan_folder(path: Path, max_bytes: int) -> _Folder:
    """The headers of a folder's images; files that are none are passed over."""
    folder = _Folder(path.name or path.absolute().name or "the folder")
    groups: dict[Hashable, list[_Object]] = {}
    for file in _files(path, folder.name):
        folder.files += 1
        try:
            outcome = call_safely(functools.partial(_read_path, file, max_bytes), file.name)
        except DicomError as error:
            if error.reason not in ("not_an_image", "no_pixels", "empty"):
                folder.left_out.append(error)
            continue
        folder.total_bytes += outcome.pixel_format.decoded_bytes
        groups.setdefault(_group_key(outcome, file), []).append(outcome)
    folder.groups = [sorted(group, key=_first_frame) for group in groups.values()]
    if not folder.groups:
        raise folder.nothing_read()
    return folder


def _read_path(path: Path, max_bytes: int) -> _Object:
    return _read_object(Source.from_path(path, max_bytes), max_bytes)


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


def _group_key(instance: _Object, path: Path) -> Hashable:
    """What objects have in common that may be slices of one volume; others of several frames than parts stay by themselves."""
    dataset, pixel_format = instance
    series = dataset.string("SeriesInstanceUID")
    part_of = dataset.string("ConcatenationUID")  # an object that was stored in parts
    alone = part_of or (path if pixel_format.frames > 1 or not series else None)
    return (
        series, alone, dataset.string("FrameOfReferenceUID"), object_class(dataset), dataset.string("Modality"),
        pixel_format.shape[bool(part_of):], pixel_format.photometric, rescale_unit(dataset, pixel_format, 0),
        is_localizer(dataset),
    )  # fmt: skip


def _first_frame(instance: _Object) -> float:
    """Which frame of the object that it is a part of its first one is; objects that are whole keep their order."""
    return instance.dataset.number("ConcatenationFrameOffsetNumber") or 0


def _without_copies(objects: list[_Object]) -> list[_Object]:
    """Objects without copies.

    A copy has the instance UID, the number and the position of another; without a position also its pixel data, since
    programs that replace UIDs give one to several images. Of copies the one with most pixel data is kept: others may be
    cut off.
    """
    instances: dict[Hashable, _Object] = {}
    uids = [instance.dataset.string("SOPInstanceUID") for instance in objects]
    counts = collections.Counter(uids)
    if len(counts) == len(objects):
        return objects
    for uid, instance in zip(uids, objects, strict=True):
        position = instance.dataset.numbers("ImagePositionPatient")
        digest = "" if position or counts[uid] == 1 else _pixel_digest(instance.dataset)
        key = (uid, instance.dataset.numbers("InstanceNumber"), position, digest)
        other = instances.get(key)
        if other is None or _held_bytes(instance.dataset) > _held_bytes(other.dataset):
            instances[key] = instance
    return list(instances.values())


def _held_bytes(dataset: DicomDataset) -> int:
    """How many bytes of its pixel data a file holds, at most as many as it promises."""
    element = dataset.pixel_data
    assert element is not None
    held = dataset.source.size - element.offset
    return held if element.length is None or dataset.source.deflated_at is not None else min(held, element.length)


def _pixel_digest(dataset: DicomDataset) -> str:
    element = dataset.pixel_data
    assert element is not None
    length = dataset.source.size if element.length is None else element.length
    return hashlib.sha256(dataset.source.read(element.offset, length)).hexdigest()


def _by_spacing(objects: list[_Object]) -> list[list[_Object]]:
    """Objects whose pixels have one spacing, so that no pixel of them lies `SAME_PLANE_PX` apart."""
    groups: list[tuple[tuple[float, float] | None, list[_Object]]] = []
    for instance in objects:
        spacing = read_calibration(instance.dataset, instance.pixel_format).spacing
        for other, group in groups:
            if _same_spacing(spacing, other, instance.pixel_format):
                group.append(instance)
                break
        else:
            groups.append((spacing, [instance]))
    return [group for _, group in groups]


def _same_spacing(a: tuple[float, float] | None, b: tuple[float, float] | None, pixel_format: PixelFormat) -> bool:
    if a is None or b is None:
        return a is b
    down, across = abs(a[0] - b[0]) * pixel_format.rows / b[0], abs(a[1] - b[1]) * pixel_format.columns / b[1]
    return max(down, across) <= SAME_PLANE_PX


def _read_group(objects: list[_Object], *, overlays: bool) -> tuple[list[Image], list[DicomError]]:
    """The images of objects of one kind, and why others of them could not be decoded."""
    decoded, images, failures = DecodedObject(), list[Image](), list[DicomError]()
    name = objects[0].dataset.source.name

    def plan() -> list[VolumePlan]:
        return plan_volumes([frame for instance in objects for frame in frames_of(*instance)])

    try:
        plans = call_safely(plan, name)
    except DicomError as error:
        return [], [error]
    for volume in plans:
        build = functools.partial(build_image, volume, decoded, overlays=overlays)
        try:
            image, undecoded = call_safely(build, name)
        except DicomError as error:
            failures.append(error)
        else:
            images.append(image)
            failures += undecoded
    return images, failures
