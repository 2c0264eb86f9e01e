"""VOI lookup tables of files and the pictures they make, against pydicom's (PS3.3 C.11.2.1.1)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from medvistagym_core import Image, LookupTable, Window
from medvistagym_core.imaging import Box
from medvistagym_dicom import auto_window, read_one, reformat, window, zoom

Named = Callable[[str], Image]
Reference = Callable[[str], tuple[pydicom.Dataset, np.ndarray | None]]
Write = Callable[..., Path]
RAMP = np.arange(0, 65536, 4, dtype=np.uint16).reshape(128, 128)
CURVE = (np.sqrt(np.arange(4096) / 4095) * 4095).astype(int)  # no window has this shape


def table(entries: np.ndarray, first: int, bits: int, kind: str = "<u2", **others: object) -> Dataset:
    """An item of a VOI LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.astype(kind).tobytes())
    for keyword, value in others.items():
        setattr(item, keyword, value)
    return item


def pydicoms(file: Path, top: int) -> np.ndarray:
    """Grey levels by pydicom, of its values after the modality transformation and its lookup table, not rounded."""
    ds = pydicom.dcmread(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of whole numbers kept as floats
        values = apply_modality_lut(ds.pixel_array, ds)
        seen: np.ndarray = apply_voi_lut(values, ds, prefer_lut=True) / top * 255
    return 255 - seen if ds.PhotometricInterpretation == "MONOCHROME1" else seen


def is_shown_as(image: Image, expected: np.ndarray) -> bool:
    """Whether the picture is right to half a grey level, read from a table of all values and, in part, by the formula."""
    part = np.abs(image.crop(0, 0, 40, 40).view() - expected[:40, :40]).max()
    return float(max(part, np.abs(image.view() - expected).max())) <= 0.501


def test_the_table_of_a_real_file_is_applied(image: Named, reference: Reference) -> None:
    picture, (ds, values) = image("vlut_04.dcm"), reference("vlut_04.dcm")
    assert values is not None
    assert isinstance(picture.window, LookupTable)
    assert picture.attributes["voi_lut"] == "a table"
    assert np.abs(picture.view() - apply_voi_lut(values, ds) / 65535 * 255).max() <= 0.501


@pytest.mark.parametrize(
    ("entries", "first", "bits", "stored", "elements"),
    [
        (CURVE, 0, 12, RAMP, {}),
        (CURVE, 0, 12, RAMP, {"PhotometricInterpretation": "MONOCHROME1"}),
        (CURVE[::-1], 0, 12, RAMP, {}),
        (CURVE, 500, 12, RAMP, {"implicit": True}),
        (CURVE, 500, 12, RAMP, {"big_endian": True}),
        (CURVE * 16, 40_000, 16, RAMP, {}),
        (CURVE, -2000, 12, (RAMP - 32768.0).astype(np.int16), {}),
        (CURVE, -2000, 12, (RAMP - 32768.0).astype(np.int16), {"implicit": True}),
        (CURVE, -1024, 12, RAMP // 16, {"RescaleSlope": 1, "RescaleIntercept": -1024}),
        (CURVE, -1024, 12, RAMP // 16, {"RescaleSlope": 2, "RescaleIntercept": -1024}),
        (CURVE, -300, 12, RAMP // 16, {"RescaleSlope": -1, "RescaleIntercept": 0}),
        (np.arange(65536) ** 2 // 65536, 0, 16, RAMP, {}),
        (np.array([0, 80, 90, 255]), 3, 8, RAMP // 4096, {}),
    ],
)
def test_tables_show_what_pydicom_shows(
    entries: np.ndarray, first: int, bits: int, stored: np.ndarray, elements: dict[str, Any], write: Write
) -> None:
    kind = ">u2" if "big_endian" in elements else "<u2"
    item = table(entries, first, bits, kind)
    file = write(stored, Modality="OT", **elements, VOILUTSequence=[item])
    picture = read_one(file)
    assert isinstance(picture.window, LookupTable)
    assert picture.window.first == first
    assert is_shown_as(picture, pydicoms(file, 2**bits - 1))
    assert len(np.unique(picture.view())) >= min(16, len(np.unique(entries)))


@pytest.mark.parametrize("first", [64512, -1024])
def test_a_first_value_that_can_only_be_negative_is(first: int, write: Write) -> None:
    item = table(CURVE, 0, 12)
    item["LUTDescriptor"].value[1] = first
    item["LUTDescriptor"].VR = "US" if first > 0 else "SS"
    picture = read_one(write(RAMP // 16, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[item]))
    assert isinstance(picture.window, LookupTable)
    assert picture.window.first == -1024
    assert np.array_equal(picture.view(), np.rint(CURVE[RAMP // 16] / 4095 * 255))


@pytest.mark.parametrize(("slope", "intercept", "first"), [(1, -1024, 38976), (1, -1, 65534), (0.75, -100, 49000)])
def test_a_first_value_that_is_possible_as_it_is_written_is_not_negative(
    slope: float, intercept: int, first: int, write: Write
) -> None:
    item = table(CURVE, first, 12)
    stored = np.clip(((first - intercept + np.arange(-64, 192)) / slope), 0, 65535).astype(np.uint16).reshape(16, 16)
    file = write(stored, Modality="OT", RescaleSlope=slope, RescaleIntercept=intercept, VOILUTSequence=[item])
    picture = read_one(file)
    assert isinstance(picture.window, LookupTable)
    assert picture.window.first == first


@pytest.mark.parametrize(
    ("slope", "intercept", "first"),
    [
        (2, -1024, -1024),  # 64512 could be too, but values that can be negative call for signed numbers
        (0.5, -1024, -1600),  # below all that there can be, and 63936 above
    ],
)
def test_a_first_value_that_had_to_be_written_as_unsigned_is_negative(
    slope: float, intercept: int, first: int, write: Write
) -> None:
    item = table(CURVE, 65536 + first, 12)
    picture = read_one(
        write(RAMP, Modality="OT", RescaleSlope=slope, RescaleIntercept=intercept, VOILUTSequence=[item])
    )
    assert isinstance(picture.window, LookupTable)
    assert picture.window.first == first


def test_a_table_above_the_signed_numbers_is_shown(write: Write) -> None:
    file = write(RAMP, Modality="OT", RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[table(CURVE, 38976, 12)])
    assert is_shown_as(read_one(file), pydicoms(file, 4095))
    assert len(np.unique(read_one(file).view())) > 200


def test_the_table_takes_what_a_modality_table_gives(write: Write) -> None:
    modality = table(np.arange(65535, 65535 - 4096, -1), 0, 16, ModalityLUTType="US")
    voi = table(CURVE[::-1], 65536 - 4096, 12)
    file = write((RAMP // 16).astype(np.int16), ModalityLUTSequence=[modality], VOILUTSequence=[voi])
    assert is_shown_as(read_one(file), pydicoms(file, 4095))


@pytest.mark.parametrize("big_endian", [False, True])
def test_entries_of_eight_bits_may_lie_one_to_a_byte(big_endian: bool, write: Write) -> None:
    curve = (np.sqrt(np.arange(256) / 255) * 255).astype(int)
    packed = curve.astype("u1").reshape(-1, 2)[:, :: -1 if big_endian else 1].reshape(-1)
    item = table(curve, 10, 8)
    item["LUTData"].value = packed.tobytes()
    stored = (RAMP // 256).astype(np.uint16)
    picture = read_one(write(stored, Modality="OT", VOILUTSequence=[item], big_endian=big_endian))
    assert np.array_equal(picture.view(), curve[np.clip(stored.astype(int) - 10, 0, 255)])


def test_fractional_values_get_what_lies_between_the_entries(write: Write) -> None:
    item = table(np.array([0, 100, 100, 255]), 0, 8)
    picture = read_one(
        write(np.array([[0, 1, 2, 3, 4, 5, 6, 9]], np.uint16), RescaleSlope="0.5", VOILUTSequence=[item], Modality="OT")
    )
    assert picture.view().tolist() == [[0, 50, 100, 100, 100, 178, 255, 255]]


@pytest.mark.parametrize("bits", [0, 8, 17, 65535])
def test_impossible_bits_leave_the_greatest_entry_white(bits: int, write: Write) -> None:
    picture = read_one(write(RAMP // 16, Modality="OT", VOILUTSequence=[table(CURVE, 0, bits)]))
    assert np.array_equal(picture.view(), np.rint(CURVE[RAMP // 16] / 4095 * 255))


def cut_off(item: Dataset) -> None:
    item["LUTData"].value = item["LUTData"].value[:100]


def without_data(item: Dataset) -> None:
    del item.LUTData


def without_descriptor(item: Dataset) -> None:
    del item.LUTDescriptor


def short_descriptor(item: Dataset) -> None:
    item["LUTDescriptor"].value = [4096, 0]


def of_one_level(item: Dataset) -> None:
    item["LUTData"].value = b"\7\0" * 4096


def beginning_at(kind: str, first: float) -> Callable[[Dataset], None]:
    def begin(item: Dataset) -> None:
        del item.LUTDescriptor
        item.add_new("LUTDescriptor", kind, [4096, first, 12])

    return begin


@pytest.mark.parametrize(
    "damage",
    [
        cut_off, without_data, without_descriptor, short_descriptor, of_one_level,
        beginning_at("FD", 1e300), beginning_at("SL", -(2**31)), beginning_at("SL", 65536), beginning_at("SL", -32769),
    ],
)  # fmt: skip
def test_a_damaged_table_is_passed_over(damage: Callable[[Dataset], None], write: Write) -> None:
    item = table(CURVE, 0, 12)
    damage(item)
    plain = read_one(write(RAMP, Modality="OT"))
    damaged = read_one(write(RAMP, Modality="OT", VOILUTSequence=[item]))
    assert damaged.attributes["voi_lut"] == "a damaged table"
    assert damaged.window == plain.window
    assert np.array_equal(damaged.view(), plain.view())
    second = read_one(write(RAMP, Modality="OT", VOILUTSequence=[item, table(CURVE, 0, 12)]))
    assert second.window == LookupTable.from_entries(0, CURVE, 4095, "lookup table")


def test_a_window_is_shown_rather_than_a_table_and_the_first_table_rather_than_others(write: Write) -> None:
    first, second = table(CURVE, 0, 12), table(CURVE[::-1], 0, 12)
    both = read_one(write(RAMP, VOILUTSequence=[first], WindowCenter=40, WindowWidth=400))
    assert (both.window, both.attributes["voi_lut"]) == (Window(40, 400), "a table besides the windows")
    assert read_one(write(RAMP, VOILUTSequence=[first, second])).window == LookupTable.from_entries(
        0, CURVE, 4095, "lookup table"
    )


def test_frames_may_have_a_table_in_functional_groups(write: Write) -> None:
    frame, group, shared = Dataset(), Dataset(), table(CURVE[::-1], 0, 12)
    frame.VOILUTSequence = [table(CURVE, 0, 12)]
    group.FrameVOILUTSequence = [frame]
    stack = read_one(
        write(np.stack([RAMP] * 2), PerFrameFunctionalGroupsSequence=[group, group], VOILUTSequence=[shared])
    )
    assert stack.window == LookupTable.from_entries(0, CURVE, 4095, "lookup table")


def test_what_a_table_is_said_to_be_for_never_leaves_the_reader(write: Write) -> None:
    item = table(CURVE, 0, 12, LUTExplanation="for Ms Miller")
    picture = read_one(write(RAMP, VOILUTSequence=[item]))
    assert isinstance(picture.window, LookupTable)
    assert "Miller" not in repr((picture, picture.window, dict(picture.attributes), picture.window.name))


def test_tools_keep_the_table_and_window_replaces_it(write: Write) -> None:
    picture = read_one(write(RAMP // 16, Modality="OT", PixelSpacing=[1, 1], VOILUTSequence=[table(CURVE, 0, 12)]))
    part = zoom(picture, Box(0, 0, 250, 250))
    assert part.window == picture.window
    inside, enlarged = picture.view()[16:32, :32], part.view(32)[16:]  # below the steep foot of the curve
    assert np.abs(inside.astype(int) - enlarged).max() <= 1
    assert window(picture, center=40.0, width=400.0).window == Window(40, 400)
    assert window(part, center=40.0, width=400.0).view().tolist() != part.view().tolist()
    assert isinstance(auto_window(picture)[0].window, Window)


def test_a_slice_of_a_volume_keeps_the_table(tmp_path: Path, write: Write) -> None:
    for k in range(4):
        write(
            (RAMP // 16).astype(np.int16), Modality="MR", PixelSpacing=[1, 1], SeriesInstanceUID="1.2.3", InstanceNumber=k + 1,
            ImagePositionPatient=[0, 0, k], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], VOILUTSequence=[table(CURVE, 0, 12)],
        )  # fmt: skip
    volume = read_one(tmp_path)
    assert volume.frames == 4
    cut = reformat(volume, plane="axial", index=2)
    cut = cut[0] if isinstance(cut, tuple) else cut
    assert cut.window == volume.window == LookupTable.from_entries(0, CURVE, 4095, "lookup table")
    assert set(np.unique(cut.view())) == set(np.unique(volume.view()))
