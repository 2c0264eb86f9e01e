"""Classifiers, detectors and segmenters of transformers: models that tell classes apart that they were trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_models._entry import ModelEntry
from medvistagym_models._model_files import transformers_labels
from medvistagym_models.networks._base import Detection, LabelMask, require_numbers
from medvistagym_models.networks._input import Placement
from medvistagym_models.networks._transformers import TransformersFolder, rgb_picture

if TYPE_CHECKING:
    import numpy as np
    import torch


class TransformersClassifier:
    """See `Classifier`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self._folder = TransformersFolder(entry, device)
        self._names = transformers_labels(entry, self._folder.config)
        self.activation = entry.activation or _activation(self._folder.config)
        count = int(self._folder.model.config.num_labels)
        self.labels = tuple(self._names.get(number, "") for number in range(count))
        self.exclusive = self.activation == "softmax"

    def classify(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np

        out = np.zeros((len(images), len(self.labels)), np.float32)
        for prepared in self._folder.prepare(images):
            logits = self._folder.run(prepared.tensors).logits.float()
            out[prepared.positions] = to_probabilities(logits, self.activation).cpu().numpy()
        return require_numbers(self._folder.entry.model, out)

    def reference(self) -> _ReferenceClassifier:
        return _ReferenceClassifier(self, self._folder)


class _ReferenceClassifier:
    """transformers' pipeline, one image at a time."""

    def __init__(self, classifier: TransformersClassifier, folder: TransformersFolder) -> None:
        self.labels, self.exclusive = classifier.labels, classifier.exclusive
        self._own = folder.model.config.id2label
        self._pipeline = folder.pipeline("image-classification")
        self._function = {"softmax": "softmax", "sigmoid": "sigmoid", "none": "none"}[classifier.activation]

    def classify(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np

        numbers = {label: number for number, label in self._own.items()}
        out = np.zeros((len(images), len(self.labels)), np.float32)
        for k, image in enumerate(images):
            for one in self._pipeline(rgb_picture(image), top_k=len(self._own), function_to_apply=self._function):
                out[k, numbers[one["label"]]] = one["score"]
        return out

    def reference(self) -> None:
        return None


class TransformersDetector:
    """See `Detector`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self._folder = TransformersFolder(entry, device)
        self._names = transformers_labels(entry, self._folder.config)

    def detect(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[Detection]]:
        import torch

        out: list[list[Detection]] = [[] for _ in images]
        for prepared in self._folder.prepare(images):
            outputs = self._folder.run(prepared.tensors)
            require_numbers(self._folder.entry.model, outputs.logits.float().cpu().numpy())
            placements = prepared.placements
            sizes = [
                images[k].shape if placements is None else placements[n].input_shape
                for n, k in enumerate(prepared.positions)
            ]
            found = self._folder.processor.post_process_object_detection(
                outputs, threshold=min(thresholds[k] for k in prepared.positions), target_sizes=torch.tensor(sizes)
            )
            for n, (k, one) in enumerate(zip(prepared.positions, found, strict=True)):
                placement = None if placements is None else placements[n]
                out[k] = self._detections(one, thresholds[k], images[k].shape, placement)
        return out

    def _detections(
        self, found: dict[str, Any], threshold: float, shape: tuple[int, int], placement: Placement | None
    ) -> list[Detection]:
        placement = placement or Placement(1.0, 1.0, 0.0, 0.0, shape, shape)
        rows = zip(*(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True)
        detections = [
            Detection(self._names[label], float(score), placement.to_image(box))
            for label, score, box in rows
            if label in self._names and score >= threshold
        ]
        return sorted(detections, key=lambda one: -one.probability)

    def reference(self) -> _ReferenceDetector:
        return _ReferenceDetector(self._folder, self._names)


class _ReferenceDetector:
    """transformers' pipeline, one image at a time; its boxes are whole pixels."""

    def __init__(self, folder: TransformersFolder, names: dict[int, str]) -> None:
        self._pipeline = folder.pipeline("object-detection")
        self._names = {folder.model.config.id2label[number]: name for number, name in names.items()}

    def detect(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[Detection]]:
        out = []
        for image, threshold in zip(images, thresholds, strict=True):
            found = self._pipeline(rgb_picture(image), threshold=threshold)
            boxes = [(one, one["box"]) for one in found if one["label"] in self._names]
            out.append(
                [
                    Detection(self._names[one["label"]], one["score"], (b["xmin"], b["ymin"], b["xmax"], b["ymax"]))
                    for one, b in sorted(boxes, key=lambda pair: -pair[0]["score"])
                ]
            )
        return out

    def reference(self) -> None:
        return None


class TransformersSegmenter:
    """See `SemanticSegmenter`: networks that give each pixel a class, and those that give masks with a class each."""

    takes_volumes = False

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self._folder = TransformersFolder(entry, device)
        self._names = transformers_labels(entry, self._folder.config)

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        out: list[list[LabelMask]] = [[] for _ in images]
        for prepared in self._folder.prepare(images):
            outputs = self._folder.run(prepared.tensors)
            logits = getattr(outputs, "logits", None)
            if logits is None:
                logits = _logits_of_queries(outputs)
            require_numbers(self._folder.entry.model, logits.float().cpu().numpy())
            for n, k in enumerate(prepared.positions):
                placement = None if prepared.placements is None else prepared.placements[n]
                out[k] = masks_of_logits(logits[n].float(), self._names, images[k].shape, placement, "softmax")
        return out

    def reference(self) -> _ReferenceSegmenter:
        return _ReferenceSegmenter(self._folder, self._names)


class _ReferenceSegmenter:
    """transformers' pipeline, one image at a time."""

    takes_volumes = False

    def __init__(self, folder: TransformersFolder, names: dict[int, str]) -> None:
        self._pipeline = folder.pipeline("image-segmentation")
        self._own = {name: folder.model.config.id2label[number] for number, name in names.items()}

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        import numpy as np

        out = []
        for image in images:
            found = self._pipeline(rgb_picture(image), subtask="semantic")
            masks = {one["label"]: np.asarray(one["mask"]) > 0 for one in found}
            empty = np.zeros(image.shape, bool)
            out.append([LabelMask(name, masks.get(own, empty), None) for name, own in self._own.items()])
        return out

    def reference(self) -> None:
        return None


class TransformersInstanceSegmenter:
    """See `InstanceSegmenter`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self._folder = TransformersFolder(entry, device)
        self._names = transformers_labels(entry, self._folder.config)

    def segment_instances(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[LabelMask]]:
        out: list[list[LabelMask]] = [[] for _ in images]
        for prepared in self._folder.prepare(images):
            outputs = self._folder.run(prepared.tensors)
            for values in (getattr(outputs, name, None) for name in ("class_queries_logits", "logits")):
                if values is not None:
                    require_numbers(self._folder.entry.model, values.float().cpu().numpy())
            placements = prepared.placements
            sizes = [
                images[k].shape if placements is None else placements[n].input_shape
                for n, k in enumerate(prepared.positions)
            ]
            found = self._folder.processor.post_process_instance_segmentation(
                outputs, threshold=min(thresholds[k] for k in prepared.positions), target_sizes=sizes
            )
            for n, (k, one) in enumerate(zip(prepared.positions, found, strict=True)):
                placement = None if placements is None else placements[n]
                out[k] = self._instances(one, thresholds[k], images[k].shape, placement)
        return out

    def _instances(
        self, found: dict[str, Any], threshold: float, shape: tuple[int, int], placement: Placement | None
    ) -> list[LabelMask]:
        numbers = found["segmentation"]
        instances = []
        for one in sorted(found["segments_info"], key=lambda one: -one["score"]):
            if one["label_id"] not in self._names or one["score"] < threshold or numbers is None:
                continue
            mask = resample_plane((numbers == one["id"]).cpu().numpy(), shape, placement)
            if mask.any():
                instances.append(LabelMask(self._names[one["label_id"]], mask, float(one["score"])))
        return instances

    def reference(self) -> _ReferenceInstanceSegmenter:
        return _ReferenceInstanceSegmenter(self._folder, self._names)


class _ReferenceInstanceSegmenter:
    """transformers' pipeline, one image at a time."""

    def __init__(self, folder: TransformersFolder, names: dict[int, str]) -> None:
        self._pipeline = folder.pipeline("image-segmentation")
        self._names = {folder.model.config.id2label[number]: name for number, name in names.items()}

    def segment_instances(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[LabelMask]]:
        import numpy as np

        out = []
        for image, threshold in zip(images, thresholds, strict=True):
            found = self._pipeline(
                rgb_picture(image), subtask="instance", threshold=threshold, overlap_mask_area_threshold=0.8
            )
            masks = [
                LabelMask(self._names[one["label"]], np.asarray(one["mask"]) > 0, one["score"])
                for one in sorted(found, key=lambda one: -one["score"])
                if one["label"] in self._names
            ]
            out.append([one for one in masks if one.mask.any()])
        return out

    def reference(self) -> None:
        return None


def to_probabilities(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Probabilities of logits whose classes lie along axis 1."""
    if activation == "softmax":
        return logits.softmax(1)
    return logits.sigmoid() if activation == "sigmoid" else logits


def masks_of_logits(
    logits: torch.Tensor,
    names: dict[int, str],
    shape: tuple[int, int],
    placement: Placement | None,
    activation: str,
    threshold: float = 0.5,
    *,
    via_input: bool = False,
) -> list[LabelMask]:
    """The masks of an image's logits `(C, h, w)`, brought to its shape before they are compared.

    Args:
        logits: Of the classes; with "none" they are probabilities already.
        names: The classes to report.
        shape: `(H, W)` of the image.
        placement: Where the image lies in the network's input, whose edges the logits share; None where it fills it.
        activation: "softmax": each pixel has the class of the greatest; else each class is there or not by itself.
        threshold: For classes by themselves, the least probability.
        via_input: Whether they are brought to the size of the input first in any case, as SAM does.
    """
    from torch.nn import functional

    fills = placement is None or placement.rectangle == (0, 0, *placement.input_shape[::-1])
    if placement is not None and (via_input or not fills):
        logits = functional.interpolate(logits[None], placement.input_shape, mode="bilinear", align_corners=False)[0]
        x0, y0, x1, y1 = placement.rectangle
        logits = logits[:, y0:y1, x0:x1]
    resized = functional.interpolate(logits[None], shape, mode="bilinear", align_corners=False)
    probabilities = to_probabilities(resized, activation)[0]
    winner = probabilities.argmax(0) if activation == "softmax" else None
    kept = min(max(threshold, 1e-6), 1 - 1e-6)
    min_logit = math.log(kept / (1 - kept)) if activation == "sigmoid" else threshold
    masks = []
    for number, name in names.items():
        # compared as logits, which tell apart what rounds to one probability
        mask = winner == number if winner is not None else resized[0, number] > min_logit
        mean = float(probabilities[number][mask].mean()) if bool(mask.any()) else None
        masks.append(LabelMask(name, mask.cpu().numpy(), mean))
    return masks


def resample_plane(mask: np.ndarray, shape: tuple[int, int], placement: Placement | None) -> np.ndarray:
    """A mask of the network's input, or of the image, on the pixels of the image, by the nearest."""
    import numpy as np

    if placement is not None:
        x0, y0, x1, y1 = placement.rectangle
        mask = mask[y0:y1, x0:x1]
    h, w = mask.shape
    if (h, w) == shape:
        return mask
    rows, columns = np.arange(shape[0]) * h // shape[0], np.arange(shape[1]) * w // shape[1]
    resampled: np.ndarray = mask[rows[:, None], columns]
    return resampled


def _activation(config: Any) -> str:
    several = config.get("problem_type") == "multi_label_classification" or len(config.get("id2label") or (0, 1)) == 1
    return "sigmoid" if several else "softmax"


def _logits_of_queries(outputs: Any) -> torch.Tensor:
    """Logits of pixels `(N, C, h, w)` of a network that gives masks with a class each. Source: Cheng et al., MaskFormer."""
    import torch

    classes = outputs.class_queries_logits.softmax(-1)[..., :-1]  # the last is "nothing"
    scores = torch.einsum("bqc,bqhw->bchw", classes, outputs.masks_queries_logits.sigmoid())
    return scores.clamp(min=1e-6).log()
