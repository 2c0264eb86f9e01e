"""Arrays in memory that has been used before.

Memory that the system hands out is touched page by page for the first time, and for the results of quick kernels that takes
longer than the work: a megabyte costs four times what it costs to enlarge an image into it. What `empty` gives goes back to a
pool when the last array that looks at it is gone, and is handed out again. The pool keeps no more than `POOLED` bytes.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np


MAX_POOL_BYTES: Final = 128 * 2**20
_MIN_POOLED_BYTES: Final = 2**17  # smaller arrays come from memory that the C library keeps anyway


class ArrayPool:
    def __init__(self) -> None:
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)
        self._bytes, self._most = 0, MAX_POOL_BYTES  # a program that ends takes the names of its modules away first
        self._lock = threading.RLock()  # a lease may end, by the collector's doing, while this thread holds it

    def reset_after_fork(self) -> None:
        """Begin with a free lock in a forked child: the thread that held it is not there."""
        self._lock = threading.RLock()

    def take(self, size: int) -> bytearray | None:
        with self._lock:
            free = self._free[size]
            if not free:
                return None
            self._bytes -= size
            return free.pop()

    def give(self, memory: bytearray) -> None:
        size = len(memory)
        with self._lock:
            if self._bytes + size > self._most:  # other sizes make room: this one is asked for
                alike = self._free[size]
                self._free.clear()
                self._free[size], self._bytes = alike, size * len(alike)
            if self._bytes + size <= self._most:
                self._free[size].append(memory)
                self._bytes += size


_POOL: Final = ArrayPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.reset_after_fork)


def pooled_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array as of `numpy.empty`: contiguous, its values anything.

    Args:
        shape: Its shape.
        dtype: Its dtype, as numpy takes it.
    """
    import numpy as np

    kind = np.dtype(dtype)
    wanted = math.prod(shape) * kind.itemsize
    if wanted < _MIN_POOLED_BYTES:
        return np.empty(shape, kind)
    step = 1 << wanted.bit_length() - 4  # sizes in steps of an eighth, so that arrays of about one size share memory
    size = -(-wanted // step) * step
    memory = _POOL.take(size) or bytearray(size)
    return np.ndarray(shape, kind, _pooled_array_type()(size, np.uint8, memory))


@functools.cache
def _pooled_array_type() -> type[np.ndarray]:
    import numpy as np

    class Lease(np.ndarray):
        """A piece of memory, which returns to the pool with the last array that keeps this.

        An array that is made on it keeps it; were the memory an array too, it would keep that alone.
        """

        def __del__(self, give: Callable[[bytearray], None] = _POOL.give) -> None:
            memory: Any = self.base
            if type(memory) is bytearray:  # a part or a copy of this is none
                give(memory)

    return Lease
