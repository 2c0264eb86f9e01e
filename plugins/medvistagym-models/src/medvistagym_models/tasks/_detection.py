"""object-detection and open-vocabulary-detection: where things are that have a name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_models._entry import ModelEntry
from medvistagym_models.networks import Detection, Detector, OpenVocabularyDetector, displayed_frame
from medvistagym_models.tasks._base import (
    Call,
    each,
    frame_note,
    image_parameter,
    labels_parameter,
    parameter,
    threshold_parameter,
)
from medvistagym_models.tasks._findings import detection_data, format_data

THRESHOLD: Final = 0.5
PHRASE_THRESHOLD: Final = 0.25
MAX_FINDINGS: Final = 50
_Phrase = Annotated[str, Field(min_length=1, max_length=80)]


class ObjectDetection:
    """See `TaskKind`."""

    returns: Any = tuple[str, dict[str, Any]]

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        return [
            image_parameter("The image to search; of a stack, the frame that is shown."),
            threshold_parameter(entry, THRESHOLD),
            *labels_parameter(labels),
        ]

    def results(self, entry: ModelEntry, model: Detector, calls: Sequence[Call]) -> list[Any]:
        results, positions, frames = each(calls, lambda call: displayed_frame(call["image"]))
        if not frames:
            return results
        thresholds = [calls[k]["threshold"] for k in positions]
        for k, frame, found in zip(positions, frames, model.detect(frames, thresholds), strict=True):
            wanted = calls[k].get("labels")
            chosen = [one for one in found if wanted is None or one.label in wanted]
            results[k] = _result(entry, "object-detection", calls[k], frame, chosen)
        return results


class PhraseDetection:
    """See `TaskKind`."""

    returns: Any = tuple[str, dict[str, Any]]

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        return [
            image_parameter("The image to search; of a stack, the frame that is shown."),
            parameter(
                "phrases",
                Annotated[list[_Phrase], Field(min_length=1, max_length=8)],
                'What to find, each a short noun phrase such as "left kidney".',
            ),
            threshold_parameter(entry, PHRASE_THRESHOLD),
        ]

    def results(self, entry: ModelEntry, model: OpenVocabularyDetector, calls: Sequence[Call]) -> list[Any]:
        results, positions, frames = each(calls, lambda call: displayed_frame(call["image"]))
        if not frames:
            return results
        phrases = [calls[k]["phrases"] for k in positions]
        thresholds = [calls[k]["threshold"] for k in positions]
        for k, frame, found in zip(positions, frames, model.detect_phrases(frames, phrases, thresholds), strict=True):
            results[k] = _result(entry, "open-vocabulary-detection", calls[k], frame, found)
        return results


def _result(
    entry: ModelEntry, task: str, call: Call, frame: Image, found: Sequence[Detection]
) -> tuple[str, dict[str, Any]]:
    data = detection_data(entry.model, task, call["threshold"], found[:MAX_FINDINGS], frame)
    return format_data(data) + frame_note(call["image"], frame), data
