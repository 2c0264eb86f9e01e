"""Image features that are computed once for each image, however often it is asked for.

The rollouts of a group read one case, and every turn of TRL's tool loop hands all images of a conversation to the processor
again, and once more for the loss: a picture of 1024 pixels costs 140 ms and 24 MB each time. Features are kept by the content
of the image, since TRL copies its prompts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import PIL.Image
import torch

_MAX_BYTES: Final = 512 * 2**20
"""Memory for features: those of the images of a step."""


class _SharedFeatures:
    """Mixed into an image processor: the features of a list of images are those of each, along the first axis."""

    def __call__(self, images: Any = None, *args: Any, **kwargs: Any) -> Any:
        flat = _flat(images)
        if flat is None or args:
            return super().__call__(images, *args, **kwargs)  # type: ignore[misc]
        options = repr(sorted((key, str(value)) for key, value in kwargs.items()))
        parts = [self._features(image, options, kwargs) for image in flat]
        merged: Any = type(parts[0])(data={key: _join([part[key] for part in parts]) for key in parts[0]})
        return merged

    def _features(self, image: PIL.Image.Image, options: str, kwargs: dict[str, Any]) -> Any:
        cache: OrderedDict[Any, Any] = self.__dict__.setdefault("_kept_features", OrderedDict())
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        key = (digest, image.mode, image.size, options)
        if key in cache:
            cache.move_to_end(key)
        else:
            cache[key] = _by_tile(super().__call__([image], **kwargs))  # type: ignore[misc]
            used = sum(_nbytes(features) for features in cache.values())
            while used > _MAX_BYTES and len(cache) > 1:
                used -= _nbytes(cache.popitem(last=False)[1])
        return cache[key]

    def to_dict(self) -> dict[str, Any]:
        """The settings of the processor, without what it keeps."""
        return {key: value for key, value in super().to_dict().items() if key != "_kept_features"}  # type: ignore[misc]


def share_features(processor: Any) -> None:
    """Let a processor compute the features of an image once, in place."""
    image_processor = processor.image_processor
    kind = type(image_processor)
    if issubclass(kind, _SharedFeatures):
        return
    # The class keeps its name, which is what is saved of it.
    shared: Any = type(kind.__name__, (_SharedFeatures, kind), {"__module__": kind.__module__})
    processor.image_processor = shared.from_dict(image_processor.to_dict())


def _flat(images: Any) -> Sequence[PIL.Image.Image] | None:
    """The images as one list, or None where they are no Pillow images."""
    if isinstance(images, PIL.Image.Image):
        return [images]
    if not isinstance(images, list | tuple) or not images:
        return None
    flat = [image for each in images for image in (each if isinstance(each, list | tuple) else [each])]
    return flat if flat and all(isinstance(image, PIL.Image.Image) for image in flat) else None


def _by_tile(features: Any) -> Any:
    """Features of an image with a row for each tile, where they have one for each conversation (Idefics3, SmolVLM).

    The model reads tiles in order, whatever conversation they are listed under, so each stands as one of its own: padding for
    conversations of fewer tiles is not needed, and a mask that leaves out nothing says nothing.
    """
    pixels = features.get("pixel_values")
    if not hasattr(pixels, "ndim") or pixels.ndim != 5:
        return features
    features["pixel_values"] = pixels.reshape(-1, 1, *pixels.shape[2:])
    mask = features.get("pixel_attention_mask")
    if mask is not None and bool((mask != 0).all()):
        del features["pixel_attention_mask"]
    return features


def _join(values: Sequence[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.cat(list(values))
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    return [item for value in values for item in value]


def _nbytes(features: Any) -> int:
    arrays = [part for value in features.values() for part in (value if isinstance(value, list) else [value])]
    return sum(int(getattr(array, "nbytes", 0)) for array in arrays)
