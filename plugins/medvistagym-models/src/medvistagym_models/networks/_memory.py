"""The models that are loaded, as many as memory holds; those used least recently make room for others."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

from medvistagym_core.tools import OutOfMemoryToolError, free_unused_memory, wrap_exception

LOADED_SIZE: Final = 1.3
"""Memory that a loaded model takes, for each byte of its files: its weights, and what they are read through."""
RESERVE_BYTES: Final = 512 * 2**20
"""Memory that is left for images and for what networks make on their way."""


class LoadedModels:
    """Loaded models by key; safe to share between threads.

    Before a model is loaded, others that nobody uses are unloaded until there is memory for it. When memory runs out all the
    same, all of those are unloaded, and what failed is left to the caller to try again.

    Args:
        free_bytes: Memory that is free on a device.
    """

    def __init__(self, free_bytes: Callable[[str], int | None] | None = None) -> None:
        self._free_bytes = free_bytes or free_memory
        self._models: OrderedDict[Hashable, Any] = OrderedDict()  # the one used last at the end
        self._users: dict[Hashable, int] = {}
        self._devices: dict[Hashable, str] = {}
        self._lock = threading.RLock()
        self._loading = threading.Lock()  # one model at a time, while others are used

    @contextlib.contextmanager
    def use(self, key: Hashable, device: str, size_bytes: int, load: Callable[[], Any]) -> Iterator[Any]:
        """A model for the time being, loaded if it is not there.

        Args:
            key: What tells it from others.
            device: Where it is loaded.
            size_bytes: Of its files.
            load: Loads it.
        """
        model = self._take(key)
        if model is None:
            with self._loading:
                model = self._take(key) or self._load(key, device, size_bytes, load)
        try:
            yield model
        except Exception as error:
            if isinstance(wrap_exception("", error), OutOfMemoryToolError):
                self.unload_idle(device)
            raise
        finally:
            with self._lock:
                self._users[key] -= 1

    def unload_idle(self, device: str) -> None:
        """Unload every model on a device that nobody uses now."""
        with self._lock:
            for key in self._idle(device):
                self._drop(key)
        free_unused_memory()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._models

    def _take(self, key: Hashable) -> Any:
        """The model, which then counts as used; None if it is not there."""
        with self._lock:
            if key not in self._models:
                return None
            self._models.move_to_end(key)
            self._users[key] = self._users.get(key, 0) + 1
            return self._models[key]

    def _load(self, key: Hashable, device: str, size_bytes: int, load: Callable[[], Any]) -> Any:
        """The model, loaded, which then counts as used."""
        need = int(size_bytes * LOADED_SIZE) + RESERVE_BYTES
        while (free := self._free_bytes(device)) is not None and free < need:
            with self._lock:
                idle = self._idle(device)
                if not idle:
                    break
                self._drop(idle[0])
            free_unused_memory()
        try:
            model = load()
        except Exception as error:
            if not (isinstance(wrap_exception("", error), OutOfMemoryToolError) and self._idle(device)):
                raise
            model = None
        if model is None:  # outside of the handler, whose error keeps alive what was allocated
            self.unload_idle(device)
            model = load()
        with self._lock:
            self._models[key], self._devices[key], self._users[key] = model, device, 1
        return model

    def _idle(self, device: str) -> list[Hashable]:
        """The models on a device that nobody uses, the one not used for longest first."""
        return [key for key in self._models if not self._users.get(key) and self._devices[key] == device]

    def _drop(self, key: Hashable) -> None:
        del self._models[key], self._devices[key]
        self._users.pop(key, None)


def free_memory(device: str) -> int | None:
    """Bytes that are free on a device; None where that is not known."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(int(number or 0))[0])
    if kind == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return None


LOADED: Final = LoadedModels()
"""The models of this process."""
