"""embedding: how alike images are, and how well phrases fit them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_models._entry import ModelEntry
from medvistagym_models._model_files import model_kind, read_json
from medvistagym_models.networks import Embedder, displayed_frame, has_text_tower
from medvistagym_models.tasks._base import Call, each, parameter

_Phrase = Annotated[str, Field(min_length=1, max_length=200)]


class Embedding:
    """See `TaskKind`."""

    returns: Any = tuple[str, dict[str, Any]]

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        images = Annotated[list[Image], Field(min_length=1, max_length=16)]
        found = [parameter("images", images, "The images to compare with the first of them, or with the phrases.")]
        if _has_phrases(entry):
            phrases = Annotated[list[_Phrase], Field(min_length=1, max_length=16)] | None
            found.append(parameter("phrases", phrases, "What each image is compared with, such as findings.", None))
        return found

    def results(self, entry: ModelEntry, model: Embedder, calls: Sequence[Call]) -> list[Any]:
        results, positions, frames = each(calls, lambda call: [displayed_frame(image) for image in call["images"]])
        if not frames:
            return results
        vectors = model.embed([frame for of_one in frames for frame in of_one])
        phrases = sorted({phrase for k in positions for phrase in calls[k].get("phrases") or ()})
        by_phrase = dict(zip(phrases, model.embed_phrases(phrases), strict=True)) if phrases else {}
        first = 0
        for k, of_one in zip(positions, frames, strict=True):
            mine = vectors[first : first + len(of_one)]
            first += len(of_one)
            results[k] = self._compared(entry, mine, {p: by_phrase[p] for p in calls[k].get("phrases") or ()})
        return results

    def _compared(self, entry: ModelEntry, vectors: Any, phrases: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        data: dict[str, Any] = {"model": entry.model, "task": "embedding", "dimensions": int(vectors.shape[1])}
        parts = []
        if len(vectors) > 1:
            data["similarity"] = [[round(float(a @ b), 4) for b in vectors] for a in vectors]
            alike = ", ".join(f"{value:.2f}" for value in data["similarity"][0][1:])
            parts.append(f"cosine similarity to the first image: {alike}")
        if phrases:
            data["phrases"] = [{p: round(float(a @ v), 4) for p, v in phrases.items()} for a in vectors]
            for number, fits in enumerate(data["phrases"]):
                ordered = sorted(fits.items(), key=lambda item: -item[1])
                listed = ", ".join(f"{phrase} {value:.3f}" for phrase, value in ordered)
                parts.append(f"image {number} of these fits: {listed}" if len(vectors) > 1 else f"it fits: {listed}")
        if not parts:
            parts.append(f"a vector of {data['dimensions']} numbers; name a second image to compare it with")
        return f"{'; '.join(parts)}. By the model {entry.model}.", data


def _has_phrases(entry: ModelEntry) -> bool:
    if entry.adapter is not None or model_kind(entry) != "transformers" or entry.path is None:
        return False
    return has_text_tower(read_json(entry, entry.path / "config.json"))
