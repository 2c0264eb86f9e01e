"""The images of one episode, by handle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_core.tools import (
    ToolCall,
)


class StoredImage(NamedTuple):
    """An image of an episode and where it came from: the handle it was made from and the call that made it, if any."""

    image: Image
    parent: int | None = None
    call: ToolCall | None = None


class ImageStore:
    """The images of one episode by handle: 0, 1, ..."""

    def __init__(self, images: Sequence[Image] = ()) -> None:
        self._images: Sequence[Image] = images if type(images) is tuple else [*images]
        self._origins: dict[int, tuple[int | None, ToolCall | None]] = {}  # of those that were added later

    def add(self, image: Image, parent: int | None = None, call: ToolCall | None = None) -> int:
        """Store an image; its handle."""
        handle = len(self._images)
        if not isinstance(self._images, list):  # those of a case are shared by its episodes, most of which add none
            self._images = [*self._images]
        self._images.append(image)
        self._origins[handle] = parent, call
        return handle

    @property
    def images(self) -> tuple[Image, ...]:
        """The images, by handle."""
        return tuple(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, handle: int) -> Image:
        return self._images[handle]

    def __iter__(self) -> Iterator[StoredImage]:
        for handle, image in enumerate(self._images):
            yield StoredImage(image, *self._origins.get(handle, ()))
