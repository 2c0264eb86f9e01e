"""Results of deterministic tools by what they depend on, within a number of bytes."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from medvistagym_core.result import ToolResult

_OVERHEAD: Final = 1024


class ResultCache:
    """The results used last, as many as fit; safe to share between threads.

    Args:
        room: Bytes for pixels, texts and an allowance for the rest of each result; 0 keeps nothing.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._results: OrderedDict[Hashable, tuple[ToolResult, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

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
        if not self.room or result.error is not None:
            return
        size = _OVERHEAD + len(result.text) + sum(image.pixels.nbytes for image in result.images)
        if size > self.room // 4:
            return
        with self._lock:
            if key in self._results:
                return
            self._results[key] = result, size
            self._used += size
            while self._used > self.room:
                self._used -= self._results.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._results.clear()
            self._used = 0
