"""What a policy is shown of an image: an 8-bit view, with the forms in which processors and files take it."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedImage:
    """What a policy sees of an image.

    Attributes:
        pixels: uint8 `(H, W)`, or `(H, W, 3)` in colour.
        file: A PNG file that holds just these pixels, where there is one already.
    """

    pixels: np.ndarray
    file: bytes | None = dataclasses.field(default=None, repr=False)

    @cached_property
    def pil(self) -> PIL.Image.Image:
        """The picture in RGB, as vision processors take it."""
        import PIL.Image

        return PIL.Image.fromarray(self.pixels).convert("RGB")

    @cached_property
    def rgb(self) -> np.ndarray:
        """The picture as uint8 `(H, W, 3)`, read-only."""
        import numpy as np

        pixels = self.pixels
        # Greys are looked at three times, not copied: that would take longer than to make the picture.
        rgb = pixels.view() if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
        rgb.flags.writeable = False
        return rgb

    @cached_property
    def png(self) -> bytes:
        """The picture as a PNG file, for a record and an endpoint alike."""
        from medvistagym_core.imaging._picture_files import encode_png

        return encode_png(self.pixels) if self.file is None else self.file

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the pixels and their shape, as hexadecimal text."""
        import numpy as np

        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()
