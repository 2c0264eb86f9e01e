"""A cache of results of deterministic tools, keyed by all that they depend on and bounded in bytes."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from operator import itemgetter
from typing import Any, Final, NamedTuple

import cachetools

from medvistagym_core.execution._fork import register_fork_reset
from medvistagym_core.imaging import Image
from medvistagym_core.tools import Perturbation, ToolResult, copy_json_value

CACHE_BYTES: Final = 256 * 2**20
"""Memory for results, unless an executor is told otherwise."""
_ENTRY_OVERHEAD_BYTES: Final = 1024
_RENDERED_BYTES_PER_PIXEL: Final = 5
"""Of a result's image as it is shown, which it keeps once it was asked for: 8-bit greys, and RGB at Pillow's four bytes."""


class _Entry(NamedTuple):
    """The bytes that a result takes, and what is kept of it: its facts are a copy that nobody else can change."""

    nbytes: int
    images: tuple[Image, ...]
    text: str
    data: dict[str, Any] | None
    handles: tuple[int, ...]
    repairs: tuple[str, ...]
    perturbation: Perturbation | None


class ResultCache:
    """The results used last, as many as fit; safe to share between threads.

    Args:
        max_bytes: For the arrays that results keep alive, their pictures, texts and an allowance for the rest; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._results: cachetools.LRUCache[Hashable, _Entry] = cachetools.LRUCache(max_bytes, itemgetter(0))
        self._lock = threading.Lock()
        register_fork_reset(self)

    def get(self, key: Hashable) -> ToolResult | None:
        """The result kept under `key`, with facts of its own to change."""
        with self._lock:
            entry = self._results.get(key)
        if entry is None:
            return None
        return ToolResult(
            entry.images,
            entry.text,
            None if entry.data is None else copy_json_value(entry.data),
            handles=entry.handles,
            cached=True,
            repairs=entry.repairs,
            perturbation=entry.perturbation,
        )

    def put(self, key: Hashable, result: ToolResult) -> None:
        """Keep a result, unless it is an error or would take more than a quarter of the room.

        Args:
            key: All that the result depends on.
            result: The result; its arrays are kept alive, its data are copied.
        """
        if not self.max_bytes or result.error is not None:
            return
        nbytes = _count_retained_bytes(result)
        if nbytes > self.max_bytes // 4:
            return
        data = None if result.data is None else copy_json_value(result.data)
        entry = _Entry(nbytes, result.images, result.text, data, result.handles, result.repairs, result.perturbation)
        with self._lock:
            self._results[key] = entry

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._results.clear()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.Lock()
        self.clear()


def _count_retained_bytes(result: ToolResult) -> int:
    """The memory that a result keeps in use: a crop is a view and keeps the whole array that it was cut from."""
    if not result.images:
        return _ENTRY_OVERHEAD_BYTES + len(result.text)
    arrays: dict[int, int] = {}
    rendered = 0
    for image in result.images:
        height, width = image.shape
        rendered += _RENDERED_BYTES_PER_PIXEL * height * width
        layer: Image | None = image
        while layer is not None:
            array = layer.pixels
            while isinstance(array.base, type(array)):
                array = array.base
            arrays[id(array)] = array.nbytes
            layer = layer.detail
    return _ENTRY_OVERHEAD_BYTES + len(result.text) + sum(arrays.values()) + rendered
