"""Models in ONNX and TorchScript files, whose entry says what they are given and how they write what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image
from medvistagym_models._entry import InputSettings, ModelEntry
from medvistagym_models._model_files import stated_labels
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._base import Detection, LabelMask, require_numbers
from medvistagym_models.networks._forward import Forward, OnnxForward, TorchScriptForward, required_settings
from medvistagym_models.networks._input import Placement, picture, prepare, prepare_batch

if TYPE_CHECKING:
    import numpy as np

_MAX_OVERLAP: Final = 0.5
"""Boxes of one label that share more than this part of their union are one thing."""
_CANDIDATES: Final = 300


class FileModel:
    """What they share: the network, and images as it takes them.

    Args:
        entry: Its entry.
        forward: The network.
        plain: Whether each picture is prepared in the plainest way and goes through the network by itself.
    """

    takes_volumes = False

    def __init__(self, entry: ModelEntry, forward: Forward, *, plain: bool = False) -> None:
        self.entry, self.forward, self.plain = entry, forward, plain
        self.settings = required_settings(entry)
        self.names = stated_labels(entry)

    def outputs(self, images: Sequence[Image]) -> list[tuple[int, dict[str, np.ndarray], Placement]]:
        """For each image its position, the outputs for it, and where it lies in the network's input."""
        if self.plain:
            return self._plain_outputs(images)
        out = []
        for positions, values, placements in prepare_batch(images, self.settings):
            for first in range(0, len(positions), self.entry.batch):
                part = slice(first, first + self.entry.batch)
                found = self.forward(values[part])
                for name, value in found.items():
                    require_numbers(f"{self.entry.model} (output {name})", value)
                for n, k in enumerate(positions[part]):
                    out.append((k, {name: value[n] for name, value in found.items()}, placements[first + n]))
        return out

    def require_classes(self, count: int) -> None:
        """Refuse labels for classes that the network has not.

        Raises:
            ModelError: The entry names such a class.
        """
        if self.names and max(self.names) >= count:
            raise ModelError(
                self.entry.name,
                f"labels names class {max(self.names)}, and the model gives {count} class{'es' if count != 1 else ''}, "
                f"0 to {count - 1}",
            )

    def reference(self) -> FileModel | None:
        """The same network, plainly; None where this one is."""
        return None if self.plain else type(self)(self.entry, self.forward, plain=True)

    def _plain_outputs(self, images: Sequence[Image]) -> list[tuple[int, dict[str, np.ndarray], Placement]]:
        out = []
        for k, image in enumerate(images):
            _, placement = prepare(picture(image, self.settings), self.settings)
            found = self.forward(_plain_input(image, self.settings, placement))
            out.append((k, {name: value[0] for name, value in found.items()}, placement))
        return out


class FileClassifier(FileModel):
    """See `Classifier`. The first output is `(N, classes)`."""

    def __init__(self, entry: ModelEntry, forward: Forward, *, plain: bool = False) -> None:
        super().__init__(entry, forward, plain=plain)
        self.labels = tuple(self.names.get(number, "") for number in range(max(self.names) + 1))
        self.exclusive = (entry.activation or "softmax") == "softmax"

    def classify(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np

        out = np.zeros((len(images), len(self.labels)), np.float32)
        for k, found, _ in self.outputs(images):
            values = next(iter(found.values())).reshape(-1)
            self.require_classes(len(values))
            out[k] = _activate(values, self.entry.activation or "softmax")[: len(self.labels)]
        return out


class FileEmbedder(FileModel):
    """See `Embedder`. The first output is `(N, D)`."""

    takes_phrases = False

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np

        vectors = {k: next(iter(found.values())).reshape(-1) for k, found, _ in self.outputs(images)}
        rows = np.stack([vectors[k] for k in range(len(images))])
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))

    def embed_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        raise ValueError(f"the model {self.entry.model} compares pictures with each other only, not with phrases")


