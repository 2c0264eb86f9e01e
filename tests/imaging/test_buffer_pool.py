"""Memory of arrays that are gone is handed out again, and that of arrays that are not never is."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core import Image
from medvistagym_core.imaging import MAX_POOL_BYTES, pooled_empty

SHAPE = (600, 300)


def address(array: np.ndarray) -> Any:
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_view_is_gone() -> None:
    first = pooled_empty(SHAPE, np.float32)
    assert (first.shape, first.dtype, first.flags.c_contiguous) == (SHAPE, np.float32, True)
    first[:] = 7
    where, part = address(first), first[10:20].T
    del first
    other = pooled_empty(SHAPE, np.float32)
    other[:] = 1
    assert address(other) != where
    assert (part == 7).all()
    del part
    assert address(pooled_empty(SHAPE, np.float32)) == where
    assert address(pooled_empty((596, 301), np.int32)) == where  # of about one size


def test_live_arrays_share_nothing() -> None:
    arrays = [pooled_empty(SHAPE, np.float32) for _ in range(20)]
    for k, array in enumerate(arrays):
        array[:] = k
    assert [int(array.min()) for array in arrays] == [int(array.max()) for array in arrays] == list(range(20))


def test_small_and_empty_arrays_are_plain_ones() -> None:
    assert pooled_empty((3, 4), bool).shape == (3, 4)
    assert pooled_empty((0, 5), np.float64).shape == (0, 5)


EXPORTS: dict[str, Callable[[np.ndarray], Any]] = {
    "memoryview": memoryview,
    "DLPack": np.from_dlpack,
    "buffer": lambda array: np.frombuffer(array, array.dtype),
    "Pillow": lambda array: PIL.Image.frombuffer("L", array.shape[::-1], array, "raw", "L", 0, 1),
    "image": lambda array: Image(pixels=array).crop(1, 1, 9, 9).pixels,
    "pickle": lambda array: pickle.PickleBuffer(array).raw(),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_memory_that_was_handed_on_is_not_handed_out(name: str) -> None:
    kept = []
    for mark in range(6):
        array = pooled_empty((600, 500), np.uint8)
        array[:] = mark
        kept.append(EXPORTS[name](array))
        del array
        pooled_empty((600, 500), np.uint8)[:] = 255
    assert [int(np.asarray(one).min()) for one in kept] == list(range(6))
    assert [int(np.asarray(one).max()) for one in kept] == list(range(6))


def test_threads_may_ask_at_once() -> None:
    wrong: list[int] = []

    def work(mark: int) -> None:
        for _ in range(200):
            array = pooled_empty(SHAPE, np.float32)
            array[:] = mark
            if int(array.min()) != mark or int(array.max()) != mark:
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_pool_does_not_grow_without_end() -> None:
    large = pooled_empty((MAX_POOL_BYTES + 1,), np.uint8)
    assert large.nbytes == MAX_POOL_BYTES + 1
    del large
    kept = [pooled_empty((MAX_POOL_BYTES // 4,), np.uint8) for _ in range(6)]
    places = {address(array) for array in kept}
    kept.clear()
    again = [pooled_empty((MAX_POOL_BYTES // 4,), np.uint8) for _ in range(4)]
    assert {address(array) for array in again} <= places


def test_when_the_pool_is_full_sizes_that_were_used_before_make_room() -> None:
    kept = [pooled_empty((MAX_POOL_BYTES // 4,), np.uint8) for _ in range(4)]
    kept.clear()
    first = pooled_empty(SHAPE, np.float32)
    where = address(first)
    del first
    assert address(pooled_empty(SHAPE, np.float32)) == where


def test_a_part_or_a_copy_of_what_an_array_lies_on_gives_no_memory_back() -> None:
    array = pooled_empty(SHAPE, np.float32)
    array[:] = 7
    base: Any = array.base
    part, copy = base[:100], base.copy()
    del part, copy, base
    other = pooled_empty(SHAPE, np.float32)
    other[:] = 1
    assert (array == 7).all()


def test_an_array_that_outlives_the_program_is_quiet() -> None:
    program = (
        "import numpy; from medvistagym_core.imaging import pooled_empty; numpy.kept = pooled_empty((600, 300), 'f4')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
