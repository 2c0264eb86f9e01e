"""What an array must be to be the pixels of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def as_pixel_array(pixels: Any, photometric: str | None, *, are_frames: bool) -> np.ndarray:
    """Pixels, checked, as an array that is read-only: themselves, or a view of them.

    Args:
        pixels: Anything that speaks DLPack or the array protocol.
        photometric: As of an image; None where nobody has said it.
        are_frames: Whether something else says that the first axis counts frames.

    Raises:
        ValueError: It is no image, or may as well be a colour picture as a stack of frames.
    """
    import numpy as np

    if not isinstance(pixels, np.ndarray):
        pixels = np.from_dlpack(pixels) if hasattr(pixels, "__dlpack__") else np.asarray(pixels)
    if pixels.dtype.kind not in "biuf":
        raise ValueError(f"the pixels of an image are real numbers, not {pixels.dtype}")
    if photometric is None and not are_frames and pixels.ndim == 3 and _ends_in_channels(pixels.shape):
        frames, rows, columns = pixels.shape
        raise ValueError(
            f"pixels of shape {pixels.shape} may be a picture with {columns} channels or {frames} frames of {columns} x {rows} "
            f'pixels: give {_channel_advice(columns)}, or photometric="MONOCHROME2" for frames'
        )
    colour = photometric == "RGB"
    if pixels.ndim - colour not in (2, 3) or (colour and pixels.shape[-1] != 3):
        expected = "(H, W, 3) or (N, H, W, 3)" if colour else "(H, W) or (N, H, W)"
        hint = ' (photometric="RGB" for colours)' if not colour and pixels.ndim == 4 and pixels.shape[-1] == 3 else ""
        hint = (
            " (mix the transparency in first)" if colour and pixels.ndim in (3, 4) and pixels.shape[-1] == 4 else hint
        )
        raise ValueError(
            f"the pixels of a {photometric or 'MONOCHROME2'} image have shape {expected}, not {pixels.shape}{hint}"
        )
    if pixels.size == 0:
        raise ValueError(f"an image needs at least one pixel, not the shape {pixels.shape}")
    array: np.ndarray = pixels
    if array.flags.writeable:  # those of another image, or a part of them, are not
        array = array.view()
        array.flags.writeable = False
    return array


def _ends_in_channels(shape: tuple[int, ...]) -> bool:
    """Whether the last axis looks like channels: 3 always does, 1, 2 and 4 where rows would be more than columns."""
    return shape[-1] == 3 or (shape[-1] in (1, 2, 4) and shape[-2] > shape[-1])


def _channel_advice(channels: int) -> str:
    if channels == 1:
        return "pixels[..., 0] for a picture"
    advice = 'photometric="RGB" for colours'
    return advice if channels == 3 else f"three of the {channels} channels and {advice}"
