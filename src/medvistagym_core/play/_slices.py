"""Slices of images as PNG files, as a browser asks for them; the last ones are kept, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_core.imaging import Image, Window, encode_png

if TYPE_CHECKING:
    import numpy as np

CACHE_BYTES: Final = 64 * 2**20
MAX_SIDE: Final = 2048


class SliceKey(NamedTuple):
    """Which picture of an image.

    Attributes:
        frame: Frame or slice, from 0.
        window: Centre and width to show it with; None for the image's own display.
        side: Longest side in pixels that is sent; a smaller image is sent at its own size.
    """

    frame: int
    window: tuple[float, float] | None = None
    side: int = 1024


class SliceCache:
    """Renders slices and keeps those that were asked for last.

    Args:
        max_bytes: Most bytes of PNG files that are kept.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pngs: OrderedDict[tuple[int, SliceKey], tuple[Image, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self.kept_bytes = 0

    def png(self, image: Image, key: SliceKey) -> bytes:
        """The PNG file of a slice.

        Raises:
            ValueError: The image has no such frame, or the window or the side cannot be.
        """
        cache_key = id(image), key  # the image is kept with its picture, so that its id is not given away
        with self._lock:
            if cache_key in self._pngs:
                self._pngs.move_to_end(cache_key)
                return self._pngs[cache_key][1]
        content = encode_png(render_slice(image, key))
        with self._lock:
            if cache_key not in self._pngs:
                self._pngs[cache_key] = image, content
                self.kept_bytes += len(content)
            while self.kept_bytes > self._max_bytes and len(self._pngs) > 1:
                self.kept_bytes -= len(self._pngs.popitem(last=False)[1][1])
        return content

    def clear(self) -> None:
        """Drop all pictures, and the images that they hold."""
        with self._lock:
            self._pngs.clear()
            self.kept_bytes = 0


def render_slice(image: Image, key: SliceKey) -> np.ndarray:
    """uint8 `(H, W)` or `(H, W, 3)` of one slice.

    Raises:
        ValueError: As for `SliceCache.png`.
    """
    if not 0 <= key.frame < image.frames:
        raise ValueError(f"there is no slice {key.frame}; the image has 0 to {image.frames - 1}")
    if not 1 <= key.side <= MAX_SIDE:
        raise ValueError(f"side is 1 to {MAX_SIDE} pixels, not {key.side}")
    view = image
    if image.is_stack:  # the range of a whole volume is found once, not again for each slice
        view = image.replace(frame=key.frame, value_range=image.display_range)
    if key.window is not None and image.photometric != "RGB":
        view = view.with_window(Window(*key.window, function="linear_exact"))
    side = key.side if max(image.shape) > key.side else None
    return view.view(side)
