"""Files that are damaged, lie, or inflate: a sentence with the file's name, and little memory."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_files import read, write

from .conftest import SUFFIXES

nibabel: Any = pytest.importorskip("nibabel")


def nifti(shape: tuple[int, ...] = (4, 5, 6), dtype: str = "<i2", **fields: Any) -> bytes:
    """The header of a NIfTI, 352 bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["sform_code"], header["srow_x"], header["srow_y"], header["srow_z"] = (
        1,
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    )
    for field, value in fields.items():
        header[field] = value
    return bytes(header.binaryblock) + bytes(4)


def nrrd(fields: str = "", sizes: str = "4 5 6", kind: str = "short", encoding: str = "raw") -> bytes:
    lines = (
        "NRRD0004",
        f"type: {kind}",
        f"dimension: {len(sizes.split())}",
        f"sizes: {sizes}",
        f"encoding: {encoding}",
    )
    return "\n".join((*lines, "endian: little", f"{fields}\n")).encode()


def meta(fields: str = "", sizes: str = "4 5 6", kind: str = "MET_SHORT", file: str = "LOCAL") -> bytes:
    lines = ("ObjectType = Image", f"NDims = {len(sizes.split())}", f"DimSize = {sizes}")
    return "\n".join((*lines, f"{fields}ElementType = {kind}", f"ElementDataFile = {file}\n")).encode()


