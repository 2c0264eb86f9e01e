"""Lookup tables as what an image is displayed by: values to greys, kept, told apart, recorded and sent like a window."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image, LookupTable, Window
from medvistagym_core.execution import ImageStore
from medvistagym_core.trajectories import ImageRecord, image_record

ENTRIES = [0, 1000, 1500, 4000, 2000]
TABLE = LookupTable.from_entries(-2, ENTRIES, 4000)
GREYS = np.array(ENTRIES) / 4000 * 255


def test_values_get_the_entries_and_those_outside_the_nearest() -> None:
    values = np.array([[-1000, -3, -2, -1, 0, 1, 2, 3, 70000]])
    expected = GREYS[[0, 0, 0, 1, 2, 3, 4, 4, 4]]
    assert np.allclose(TABLE.apply(values), [expected])
    image = Image(pixels=values, window=TABLE)
    assert image.view().tolist() == [np.rint(expected).tolist()]
    assert image.replace(photometric="MONOCHROME1").view().tolist() == [(255 - np.rint(expected)).tolist()]


def test_between_entries_there_is_a_line_and_what_is_no_number_is_black() -> None:
    values = np.array([-1.5, 0.25, np.nan, np.inf, -np.inf], np.float32)
    expected = [500 / 4000 * 255, 2125 / 4000 * 255, 0, GREYS[4], GREYS[0]]
    assert np.allclose(TABLE.apply(values), expected)
    assert Image(pixels=values[None], window=TABLE).view().tolist() == [np.rint(expected).tolist()]


@pytest.mark.parametrize("kind", ["i1", "u1", "<i2", "<u2", ">i2", "<i4", "<i8", "<f4", "<f8"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_large_pictures_show_what_small_ones_do(kind: str, photometric: Any) -> None:
    rng = np.random.default_rng(3)
    table = LookupTable.from_entries(-50, rng.integers(0, 65536, 200), 65535)
    values = rng.integers(-128 if "u" not in kind else 0, 128, (160, 170)).astype(kind)
    image = Image(pixels=values, photometric=photometric, window=table)
    expected = np.rint(table.apply(values)).astype(np.uint8)
    assert np.array_equal(image.view(), expected if photometric == "MONOCHROME2" else 255 - expected)
    assert np.array_equal(image.crop(3, 4, 60, 50).view(), image.view()[4:50, 3:60])


def test_a_table_follows_the_image_through_crops_and_sizes() -> None:
    image = Image(pixels=np.arange(-8, 8).reshape(4, 4), window=TABLE)
    assert (
        image.crop(0, 0, 2, 2).window
        == image.resized(8, 8).window
        == image.with_pixels(image.pixels[::-1]).window
        == image.with_pixels(image.pixels * 2, window="keep").window
        == TABLE
    )
    assert image.with_window(Window(0, 4)).window == Window(0, 4)
    detail = image.resized(8, 8).with_window(Window(0, 4)).with_window(TABLE).detail
    assert detail is not None
    assert detail.window == TABLE


def test_the_table_counts_in_what_an_image_is() -> None:
    image = Image(pixels=np.arange(-8, 8).reshape(4, 4))
    others = [
        TABLE, LookupTable.from_entries(-2, [0, 1000, 1501, 4000, 2000], 4000), LookupTable.from_entries(-1, ENTRIES, 4000),
        LookupTable.from_entries(-2, ENTRIES, 4095), Window(TABLE.center, TABLE.width), None,
    ]  # fmt: skip
    assert len({image.replace(window=one).digest for one in others}) == len(others)
    assert len({image.replace(window=one).cache_key for one in others}) == len(others)
    again = LookupTable.from_entries(-2, ENTRIES, 4000)
    assert (again, hash(again), repr(again)) == (TABLE, hash(TABLE), repr(TABLE))
    assert image.replace(window=again).digest == image.replace(window=TABLE).digest


def test_a_table_travels_to_another_process_as_it_is() -> None:
    image = Image(pixels=np.arange(-8, 8).reshape(4, 4), window=TABLE)
    seen = image.view()
    sent = pickle.loads(pickle.dumps(image))
    assert (sent.window, sent.digest) == (TABLE, image.digest)
    assert np.array_equal(sent.view(), seen)


def test_a_record_tells_the_range_of_the_table() -> None:
    image = Image(
        pixels=np.arange(-8, 8).reshape(4, 4), window=LookupTable.from_entries(-2, ENTRIES, 4000, "lookup table")
    )
    (stored,) = ImageStore([image])
    record = image_record(stored, image.rendered(None), None, None)
    assert (record.window_center, record.window_width, record.window_function) == (0, 5, "table")
    assert ImageRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LookupTable(0, b"", 255), "1 to 65536 entries of 2 bytes, not 0 bytes"),
        (lambda: LookupTable(0, b"\1\2\3", 255), "1 to 65536 entries of 2 bytes, not 3 bytes"),
        (lambda: LookupTable(0, bytes(2 * 65537), 255), "1 to 65536 entries"),
        (lambda: LookupTable.from_entries(0, [0, 300], 255), "lies from its highest entry, 300, to 65535, not at 255"),
        (lambda: LookupTable.from_entries(0, [0, 0], 0), "not at 0"),
        (lambda: LookupTable.from_entries(0, [0, 3], 65536), "not at 65536"),
        (lambda: LookupTable.from_entries(0, [0.5, 3], 9), "whole numbers from 0 to 9"),  # type: ignore[list-item]
        (lambda: LookupTable.from_entries(0, [-1, 3], 9), "whole numbers from 0 to 9"),
        (lambda: LookupTable.from_entries(0, [0, 65536], 9), "whole numbers from 0 to 9"),
        (lambda: LookupTable.from_entries(0, [[1, 2], [3, 4]], 9), r"one after another, not an array of \(2, 2\)"),  # type: ignore[list-item]
        (lambda: LookupTable.from_entries(-32769, [1, 2], 9), "from -32768 to 65535, not at -32769"),
        (lambda: LookupTable.from_entries(65536, [1, 2], 9), "not at 65536"),
        (lambda: LookupTable.from_entries(10**40, [1, 2], 9), "not at 1000"),
        (lambda: LookupTable.from_entries(0.5, [1, 2], 9), "not at 0.5"),  # type: ignore[arg-type]
        (lambda: LookupTable.from_entries(True, [1, 2], 9), "not at True"),
    ],
)
def test_an_impossible_table_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("first", [-32768, np.int64(-5), np.uint16(65535)])
def test_a_table_begins_at_any_number_of_16_bits(first: Any) -> None:
    table = LookupTable.from_entries(first, [1, 2], 9)
    assert (table.first, repr(table)) == (int(first), repr(LookupTable.from_entries(int(first), [1, 2], 9)))
