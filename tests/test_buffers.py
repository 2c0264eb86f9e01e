"""Memory of arrays that are gone is handed out again, and that of arrays that are not never is."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from medvistagym_core.buffers import POOLED, empty

SHAPE = (600, 300)


def address(array: np.ndarray) -> Any:
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_view_is_gone() -> None:
    first = empty(SHAPE, np.float32)
    assert (first.shape, first.dtype, first.flags.c_contiguous) == (SHAPE, np.float32, True)
    first[:] = 7
    where, part = address(first), first[10:20].T
    del first
    other = empty(SHAPE, np.float32)
    other[:] = 1
    assert address(other) != where
    assert (part == 7).all()
    del part
    assert address(empty(SHAPE, np.float32)) == where
    assert address(empty((596, 301), np.int32)) == where  # of about one size


def test_live_arrays_share_nothing() -> None:
    arrays = [empty(SHAPE, np.float32) for _ in range(20)]
    for k, array in enumerate(arrays):
        array[:] = k
    assert [int(array.min()) for array in arrays] == [int(array.max()) for array in arrays] == list(range(20))


def test_small_and_empty_arrays_are_plain_ones() -> None:
    assert empty((3, 4), bool).shape == (3, 4)
    assert empty((0, 5), np.float64).shape == (0, 5)


def test_threads_may_ask_at_once() -> None:
    wrong: list[int] = []

    def work(mark: int) -> None:
        for _ in range(200):
            array = empty(SHAPE, np.float32)
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
    large = empty((POOLED + 1,), np.uint8)
    assert large.nbytes == POOLED + 1
    del large
    kept = [empty((POOLED // 4,), np.uint8) for _ in range(6)]
    places = {address(array) for array in kept}
    kept.clear()
    again = [empty((POOLED // 4,), np.uint8) for _ in range(4)]
    assert {address(array) for array in again} <= places