class FileSegmenter(FileModel):
    """See `SemanticSegmenter`. The first output is `(N, classes, h, w)`; one class alone is a probability or its logit."""

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        out: list[list[LabelMask]] = [[] for _ in images]
        for k, found, placement in self.outputs(images):
            values = next(iter(found.values()))
            values = values[None] if values.ndim == 2 else values
            self.require_classes(len(values))
            activation = self.entry.activation or ("sigmoid" if len(values) == 1 else "softmax")
            out[k] = _masks(values, self.names, images[k].shape, placement, activation, self.entry.threshold or 0.5)
        return out


class FileDetector(FileModel):
    """See `Detector`. How boxes are written is the entry's `output`: "boxes" unless it says otherwise."""

    def detect(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[Detection]]:
        out: list[list[Detection]] = [[] for _ in images]
        for k, found, placement in self.outputs(images):
            boxes, probabilities, numbers = self._decode(found, placement.input_shape)
            keep = [
                n
                for n in range(len(boxes))
                if probabilities[n] >= max(thresholds[k], 1e-6) and int(numbers[n]) in self.names
            ]
            detections = [
                Detection(self.names[int(numbers[n])], float(probabilities[n]), placement.to_image(boxes[n]))
                for n in keep
            ]
            ordered = sorted(detections, key=lambda one: -one.probability)[:_CANDIDATES]
            out[k] = without_overlaps(ordered) if self.entry.output == "yolo" else ordered
        return out

    def _decode(
        self, outputs: Mapping[str, np.ndarray], shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes `(K, 4)` in pixels of the input, probabilities `(K,)` and classes `(K,)` of an image's outputs."""
        import numpy as np

        h, w = shape
        form = self.entry.output or "boxes"
        if form == "yolo":  # (4 + classes, K): centre, size, then a probability for each class
            rows = next(iter(outputs.values()))
            self.require_classes(len(rows) - 4)
            centre, size, scores = rows[:2].T, rows[2:4].T, rows[4:].T
            return np.concatenate([centre - size / 2, centre + size / 2], 1), scores.max(1), scores.argmax(1)
        if form == "detr":  # logits (K, classes + 1), boxes (K, 4) relative to the input: centre, size
            logits, boxes = self._pick(outputs, ("logits",), 0), self._pick(outputs, ("pred_boxes", "boxes"), 1)
            self.require_classes(logits.shape[1] - 1)
            scores = _activate(logits, "softmax")[:, :-1]
            centre, size = boxes[:, :2], boxes[:, 2:]
            corners = np.concatenate([centre - size / 2, centre + size / 2], 1) * np.array([w, h, w, h], np.float32)
            return corners, scores.max(1), scores.argmax(1)
        boxes, scores, numbers = (
            self._pick(outputs, (name,), n) for n, name in enumerate(("boxes", "scores", "labels"))
        )
        return boxes.reshape(-1, 4), scores.reshape(-1), numbers.reshape(-1)

    def _pick(self, outputs: Mapping[str, np.ndarray], names: Sequence[str], position: int) -> np.ndarray:
        for name in names:
            if name in outputs:
                return outputs[name]
        if len(outputs) <= position:
            raise ModelError(
                self.entry.name,
                f"output {position} ({names[0]}) is missing: the network gives {', '.join(outputs)}; say how it writes boxes: "
                'output = "boxes", "detr" or "yolo"',
            )
        return list(outputs.values())[position]


def load_file_model(entry: ModelEntry, kind: str, device: str) -> FileModel:
    """The model of an ONNX or TorchScript file.

    Raises:
        ModelError: It cannot be loaded, or has a task that such files are not run for.
    """
    task = entry.require_task()
    classes: dict[str, type[FileModel]] = {
        "image-classification": FileClassifier,
        "object-detection": FileDetector,
        "semantic-segmentation": FileSegmenter,
        "embedding": FileEmbedder,
    }
    if task not in classes:
        raise ModelError(
            entry.name, f"{task} needs a folder of transformers; {kind} files are run for {', '.join(classes)}"
        )
    required_settings(entry)
    stated_labels(entry)
    forward: Forward = OnnxForward(entry, device) if kind == "onnx" else TorchScriptForward(entry, device)
    return classes[task](entry, forward)


def without_overlaps(detections: Sequence[Detection]) -> list[Detection]:
    """Of detections, the most probable first, those that no more probable one of the same label covers."""
    kept: list[Detection] = []
    for one in detections:
        if all(
            one.label != other.label or intersection_over_union(one.box, other.box) <= _MAX_OVERLAP for other in kept
        ):
            kept.append(one)
    return kept


def intersection_over_union(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes, 0 to 1; 0 where both are empty.

    Args:
        a: `(x0, y0, x1, y1)`, in the coordinates of `b`.
        b: `(x0, y0, x1, y1)`.
    """
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, across) * max(0.0, down)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total if total > 0 else 0.0


def _activate(values: np.ndarray, activation: str) -> np.ndarray:
    import numpy as np

    if activation == "softmax":
        exponents = np.exp(values - values.max(-1, keepdims=True))
        return np.asarray(exponents / exponents.sum(-1, keepdims=True))
    return np.asarray(1 / (1 + np.exp(-values.astype(np.float64)))) if activation == "sigmoid" else values


def _masks(
    values: np.ndarray,
    names: Mapping[int, str],
    shape: tuple[int, int],
    placement: Placement,
    activation: str,
    threshold: float,
) -> list[LabelMask]:
    """The masks of an image's values `(classes, h, w)`, brought to its shape before they are compared."""
    import numpy as np
    import PIL.Image

    x0, y0, x1, y1 = placement.rectangle
    scale_y, scale_x = values.shape[1] / placement.input_shape[0], values.shape[2] / placement.input_shape[1]
    box = (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)
    bilinear = PIL.Image.Resampling.BILINEAR
    resized = np.stack(
        [
            np.asarray(PIL.Image.fromarray(np.ascontiguousarray(one)).resize(shape[::-1], bilinear, box=box))
            for one in values
        ]
    )
    if activation == "softmax":
        winner = resized.argmax(0)
        exponents = np.exp(resized - resized.max(0))
        probabilities = exponents / exponents.sum(0)
        masks = {number: winner == number for number in names}
    else:
        probabilities = _activate(resized, activation)
        masks = {number: probabilities[number] >= threshold for number in names}
    return [
        LabelMask(
            name, masks[number], float(probabilities[number][masks[number]].mean()) if masks[number].any() else None
        )
        for number, name in names.items()
    ]


def _plain_input(image: Image, settings: InputSettings, placement: Placement) -> np.ndarray:
    """What a network is given, `(1, C, H, W)`, the plain way: colours, resize, scale and normalise, in float64."""
    import numpy as np
    import PIL.Image

    picture_image = PIL.Image.fromarray(picture(image, settings)).convert("RGB" if settings.channels == 3 else "L")
    h, w = placement.shape
    size = round(w * placement.scale_x), round(h * placement.scale_y)
    resized = np.atleast_3d(
        np.asarray(picture_image.resize(size, getattr(PIL.Image.Resampling, settings.interpolation.upper())))
    )
    mean, std = (np.broadcast_to(np.asarray(v, np.float64), settings.channels) for v in (settings.mean, settings.std))
    values = ((resized.astype(np.float64) * settings.scale - mean) / std).transpose(2, 0, 1)
    left, top = round(max(0.0, -placement.shift_x)), round(max(0.0, -placement.shift_y))
    H, W = placement.input_shape
    values = values[:, top : top + H, left : left + W]
    out = np.zeros((1, settings.channels, H, W), np.float32)
    out[0, :, : values.shape[1], : values.shape[2]] = values
    return out
