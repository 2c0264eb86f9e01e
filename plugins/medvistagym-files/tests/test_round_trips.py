"""What is written is read back as it was, and lies where SimpleITK, an independent reader, says that it lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import MASK_WINDOW, Image, LookupTable
from medvistagym_files import read_one, write

from .conftest import SUFFIXES, itk_places, places, values

Volume = Callable[..., Image]
DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64", "bool", "float16",
)  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_volume_comes_back_as_it_was(volume: Volume, tmp_path: Path, suffix: str) -> None:
    image, path = volume(), tmp_path / f"a{suffix}"
    write(image, path)
    assert read_one(path).digest == image.digest
    assert np.allclose(itk_places(path), places(image), atol=1e-3)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64", "bool", "float16"]
)
def test_every_dtype_comes_back(volume: Volume, tmp_path: Path, suffix: str, dtype: str) -> None:
    pixels = values((5, 7, 6)) % (2 if dtype == "bool" else 100)
    image = volume(pixels=pixels.astype(dtype), unit="raw", windows=())
    write(image, tmp_path / f"a{suffix}")
    again = read_one(tmp_path / f"a{suffix}")
    assert again.pixels.dtype == image.pixels.dtype
    assert again.digest == image.digest


OTHERS: dict[str, Callable[[Volume], Image]] = {
    "a slice": lambda volume: volume(pixels=values((7, 6)), spacing=(0.8, 0.5), frame=None),
    "a film": lambda volume: Image(pixels=values((7, 6), "uint16"), unit="raw", photometric="MONOCHROME1", spacing=(0.1, 0.1)),
    "nothing known": lambda volume: Image(pixels=values((7, 6))),
    "frames": lambda volume: Image(pixels=values((5, 7, 6)), unit="raw", spacing=(0.5, 0.4), frame=1),
    "colours": lambda volume: Image(pixels=values((7, 6, 3), "uint8"), photometric="RGB", spacing=(0.5, 0.4)),
    "frames of colours": lambda volume: Image(pixels=values((4, 7, 6, 3), "uint8"), photometric="RGB", frame=0),
    "a mask": lambda volume: volume(pixels=values((5, 7, 6)) > -900, unit="mask", window=MASK_WINDOW, windows=()),
    "a table": lambda volume: volume(window=LookupTable.from_entries(-1000, [0, 4, 9], 9), windows=()),
    "a crop": lambda volume: volume().crop(1, 2, 5, 6),
    "sheared": lambda volume: volume(
        attributes={"direction": "1 0 0 0 1 0 0 0.24253563 0.9701425", "position_mm": "0 0 0", "shear_deg": "14.0"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_of_image_comes_back(volume: Volume, tmp_path: Path, suffix: str, kind: str) -> None:
    image = OTHERS[kind](volume)
    write(image, tmp_path / f"a{suffix}")
    again = read_one(tmp_path / f"a{suffix}")
    assert np.array_equal(again.pixels, image.pixels)
    assert again.digest == image.digest
    assert np.array_equal(again.view(), image.view())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_crop_lies_where_it_was_cut_from(volume: Volume, tmp_path: Path, suffix: str) -> None:
    crop = volume().crop(1, 2, 5, 6)
    write(crop, tmp_path / f"a{suffix}")
    assert np.allclose(itk_places(tmp_path / f"a{suffix}"), places(crop), atol=1e-3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_uneven_slices_are_refused_and_nothing_is_left(volume: Volume, tmp_path: Path, suffix: str) -> None:
    uneven = volume(attributes={**volume().attributes, "slice_offsets_mm": "0 3 6 10 13"})
    with pytest.raises(
        ValueError, match=r"its slices are unevenly spaced, which \w+ does not hold; write \.npy or \.tif"
    ):
        write(uneven, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_another_kind_is_refused(volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png: a volume's name ends in one of \.nii, \.nii\.gz, \.nrrd, \.mha"):
        write(volume(), tmp_path / "a.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_was_moved_since_lies_where_it_says(volume: Volume, tmp_path: Path, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / f"a{suffix}"
    write(volume(), path)
    moved = sitk.ReadImage(str(path))
    moved.SetOrigin((50.0, 60.0, 70.0))
    sitk.WriteImage(moved, str(path))
    again = read_one(path)
    assert again.attributes["position_mm"] == "50 60 70"
    assert np.allclose(places(again), itk_places(path), atol=1e-3)


def test_the_unit_stands_in_the_header_for_others_to_read(volume: Volume, tmp_path: Path) -> None:
    import nibabel

    write(volume(), tmp_path / "a.nii.gz")
    header: Any = nibabel.loadsave.load(tmp_path / "a.nii.gz").header
    assert bytes(header["descrip"]).rstrip(b"\0") == b"unit=HU"
    assert header.get_xyzt_units()[0] == "mm"
    write(volume(), tmp_path / "a.nrrd")
    assert b"\nsample units: HU\n" in (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")[0]
    write(volume(unit="mask", pixels=values((5, 7, 6)) > 0), tmp_path / "mask.nii")
    assert int(nibabel.loadsave.load(tmp_path / "mask.nii").header["intent_code"]) == 1002
