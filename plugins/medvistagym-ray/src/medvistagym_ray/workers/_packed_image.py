"""Images as they cross to workers and back: arrays as they lie in memory beside a small pickle, and a key of their content.

An array keeps its strides: numpy adds up floats in the order in which they lie, so a crop that arrived as a compact copy would
have a mean that differs in its last bit from that of the same crop in the process that made it.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash

from medvistagym_core.imaging import Image


class PackedImage(NamedTuple):
    """An image in parts.

    Attributes:
        body: A pickle without the arrays.
        buffers: The arrays, uint8 of shape `(bytes,)`, which Ray places in shared memory.
        key: 128-bit hash of all of it (XXH3); equal for images with equal content that lie in memory in the same way.
    """

    body: bytes
    buffers: tuple[np.ndarray, ...]
    key: bytes

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return len(self.body) + sum(buffer.nbytes for buffer in self.buffers)


class _ImagePickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and not (value.flags.c_contiguous or value.flags.f_contiguous):
            low, high = np.lib.array_utils.byte_bounds(value)
            offset = value.__array_interface__["data"][0] - low
            memory = np.lib.stride_tricks.as_strided(
                value[_corner(value)].reshape(-1)[:1].view(np.uint8), (high - low,), (1,)
            )
            return _restore_strided, (memory, value.dtype, value.shape, value.strides, offset)
        return NotImplemented


def _corner(value: np.ndarray) -> tuple[slice, ...]:
    """The element at the lowest address."""
    return tuple(slice(-1, None) if step < 0 else slice(0, 1) for step in value.strides)


def _restore_strided(
    memory: np.ndarray, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> np.ndarray:
    return np.ndarray(shape, dtype, memory, offset, strides)


def pack_image(image: Image) -> PackedImage:
    """The parts of an image; its arrays are not copied."""
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    pickler = _ImagePickler(file, protocol=5, buffer_callback=buffers.append)
    pickler.fast = True  # without references to what came before, so that equal images have equal pickles
    pickler.dump(image)
    body = file.getvalue()
    arrays = tuple(np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers)
    content = xxhash.xxh3_128(body)
    for array in arrays:
        content.update(array.data)
    return PackedImage(body, arrays, content.digest())


def unpack_image(packed: PackedImage, *, copy: bool = False) -> Image:
    """The image.

    Args:
        packed: Its parts.
        copy: Whether its arrays are copies: shared memory stays taken while a view of it lives.
    """
    buffers: Sequence[Any] = [array.copy() if copy else array for array in packed.buffers]
    image = pickle.loads(packed.body, buffers=[memoryview(buffer).toreadonly() for buffer in buffers])
    assert isinstance(image, Image)
    return image
