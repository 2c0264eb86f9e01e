"""Detectors of transformers that find what phrases name: Grounding DINO and the OWL family.

Sources: Liu et al., Grounding DINO, ECCV 2024; Minderer et al., Scaling Open-Vocabulary Object Detection (OWLv2), NeurIPS 2023.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from medvistagym_core.imaging import Image
from medvistagym_core.tools import first_line
from medvistagym_models._entry import ModelEntry
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._base import Detection, in_parts, require_numbers
from medvistagym_models.networks._transformers import TransformersFolder, rgb_picture


class TransformersPhraseDetector:
    """See `OpenVocabularyDetector`. Its processor makes pictures and phrases into what the network takes."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        from transformers import AutoProcessor

        if entry.input is not None:
            raise ModelError(
                entry.name, "input is not for open-vocabulary detection, whose processor prepares the picture"
            )
        self._folder = TransformersFolder(entry, device)
        processors: Any = AutoProcessor
        try:
            self._processor = processors.from_pretrained(
                self._folder.folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = first_line(error)
            raise ModelError(
                entry.name, f"{self._folder.folder.name} has no processor that can be loaded: {reason}"
            ) from None
        self._grounds = "grounding" in str(self._folder.config.get("model_type", ""))

    def detect_phrases(
        self, images: Sequence[Image], phrases: Sequence[Sequence[str]], thresholds: Sequence[float]
    ) -> list[list[Detection]]:
        out: list[list[Detection]] = [[] for _ in images]
        alike: dict[tuple[tuple[int, int], int], list[int]] = {}
        for k, image in enumerate(images):
            alike.setdefault((image.shape, len(phrases[k])), []).append(k)
        for positions in alike.values():
            for part in in_parts(positions, self._folder.entry.batch):
                for k, found in self._detect_together(positions[part], images, phrases, thresholds):
                    out[k] = sorted(found, key=lambda one: -one.probability)
        return out

    def reference(self) -> _OneByOne:
        return _OneByOne(self)

    def _detect_together(
        self,
        positions: Sequence[int],
        images: Sequence[Image],
        phrases: Sequence[Sequence[str]],
        thresholds: Sequence[float],
    ) -> list[tuple[int, list[Detection]]]:
        import torch

        texts = [[phrase.lower() for phrase in phrases[k]] for k in positions]
        pictures = [rgb_picture(images[k]) for k in positions]
        # Grounding DINO reads one text in which phrases end with a full stop
        asked: Any = [". ".join(words) + "." for words in texts] if self._grounds else texts
        inputs = self._processor(images=pictures, text=asked, return_tensors="pt", padding=True).to(self._folder.device)
        outputs = self._folder.run(inputs)
        require_numbers(self._folder.entry.model, outputs.pred_boxes.float().cpu().numpy())
        sizes = torch.tensor([images[k].shape for k in positions])
        lowest = min(thresholds[k] for k in positions)
        if self._grounds:
            found = self._processor.post_process_grounded_object_detection(
                outputs, inputs["input_ids"], threshold=lowest, text_threshold=lowest, target_sizes=sizes
            )
        else:
            found = self._processor.post_process_grounded_object_detection(
                outputs, threshold=lowest, target_sizes=sizes, text_labels=texts
            )
        return [
            (k, self._detections(one, phrases[k], images[k], thresholds[k]))
            for k, one in zip(positions, found, strict=True)
        ]

    def _detections(self, processed: Any, phrases: Sequence[str], image: Image, threshold: float) -> list[Detection]:
        h, w = image.shape
        out = []
        for score, label, box in zip(
            processed["scores"].tolist(), processed["text_labels"], processed["boxes"].tolist(), strict=True
        ):
            phrase = _phrase_of(str(label), phrases)
            x0, y0, x1, y1 = (min(max(v, 0.0), float(limit)) for v, limit in zip(box, (w, h, w, h), strict=True))
            if phrase is not None and score >= threshold and x1 > x0 and y1 > y0:
                out.append(Detection(phrase, float(score), (x0, y0, x1, y1)))
        return out


def _phrase_of(label: str, phrases: Sequence[str]) -> str | None:
    """The phrase that a label is a part of; Grounding DINO labels a box with words of one phrase or several."""
    words = set(label.lower().split())
    best = max(phrases, key=lambda phrase: len(words & set(phrase.lower().split())), default=None)
    return best if best is not None and words & set(best.lower().split()) else None


class _OneByOne:
    """The detector with one picture at a time, which no other picture's size or phrases can change."""

    def __init__(self, detector: TransformersPhraseDetector) -> None:
        self._detector = detector

    def detect_phrases(
        self, images: Sequence[Image], phrases: Sequence[Sequence[str]], thresholds: Sequence[float]
    ) -> list[list[Detection]]:
        each = zip(images, phrases, thresholds, strict=True)
        alone = (self._detector.detect_phrases([image], [words], [threshold]) for image, words, threshold in each)
        return list(itertools.chain.from_iterable(alone))

    def reference(self) -> None:
        return None
