"""Results of deterministic tools by what they depend on, within a number of bytes."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final

from medvistagym_core.execution._fork import register_fork_reset
from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolResult

_ENTRY_OVERHEAD_BYTES: Final = 1024


class ResultCache:
    """The results used last, as many as fit; safe to share between threads.

    Args:
        room: Bytes for pixels, texts and an allowance for the rest of each result; 0 keeps nothing. A crop keeps the whole
            array alive that it is a view of, so that is what counts, once for all results that share it.
    """

    def __init__(self, room: int) -> None:
        self.max_bytes = room
        self._results: OrderedDict[Hashable, tuple[ToolResult, int, dict[int, int]]] = OrderedDict()
        self._sharing: dict[int, int] = {}  # the number of results that keep an array, by its id
        self._used = 0
        self._lock = threading.Lock()
        register_fork_reset(self)

    def get(self, key: Hashable) -> ToolResult | None:
        """The result kept under `key`."""
        found = self._results.get(key)
        if found is None:
            return None
        with contextlib.suppress(KeyError):  # another thread has just dropped it; the result is as good
            self._results.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, result: ToolResult) -> None:
        """Keep a result, unless it is an error or would take more than a quarter of the room."""
        if not self.max_bytes or result.error is not None:
            return
        size, arrays = _ENTRY_OVERHEAD_BYTES + len(result.text), _retained_array_bytes(result.images)
        if size + sum(arrays.values()) > self.max_bytes // 4:
            return
        kept = result.as_cache_hit()
        with self._lock:
            if key in self._results:
                return
            self._results[key] = kept, size, arrays
            self._used += size
            for array, taken in arrays.items():
                count = self._sharing[array] = self._sharing.get(array, 0) + 1
                self._used += taken if count == 1 else 0
            while self._used > self.max_bytes:
                self._drop()

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._results.clear()
            self._sharing.clear()
            self._used = 0

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.Lock()
        self.clear()

    def _drop(self) -> None:
        _, size, arrays = self._results.popitem(last=False)[1]
        self._used -= size
        for array, taken in arrays.items():
            self._sharing[array] -= 1
            if not self._sharing[array]:
                del self._sharing[array]
                self._used -= taken


def _retained_array_bytes(images: Sequence[Image]) -> dict[int, int]:
    """The bytes of each array that images keep alive, by its id."""
    arrays: dict[int, int] = {}
    for image in images:
        layer: Image | None = image
        while layer is not None:
            array = layer.pixels
            while isinstance(array.base, type(array)):
                array = array.base
            arrays[id(array)] = array.nbytes
            layer = layer.detail
    return arrays