VALUES = bytes(240)
NOISE = np.random.default_rng(0).bytes(240)
BROKEN: dict[str, tuple[bytes, str]] = {
    "short.nii": (nifti() + VALUES[:-1], "it ends before all values that its header promises"),
    "cut.nii.gz": (gzip.compress(nifti() + NOISE)[:-60], r"it is damaged \(it is cut off\)"),
    "flipped.nii.gz": (gzip.compress(nifti() + VALUES)[:-8] + b"\xff" * 8, "damaged|no pixels"),
    "empty.nii": (b"", "NIfTI"),
    "header.nii": (nifti()[:200], "NIfTI"),
    "negative.nii": (nifti(dim=[3, 4, -5, 6, 1, 1, 1, 1]) + VALUES, "its header says that it has 4 x -5 x 6 pixels"),
    "none.nii": (nifti(dim=[0, 4, 5, 6, 1, 1, 1, 1]) + VALUES, "has 0 pixels"),
    "vectors.nii": (nifti(dim=[5, 4, 5, 2, 1, 3, 1, 1]) + VALUES, "5 dimensions"),
    "complex.nii": (nifti(dtype="<c8") + VALUES, "complex64"),
    "nan.nii": (nifti(srow_x=[np.nan, 0, 0, 0]) + VALUES, "where it lies in the patient"),
    "flat.nii": (nifti(srow_x=[0, 0, 0, 0]) + VALUES, "where it lies in the patient"),
    "offset.nii": (nifti(vox_offset=3e9) + VALUES, "its values begin at byte"),
    "huge.nii": (nifti((20000, 20000, 100)) + VALUES, "20,000 x 20,000 x 100 values, which take 76,294 MiB"),
    "half.hdr": (nifti(magic=b"ni1") + VALUES, "half.img is not beside it"),
    "analyze.nii": (nifti(magic=b"") + VALUES, "Analyze, which does not say where left is"),
    "short.nrrd": (nrrd() + VALUES[:-1], "it ends before"),
    "types.nrrd": (nrrd(kind="block") + VALUES, "'block'"),
    "ascii.nrrd": (nrrd(encoding="ascii") + VALUES, "'ascii' is not read"),
    "sizes.nrrd": (nrrd(sizes="4 0 6") + VALUES, "4 x 0 x 6"),
    "words.nrrd": (nrrd(sizes="4 five 6") + VALUES, "header is damaged|five"),
    "huge.nrrd": (nrrd(sizes="20000 20000 100") + VALUES, "76,294 MiB"),
    "elsewhere.nhdr": (nrrd("data file: ../../etc/passwd\n"), "in a file beside it, named without a folder"),
    "missing.nhdr": (nrrd("data file: none.raw\n"), "no such file is beside it"),
    "vectors.nrrd": (nrrd("kinds: vector domain domain\n") + VALUES, "are not those of an image"),
    "place.nrrd": (
        nrrd("space: LPS\nspace directions: (0,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n") + VALUES,
        "where it lies",
    ),
    "gzip.nrrd": (nrrd(encoding="gzip") + VALUES, "damaged"),
    "short.mha": (meta() + VALUES[:-1], "it ends before"),
    "cut.mha": (
        meta("CompressedData = True\n") + zlib.compress(np.random.default_rng(0).bytes(240))[:-60],
        "it ends before|damaged",
    ),
    "zlib.mha": (meta("CompressedData = True\n") + VALUES, "damaged"),
    "huge.mha": (meta(sizes="20000 20000 100") + VALUES, "76,294 MiB"),
    "types.mha": (meta(kind="MET_STRING") + VALUES, "'MET_STRING'"),
    "elsewhere.mhd": (meta(file="/etc/passwd"), "named without a folder"),
    "up.mhd": (meta(file=".."), "named without a folder"),
    "list.mhd": (meta(file="LIST"), "in a file for each slice"),
    "flat.mha": (meta("TransformMatrix = 1 0 0 1 0 0 0 0 1\n") + VALUES, "TransformMatrix"),
    "nan.mha": (meta("Offset = nan 0 0\n") + VALUES, "Offset"),
    "text.mha": (b"ObjectType = Image\nno more", "does not end with ElementDataFile"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    content, said = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{name}: .*({said})") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


SHAPE = (70, 80, 100)  # more bytes than are inflated for the header alone
LONG = np.random.default_rng(1).integers(0, 200, SHAPE).astype("<i2").tobytes()
SIZES = " ".join(map(str, SHAPE))
HEADERS = {
    "a.nii.gz": nifti(SHAPE),
    "a.nrrd": nrrd(sizes=SIZES, encoding="gzip"),
    "b.nrrd": nrrd(sizes=SIZES, encoding="bzip2"),
    "a.mha": meta("CompressedData = True\n", sizes=SIZES),
}


def compressed(name: str, values: bytes = LONG) -> bytes:
    head = HEADERS[name]
    if name == "a.nii.gz":
        return gzip.compress(head + values, 1)
    if name == "a.nrrd":
        return head + gzip.compress(values, 1)
    return head + (bz2.compress(values, 1) if name == "b.nrrd" else zlib.compress(values, 1))


@pytest.mark.parametrize("name", HEADERS)
def test_the_checksum_of_compressed_values_is_looked_at(tmp_path: Path, name: str) -> None:
    content, path = compressed(name), tmp_path / name
    path.write_bytes(content)
    expected = read(path)[0].pixels
    checksum = bytearray(content)
    checksum[-6 if name in ("a.nii.gz", "a.nrrd") else -3] ^= 0x10
    for broken in (bytes(checksum), content[:-3]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"^{name}: its compressed values are damaged"):
            read(path)
    path.write_bytes(compressed(name, LONG + bytes(5000)))  # more than is promised is no damage
    assert np.array_equal(read(path)[0].pixels, expected)


def test_gzip_files_may_have_several_members_and_something_behind_them(tmp_path: Path) -> None:
    content, path = HEADERS["a.nii.gz"] + LONG, tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content, 1))
    expected = read(path)[0].pixels
    for rest in (b"", bytes(512), b"a note"):
        path.write_bytes(gzip.compress(content[:300_001], 1) + gzip.compress(content[300_001:], 1) + rest)
        assert np.array_equal(read(path)[0].pixels, expected)


def test_a_link_beside_a_header_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(VALUES)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "values.raw").symlink_to(tmp_path / "secret")
    (tmp_path / "study" / "a.mhd").write_bytes(meta(file="values.raw"))
    with pytest.raises(ValueError, match="no such file is beside it"):
        read(tmp_path / "study" / "a.mhd")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_mutations_are_read_or_refused(volume: Callable[..., Any], tmp_path: Path, suffix: str) -> None:
    """Headers with bytes changed: whatever comes out is a ValueError or an image of bounded size."""
    path = tmp_path / f"a{suffix}"
    write(volume(), path)
    content = path.read_bytes()
    if suffix == ".nii.gz":
        content = gzip.decompress(content)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        mutant = bytearray(content)
        for _ in range(int(random.integers(1, 8))):
            mutant[int(random.integers(0, min(len(mutant), 420)))] = int(random.integers(0, 256))
        if random.random() < 0.2:
            del mutant[int(random.integers(1, len(mutant))) :]
        path.write_bytes(gzip.compress(bytes(mutant), 1) if suffix == ".nii.gz" else bytes(mutant))
        try:
            assert sum(image.pixels.nbytes for image in read(path)) < 2**30
        except ValueError as error:
            refused += 1
            assert str(error).startswith(path.name)  # noqa: PT017
    assert 0 < refused < 400
