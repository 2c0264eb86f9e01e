"""Contracts of loaded models, one for each task, whatever runs them: transformers, ONNX Runtime, torch or another package.

Images are handed over at full resolution: single frames `(H, W)`, or volumes to a segmenter that says it takes them. Boxes are
`(x0, y0, x1, y1)` in pixel edges of the image, masks are booleans of its shape, probabilities lie within 0 to 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    import numpy as np

BoxPixels = tuple[float, float, float, float]


class Detection(NamedTuple):
    """Something found at a place.

    Attributes:
        label: What it is, as the model names it, or the phrase that was looked for.
        probability: How sure the model is, 0 to 1.
        box: Where it is, `(x0, y0, x1, y1)` in pixel edges of the image.
    """

    label: str
    probability: float
    box: BoxPixels


class LabelMask(NamedTuple):
    """Where a label lies.

    Attributes:
        label: Its name.
        mask: Booleans of the image's shape; all False where it was not found.
        probability: Mean probability of the label where the mask is; None if the model gives none.
    """

    label: str
    mask: np.ndarray
    probability: float | None


@dataclasses.dataclass(frozen=True)
class PointPrompt:
    """What a policy points at, in pixel edges of the frame.

    Attributes:
        inside: Points inside of the structure.
        outside: Points outside of it.
        box: Around it; or None.
        follow: Whether to follow it through the slices of a volume, from `image.frame` on.
    """

    inside: tuple[tuple[float, float], ...] = ()
    outside: tuple[tuple[float, float], ...] = ()
    box: BoxPixels | None = None
    follow: bool = False


class Model(Protocol):
    """What every loaded model has."""

    def reference(self) -> Any:
        """The same, as the library runs it by its own means, one image at a time; None where there is no other way."""
        ...


class Classifier(Model, Protocol):
    """Gives the probability of each class."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes, those that the settings leave out included."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether one class excludes the others, so that the probabilities add up to 1."""
        ...

    def classify(self, images: Sequence[Image]) -> np.ndarray:
        """How probable each class is in each image.

        Args:
            images: Single frames `(H, W)`.

        Returns:
            Floats `(N, classes)`, 0 to 1, in the order of `labels`.
        """
        ...


class Detector(Model, Protocol):
    """Finds things and says where."""

    def detect(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[Detection]]:
        """What is found in each image with a probability of at least its threshold, the most probable first.

        Args:
            images: Single frames `(H, W)`.
            thresholds: Least probability for each image, 0 to 1.
        """
        ...


class SemanticSegmenter(Model, Protocol):
    """Says of each label where it lies."""

    @property
    def takes_volumes(self) -> bool:
        """Whether it wants whole volumes `(N, H, W)`; otherwise single frames."""
        ...

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        """The mask of every label, in each image.

        Args:
            images: Single frames `(H, W)`, or volumes for a model that takes them.
        """
        ...


class InstanceSegmenter(Model, Protocol):
    """Finds things one by one and outlines each."""

    def segment_instances(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[LabelMask]]:
        """A mask for each thing found with a probability of at least its threshold, the most probable first.

        Args:
            images: Single frames `(H, W)`.
            thresholds: Least probability for each image, 0 to 1.
        """
        ...


class PromptableSegmenter(Model, Protocol):
    """Outlines what is pointed at."""

    @property
    def follows(self) -> bool:
        """Whether it can follow a structure through a volume."""
        ...

    def segment_prompted(self, images: Sequence[Image], prompts: Sequence[PointPrompt]) -> list[LabelMask]:
        """The mask of what each prompt points at, with the quality that the model expects of it as its probability.

        Args:
            images: Single frames `(H, W)`, or volumes for a model that takes them.
            prompts: One for each image.
        """
        ...


class OpenVocabularyDetector(Model, Protocol):
    """Finds what phrases name."""

    def detect_phrases(
        self, images: Sequence[Image], phrases: Sequence[Sequence[str]], thresholds: Sequence[float]
    ) -> list[list[Detection]]:
        """What is found of each image's phrases, labelled by them, the most probable first.

        Args:
            images: Single frames `(H, W)`.
            phrases: For each image what is looked for.
            thresholds: Least probability for each image, 0 to 1.
        """
        ...


class Embedder(Model, Protocol):
    """Makes vectors of images, and perhaps of phrases, that can be compared."""

    @property
    def takes_phrases(self) -> bool:
        """Whether phrases can be compared with images."""
        ...

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Vectors of length 1, `(N, D)`.

        Args:
            images: N single frames `(H, W)`.
        """
        ...

    def embed_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, `(M, D)`.

        Args:
            phrases: M texts.
        """
        ...


class NotANumberError(RuntimeError):
    """A network gave NaN or an infinity; its weights or what it was given do not fit."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"the model {model} gave values that are no numbers (NaN); its weights are broken, or its input settings do not fit"
        )


def require_numbers(model: str, values: np.ndarray) -> np.ndarray:
    """The values, if all are finite.

    Args:
        model: The model's name, for the error.
        values: What it computed, of any shape.

    Raises:
        NotANumberError: Some are not.
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise NotANumberError(model)
    return values


def in_parts(images: Sequence[Any], size: int) -> list[slice]:
    """Slices that cut a sequence into parts of at most `size`."""
    return [slice(first, first + size) for first in range(0, len(images), size)]
