"""Arrays in memory that has been used before.

Memory that the system hands out is touched page by page for the first time, and for the results of quick kernels that takes
longer than the work: a megabyte costs four times what it costs to enlarge an image into it. What `empty` gives goes back to a
pool when the last array that looks at it is gone, and is handed out again. The pool keeps no more than `POOLED` bytes.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.forks import in_child

if TYPE_CHECKING:
    import numpy as np

POOLED: Final = 128 * 2**20
_LEAST: Final = 2**17  # smaller arrays come from memory that the C library keeps anyway


class _Lease:
    """Owner of a piece of memory, which returns it when nobody looks at it any more."""

    __slots__ = ("__array_interface__", "_memory")

    def __init__(self, memory: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._memory = memory
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (memory.ctypes.data, False),
        }

    def __del__(self) -> None:
        _POOL.give(self._memory)


class _Pool:
    def __init__(self) -> None:
        self._free: defaultdict[int, list[np.ndarray]] = defaultdict(list)
        self._bytes = 0
        self._lock = threading.RLock()  # a lease may end, by the collector's doing, while this thread holds it

    def forget(self) -> None:
        """Begin with a free lock in a forked child: the thread that held it is not there."""
        self._lock = threading.RLock()

    def take(self, size: int) -> np.ndarray | None:
        with self._lock:
            free = self._free[size]
            if not free:
                return None
            self._bytes -= size
            return free.pop()

    def give(self, memory: np.ndarray) -> None:
        with self._lock:
            if self._bytes + memory.size <= POOLED:
                self._free[memory.size].append(memory)
                self._bytes += memory.size


_POOL: Final = _Pool()
in_child(_POOL)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array as of `numpy.empty`: contiguous, its values anything."""
    import numpy as np

    kind = np.dtype(dtype)
    wanted = math.prod(shape) * kind.itemsize
    if wanted < _LEAST:
        return np.empty(shape, kind)
    step = 2 ** (wanted.bit_length() - 4)  # sizes in steps of an eighth, so that arrays of about one size share memory
    size = -(-wanted // step) * step
    memory = _POOL.take(size)
    if memory is None:
        memory = np.empty(size, np.uint8)
    return np.asarray(_Lease(memory, shape, kind))
