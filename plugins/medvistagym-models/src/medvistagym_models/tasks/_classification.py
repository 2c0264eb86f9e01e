"""image-classification: how probable is each class."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

from medvistagym_models._entry import ModelEntry
from medvistagym_models.networks import Classifier, displayed_frame
from medvistagym_models.tasks._base import Call, each, frame_note, image_parameter, labels_parameter
from medvistagym_models.tasks._findings import format_data

THRESHOLD: Final = 0.5


class Classification:
    """See `TaskKind`."""

    returns: Any = tuple[str, dict[str, Any]]

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        return [image_parameter("The image to judge; of a stack, the frame that is shown."), *labels_parameter(labels)]

    def results(self, entry: ModelEntry, model: Classifier, calls: Sequence[Call]) -> list[Any]:
        results, positions, frames = each(calls, lambda call: displayed_frame(call["image"]))
        if not frames:
            return results
        probabilities = model.classify(frames)
        for k, frame, row in zip(positions, frames, probabilities, strict=True):
            wanted = calls[k].get("labels")
            by_label = {
                label: round(float(p), 4)
                for label, p in zip(model.labels, row, strict=True)
                if label and (wanted is None or label in wanted)
            }
            data = classification_data(entry, by_label, exclusive=model.exclusive)
            results[k] = format_data(data) + frame_note(calls[k]["image"], frame), data
        return results


def classification_data(entry: ModelEntry, probabilities: dict[str, float], *, exclusive: bool) -> dict[str, Any]:
    """The data of a result: probabilities, and what they say is there.

    Args:
        entry: What models.toml says of the model; without a `threshold` of its own it is 0.5.
        probabilities: The probability of each class, 0 to 1.
        exclusive: Whether the classes rule each other out, so that the most probable one alone is found.
    """
    threshold = THRESHOLD if entry.threshold is None else entry.threshold
    found = sorted(((label, p) for label, p in probabilities.items()), key=lambda item: -item[1])
    found = found[:1] if exclusive else [(label, p) for label, p in found if p >= threshold]
    return {
        "model": entry.model,
        "task": "image-classification",
        "exclusive": exclusive,
        "threshold": threshold,
        "probabilities": probabilities,
        "findings": [{"label": label, "probability": p} for label, p in found],
    }
