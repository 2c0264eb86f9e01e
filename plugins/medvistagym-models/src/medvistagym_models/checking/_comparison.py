"""How far a model's results lie from those of its own pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_models._entry import ModelEntry
from medvistagym_models.networks import Detection, LabelMask, PointPrompt, intersection_over_union

PROBABILITY: Final = 0.01
BOX_PIXELS: Final = 1.5
"""The pipelines of transformers cut boxes to whole pixels."""
MASK_SHARE: Final = 0.01
BUNDLE_SHARE: Final = 0.001
"""Of a volume: resampling is MONAI's on both sides, and only voxels whose classes are equally probable may differ."""
COSINE: Final = 0.001
_THRESHOLD: Final = 0.05
_MAX_COMPARED: Final = 20


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A difference beside what is tolerated.

    Attributes:
        measure: What was compared.
        difference: The greatest difference found.
        tolerance: The greatest that is tolerated.
    """

    measure: str
    difference: float
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether the difference is tolerated."""
        return self.difference <= self.tolerance


def compare(entry: ModelEntry, model: Any, reference: Any, image: Image) -> list[Comparison]:
    """What a model and its own pipeline find in an image.

    Args:
        entry: The model's entry.
        model: The model.
        reference: Its own pipeline.
        image: What it takes: a frame, or a volume.
    """
    task = entry.require_task()
    if task == "image-classification":
        ours, theirs = (one.classify([image])[0] for one in (model, reference))
        named = [k for k, label in enumerate(model.labels) if label]
        apart = max(abs(float(ours[k]) - float(theirs[k])) for k in named)
        return [Comparison("probability of a class", apart, PROBABILITY)]
    if task == "embedding":
        ours, theirs = (one.embed([image])[0] for one in (model, reference))
        return [Comparison("1 - cosine of the vectors", 1 - float(ours @ theirs), COSINE)]
    if task in ("object-detection", "open-vocabulary-detection"):
        found = [_detections(entry, one, image) for one in (model, reference)]
        return _compare_detections(found[0], found[1])
    masks = [_masks(entry, one, image) for one in (model, reference)]
    is_bundle = entry.path is not None and (entry.path / "configs").is_dir()
    return _compare_masks(masks[0], masks[1], BUNDLE_SHARE if is_bundle else MASK_SHARE)


def prompt_for(image: Image) -> PointPrompt:
    """A box over the middle of an image."""
    h, w = image.shape
    return PointPrompt(inside=((w * 0.5, h * 0.5),), box=(w * 0.25, h * 0.25, w * 0.75, h * 0.75))


def _detections(entry: ModelEntry, model: Any, image: Image) -> list[Detection]:
    if entry.task == "object-detection":
        found: list[Detection] = model.detect([image], [_THRESHOLD])[0]
    else:
        found = model.detect_phrases([image], [["bright spot", "lung"]], [_THRESHOLD])[0]
    return found[:_MAX_COMPARED]


def _masks(entry: ModelEntry, model: Any, image: Image) -> list[LabelMask]:
    if entry.task == "promptable-segmentation":
        return list(model.segment_prompted([image], [prompt_for(image)]))
    if entry.task == "instance-segmentation":
        return list(model.segment_instances([image], [_THRESHOLD])[0])
    return list(model.segment([image])[0])


def _compare_detections(ours: Sequence[Detection], theirs: Sequence[Detection]) -> list[Comparison]:
    """Each of ours beside the one of theirs of its label that it overlaps most, of those that are left."""
    left = list(theirs)
    boxes, probabilities = 0.0, 0.0
    for one in ours:
        alike = [other for other in left if other.label == one.label]
        if not alike:
            continue
        other = max(
            alike, key=lambda o: (intersection_over_union(one.box, o.box), -abs(one.probability - o.probability))
        )
        left.remove(other)
        boxes = max(boxes, *(abs(a - b) for a, b in zip(one.box, other.box, strict=True)))
        probabilities = max(probabilities, abs(one.probability - other.probability))
    return [
        Comparison("number of findings", abs(len(ours) - len(theirs)), 0),
        Comparison("probability of a finding", probabilities, PROBABILITY),
        Comparison("edge of a box in pixels", boxes, BOX_PIXELS),
    ]


def _compare_masks(ours: Sequence[LabelMask], theirs: Sequence[LabelMask], tolerance: float) -> list[Comparison]:
    import numpy as np

    if len(ours) != len(theirs):
        return [Comparison("number of masks", abs(len(ours) - len(theirs)), 0)]
    shares = [float(np.mean(a.mask != b.mask)) for a, b in zip(ours, theirs, strict=True)]
    return [Comparison("share of pixels of a mask", max(shares, default=0.0), tolerance)]
