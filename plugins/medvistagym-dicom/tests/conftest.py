"""Every file of pydicom's own tests and of the package pydicom-data, and pydicom's reading of them as the reference."""

from __future__ import annotations

import fnmatch
import functools
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_store  # type: ignore[import-untyped]
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from medvistagym_core.imaging import Image
from medvistagym_dicom import read_one

ROOTS = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data")
NOT_IMAGES = (".py", ".pyc", ".json", ".txt", ".md", ".tar")

# Files that hold no image that can be decoded, by pydicom either: pattern -> reason of our error, and why.
UNDECODABLE = {
    "*DICOMDIR*": ("no_pixels", "index of files"),
    "dicomdirtests/*README": ("not_an_image", "text"),
    "dicomdirtests/TINY_ALPHA/PT*/*/*/*": ("no_pixels", "header only"),
    "ExplVR_*EndNoMeta.dcm": ("no_pixels", "radiotherapy plan"),
    "JPEG2000-embedded-sequence-delimiter.dcm": (
        "corrupt",
        "the codestream declares 3.7e9 columns; pydicom cannot decode it",
    ),
    "MR_truncated.dcm": ("truncated", "62 bytes of pixel data are missing; pydicom cannot decode it"),
    "UN_sequence.dcm": ("no_pixels", "header only"),
    "crayons.icc": ("not_an_image", "colour profile"),
    "empty_charset_LEI.dcm": ("no_pixels", "header only"),
    "meta_missing_tsyntax.dcm": ("corrupt", "has pixel data, but no rows and columns"),
    "nested_priv_SQ.dcm": ("corrupt", "has pixel data, but no rows and columns"),
    "no_meta.dcm": ("not_an_image", "no group of a DICOM header"),
    "no_meta_group_length.dcm": ("no_pixels", "header only"),
    "priv_SQ.dcm": ("no_pixels", "header only"),
    "reportsi*.dcm": ("no_pixels", "structured report"),
    "rtplan.dcm": ("no_pixels", "radiotherapy plan"),
    "rtplan_truncated.dcm": ("truncated", "cut off within its header"),
    "*.dump": ("not_an_image", "text"),
    "rtstruct.dcm": ("no_pixels", "radiotherapy structures"),
    "test-SR.dcm": ("no_pixels", "structured report"),
    "waveform_ecg.dcm": ("no_pixels", "waveform"),
    "zipMR.gz": ("not_an_image", "gzip"),
}
# Files that we decode and pydicom does not, and why.
PYDICOM_CANNOT = {
    "JPEG-lossy.dcm": "12-bit JPEG with parameters that libjpeg refuses",
    "OT-PAL-8-face.dcm": "no file meta information",
    "badVR.dcm": "number of frames is '1A'",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "no delimiter after the last, complete frame",
}


def undecodable(name: str) -> tuple[str, str] | None:
    return next((why for pattern, why in UNDECODABLE.items() if fnmatch.fnmatch(name, pattern)), None)


def _named() -> dict[str, Path]:
    found = {}
    for root in ROOTS:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in NOT_IMAGES and "__pycache__" not in path.parts:
                found[path.relative_to(root).as_posix()] = path
    return found


FILES = _named()


def _has_window(name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(FILES[name], force=True, specific_tags=["WindowWidth"], stop_before_pixels=True)
    return ds.get("WindowWidth") is not None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "decodable" in metafunc.fixturenames:
        metafunc.parametrize("decodable", [name for name in FILES if undecodable(name) is None])
    if "windowed" in metafunc.fixturenames:
        metafunc.parametrize("windowed", [name for name in FILES if undecodable(name) is None and _has_window(name)])
    if "undecodable_file" in metafunc.fixturenames:
        metafunc.parametrize(
            ("undecodable_file", "reason"), [(name, why[0]) for name in FILES if (why := undecodable(name)) is not None]
        )


@pytest.fixture(scope="session")
def path() -> Callable[[str], Path]:
    """Path of a test file by its name."""
    return FILES.__getitem__


@pytest.fixture(scope="session")
def image() -> Callable[[str], Image]:
    """The image of a test file by its name."""
    return lambda name: read_one(FILES[name])


@pytest.fixture(scope="session")
def reference() -> Callable[[str], tuple[pydicom.Dataset, np.ndarray | None]]:
    """pydicom's data set of a test file, and its values in physical units, or RGB; None where pydicom cannot decode it."""

    def read_with_pydicom(name: str) -> tuple[pydicom.Dataset, np.ndarray | None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(FILES[name], force=True)
            if name in PYDICOM_CANNOT:
                with pytest.raises((AttributeError, RuntimeError, ValueError)):
                    ds.pixel_array  # noqa: B018
                return ds, None
            return ds, physical(ds, ds.pixel_array)

    return read_with_pydicom


def physical(ds: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Stored values after the modality transformation or palette, through pydicom; what it leaves out is added by hand."""
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, ds)
        return colours >> 8 if colours.max() > 255 else colours
    if ds.get("Modality") == "RTDOSE":
        return stored * float(ds.DoseGridScaling)
    for group in ds.get("SharedFunctionalGroupsSequence", []):
        for transform in group.get("PixelValueTransformationSequence", []):
            return stored * float(transform.RescaleSlope) + float(transform.RescaleIntercept)
    values: np.ndarray = apply_modality_lut(stored, ds)
    return values


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an object made for the test: `write(stored, **elements)`."""
    return functools.partial(_write, tmp_path)


def _write(folder: Path, stored: np.ndarray, **changes: Any) -> Path:
    """A minimal CT or other object of the given stored values; keywords set elements, None deletes one.

    Besides elements there are `big_endian` and `implicit`; `colour` for `(rows, columns, 3)` values; `fragments`, the
    items of encapsulated pixel data with the offset table first, and their `syntax`; a folder to be `inside`; and `raw`,
    tags with a (VR, value) that pydicom would not take as they are.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    big, colour = bool(changes.pop("big_endian", False)), bool(changes.pop("colour", False))
    fragments, raw = changes.pop("fragments", None), changes.pop("raw", {})
    folder = changes.pop("inside", folder)
    plain = ImplicitVRLittleEndian if changes.pop("implicit", False) else ExplicitVRLittleEndian
    ds.file_meta.TransferSyntaxUID = changes.pop("syntax", ExplicitVRBigEndian if big else plain)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    bits = stored.dtype.itemsize * 8
    ds.Modality, ds.SamplesPerPixel, ds.PhotometricInterpretation = "CT", 1, "MONOCHROME2"
    shape = stored.shape
    if colour:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        shape = shape[:-1]
    ds.Rows, ds.Columns = shape[-2:]
    if len(shape) == 3:
        ds.NumberOfFrames = shape[0]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    name = {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}.get(stored.dtype.str[1:], "PixelData")
    for keyword, value in changes.items():
        if value is None:
            ds.pop(keyword, None)
        else:
            setattr(ds, keyword, value)
    for tag, (vr, value) in raw.items():
        ds.add_new(tag, vr, value)
    if fragments is not None:
        items = [struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in fragments]
        ds.PixelData = b"".join(items)
        ds["PixelData"].is_undefined_length = True
    else:
        setattr(ds, name, stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes())
    if name == "PixelData":
        ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    file = folder / f"{len(list(folder.iterdir()))}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(file, enforce_file_format=True)
    return file
