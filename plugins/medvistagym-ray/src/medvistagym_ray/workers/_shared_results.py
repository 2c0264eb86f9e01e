"""Results that the users of a named pool share: what one of them computed, another need not."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Sequence
from typing import Any, Final

import cachetools
import ray

from medvistagym_core.tools import ToolResult
from medvistagym_ray.cluster import NAMESPACE
from medvistagym_ray.workers._call_batch import SharedTool, images_of, map_images
from medvistagym_ray.workers._packed_image import pack_image, unpack_image
from medvistagym_ray.workers._tool_worker import WorkerIdentity

GROUP: Final = "results"
_ASK_S: Final = 30.0


class ResultStore:
    """The actor that keeps them, those used last, within a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._results: cachetools.LRUCache[bytes, bytes] = cachetools.LRUCache(max(1, max_bytes), len)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The results of calls, as they were put; None for one that is not there."""
        return [self._results.get(key) for key in keys]

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep results; one that takes more than a quarter of the room is not kept."""
        for key, value in entries:
            if len(value) <= self._results.maxsize // 4:
                self._results[key] = value

    def retire(self) -> None:
        """Nothing is left behind."""


class SharedResults:
    """One program's way to them.

    Args:
        pool: The pool's name.
        max_bytes: Memory for them, if this is the pool's first user.
    """

    def __init__(self, pool: str, max_bytes: int) -> None:
        self._store = (
            ray.remote(max_restarts=-1, max_task_retries=-1)(ResultStore)
            .options(
                name=WorkerIdentity(pool, GROUP, 0).actor_name,
                namespace=NAMESPACE,
                get_if_exists=True,
                lifetime="detached",
                num_cpus=0,
            )
            .remote(max_bytes)
        )

    def look_up(self, keys: Sequence[bytes]) -> list[ToolResult | None]:
        """Results by key; all None while the store does not answer, which costs no more than the work."""
        with contextlib.suppress(ray.exceptions.RayError):
            return [
                None if value is None else _unpack(value)
                for value in ray.get(self._store.get.remote(keys), timeout=_ASK_S)
            ]
        return [None] * len(keys)

    def keep(self, results: Sequence[tuple[bytes, ToolResult]]) -> None:
        """Have results kept, but for errors; nobody waits for it."""
        entries = [(key, _pack(result)) for key, result in results if result.error is None]
        if entries:
            self._store.put.remote(entries)


def result_key(tool: SharedTool, names: tuple[str, ...], arguments: dict[str, Any]) -> bytes:
    """SHA-256 of what a deterministic result depends on: the tool, its arguments, and the contents of the images.

    Args:
        tool: The tool.
        names: Its arguments that are images.
        arguments: Of the call, with images.
    """
    contents = [pack_image(image).key for image in images_of(arguments, names)]
    bare = map_images(arguments, names, lambda image: None)
    return hashlib.sha256(pickle.dumps((tool.key, bare, contents), protocol=5)).digest()


def _pack(result: ToolResult) -> bytes:
    images = [(one.body, [array.tobytes() for array in one.buffers]) for one in map(pack_image, result.images)]
    return pickle.dumps((result.text, result.data, images), protocol=5)


def _unpack(value: bytes) -> ToolResult:
    import numpy as np

    from medvistagym_ray.workers._packed_image import PackedImage

    text, data, images = pickle.loads(value)
    unpacked = [
        unpack_image(PackedImage(body, tuple(np.frombuffer(buffer, np.uint8) for buffer in buffers), b""))
        for body, buffers in images
    ]
    return ToolResult(tuple(unpacked), text, data, cached=True)
