"""The images of calls in Ray's object store: placed once, named by content, and dropped when there are too many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import ray

from medvistagym_core.imaging import Image
from medvistagym_ray.cluster import ObjectStoreFullError
from medvistagym_ray.workers._packed_image import PackedImage, pack_image

_SHARE: Final = 0.25
"""Part of the object store that may be taken by images that no call uses at the moment."""


class _Bundle:
    """Images placed together.

    Attributes:
        ref: Ray's reference, which keeps them there.
        nbytes: Memory that they take.
        keys: Their contents.
    """

    def __init__(self, ref: Any, nbytes: int, keys: Sequence[bytes]) -> None:
        self.ref = ref
        self.nbytes = nbytes
        self.keys = keys


class ImageObjects:
    """The images that this process has placed in the object store, or got from it.

    An image crosses to a node once: a call names it by the bundle that it lies in, and Ray keeps what a node has fetched.

    Args:
        max_bytes: Memory that they may take, besides what calls in flight hold.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bundles: OrderedDict[Any, _Bundle] = OrderedDict()  # by reference, those used last at the end
        self._places: dict[bytes, tuple[_Bundle, int]] = {}
        self._keys: WeakKeyDictionary[Image, bytes] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self.placed = 0

    def place(self, images: Iterable[Image]) -> dict[int, tuple[Any, int]]:
        """Where images lie, by `id`: the reference of a bundle, and the position in it. Those that lie nowhere are placed.

        Raises:
            ObjectStoreFullError: There is no room for them.
        """
        with self._lock:
            located: dict[int, tuple[_Bundle, int]] = {}
            new: dict[bytes, PackedImage] = {}
            waiting: list[tuple[int, bytes]] = []
            for image in images:
                key = self._keys.get(image)
                packed = None
                if key is None:
                    packed = pack_image(image)
                    key = self._keys[image] = packed.key
                if key in self._places:
                    located[id(image)] = self._places[key]
                    self._bundles.move_to_end(self._places[key][0].ref)
                else:
                    if key not in new:
                        new[key] = packed or pack_image(image)
                    waiting.append((id(image), key))
            if new:
                bundle = _Bundle(_put(list(new.values())), sum(one.nbytes for one in new.values()), list(new))
                self.placed += len(new)
                self._keep(bundle)
                at = {key: position for position, key in enumerate(bundle.keys)}
                located |= {which: (bundle, at[key]) for which, key in waiting}
            return {which: (bundle.ref, position) for which, (bundle, position) in located.items()}

    def adopt(self, ref: Any, images: Sequence[Image], keys: Sequence[bytes], nbytes: int) -> None:
        """Know images that a worker made by the bundle in which it gave them back.

        Args:
            ref: The bundle.
            images: The images of it, in order.
            keys: Their contents.
            nbytes: Memory that they take.
        """
        with self._lock:
            for image, key in zip(images, keys, strict=True):
                self._keys[image] = key
            self._keep(_Bundle(ref, nbytes, keys))

    def clear(self) -> None:
        """Drop all that no call uses, as when a node is gone that had some of it."""
        with self._lock:
            self._bundles.clear()
            self._places.clear()
            self._bytes = 0

    def _keep(self, bundle: _Bundle) -> None:
        self._bundles[bundle.ref] = bundle
        self._bytes += bundle.nbytes
        for position, key in enumerate(bundle.keys):
            self._places[key] = bundle, position
        while self._bytes > self._max_bytes and len(self._bundles) > 1:
            _, dropped = self._bundles.popitem(last=False)
            self._bytes -= dropped.nbytes
            for key in dropped.keys:
                if self._places[key][0] is dropped:
                    del self._places[key]


def store_share() -> int:
    """How many bytes one program may keep in the object store of its node."""
    total = min((node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return int(total * _SHARE)


def _put(bundle: list[PackedImage]) -> Any:
    try:
        return ray.put(bundle)
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        mib = sum(one.nbytes for one in bundle) >> 20
        raise ObjectStoreFullError(store_full_sentence(f"the images of a batch ({mib} MiB)")) from error


def store_full_sentence(what: str) -> str:
    """What to do when the object store takes no more."""
    total = int(ray.cluster_resources().get("object_store_memory", 0)) >> 20
    return (
        f"Ray's object store of {total} MiB has no room for {what}: give it more (limits: {{object_store_mib: ...}} in the "
        "placement file, or `ray start --object-store-memory`), make room on its disk, or lower max_batch"
    )
