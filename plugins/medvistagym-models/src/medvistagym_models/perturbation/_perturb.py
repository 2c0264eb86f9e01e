"""Perturbing a result: its facts are shifted or contradicted, and its sentence is written anew from them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import BOX_GRID_SIZE, Image
from medvistagym_core.tools import Perturbation, Tool, ToolError, ToolResult
from medvistagym_models.perturbation._settings import PerturbationSettings
from medvistagym_models.tasks import box_data, format_data

if TYPE_CHECKING:
    import numpy as np

_SHIFT: Final = (0.15, 0.35)
"""How far a place is moved, in parts of the image."""
_CHANGE: Final = (0.25, 0.5)
"""How far a probability is moved."""
Changed = tuple[dict[str, Any], tuple[Image, ...]] | None
"""Other data and images of a result; None where this cannot be done to it."""


@dataclasses.dataclass(frozen=True)
class Perturber:
    """Makes some results wrong; see `ResultFilter`.

    Attributes:
        settings: Which, how many, and how.
    """

    settings: PerturbationSettings

    def __call__(self, tool: Tool, arguments: Mapping[str, Any], result: ToolResult) -> ToolResult:
        if result.error is not None or not self._applies(tool, result):
            return result
        generator = random.Random(_seed(self.settings.seed, tool, arguments))
        if generator.random() >= self.settings.rate:
            return result
        kinds = list(self.settings.kinds)
        generator.shuffle(kinds)
        for kind in kinds:
            if kind == "dropped":
                error = ToolError("tool_failed", f"{tool.name} gave no result; go on without it.")
                return ToolResult(error=error, seconds=result.seconds, perturbation=kind)
            changed = _CHANGES[kind](result, tool, arguments, generator)
            if changed is not None:
                return _with_changes(result, *changed, kind)
        return result

    def _applies(self, tool: Tool, result: ToolResult) -> bool:
        if self.settings.tools is not None:
            return self.settings.names(tool.name)
        return result.data is not None and "model" in result.data


def _seed(seed: int, tool: Tool, arguments: Mapping[str, Any]) -> int:
    """A number that depends on a call and on nothing else, so that equal calls are treated alike, also when replayed."""
    parts = [str(seed), tool.id]
    for name, value in sorted(arguments.items()):
        images = value if isinstance(value, list) else [value]
        digests = [one.digest if isinstance(one, Image) else repr(one) for one in images]
        parts.append(f"{name}={','.join(digests)}")
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:8], "big")


def _with_changes(
    result: ToolResult, data: dict[str, Any], images: tuple[Image, ...], kind: Perturbation
) -> ToolResult:
    """The result with other facts; what its sentence said beside them stays."""
    assert result.data is not None
    sentence = format_data(result.data)
    rest = result.text.removeprefix(sentence) if result.text.startswith(sentence) else ""
    return dataclasses.replace(result, images=images, data=data, text=format_data(data) + rest, perturbation=kind)


def _shift(result: ToolResult, tool: Tool, arguments: Mapping[str, Any], generator: random.Random) -> Changed:
    """Places moved by a part of the image, or probabilities by a part of their range."""
    data = copy.deepcopy(result.data or {})
    if "probabilities" in data:
        moved = {label: _move_probability(p, generator) for label, p in data["probabilities"].items()}
        return _with_probabilities(data, moved), result.images
    image = arguments.get("image")
    if not data.get("findings") or not isinstance(image, Image) or "box" not in data["findings"][0]:
        return None
    dx, dy = (generator.choice((-1, 1)) * generator.uniform(*_SHIFT) for _ in range(2))
    for one in data["findings"]:
        _move_box(one, image, dx, dy)
    masks = tuple(mask.with_pixels(_shift_mask(mask.pixels, dx, dy)) for mask in result.images)
    if any(not mask.pixels.any() for mask in masks):
        return None
    return data, masks


def _contradict(result: ToolResult, tool: Tool, arguments: Mapping[str, Any], generator: random.Random) -> Changed:
    """What was found is not, or is something else; what was not found is."""
    data = copy.deepcopy(result.data or {})
    if "probabilities" in data:
        return _with_probabilities(data, _turn_probabilities(data, generator)), result.images
    if "findings" not in data:
        return None
    if "not_found" in data:  # masks: there is none to give for what was not found
        if not data["findings"]:
            return None
        data["not_found"] = [*data["not_found"], *dict.fromkeys(one["label"] for one in data["findings"])]
        data["findings"] = []
        return data, ()
    labels = _labels(tool, arguments)
    if data["findings"] and len(labels) > 1:
        for one in data["findings"]:
            one["label"] = generator.choice([label for label in labels if label != one["label"]])
    elif data["findings"]:
        data["findings"] = []
    elif labels and isinstance(arguments.get("image"), Image):
        data["findings"] = [_invent_finding(generator.choice(labels), data["threshold"], arguments["image"], generator)]
    else:
        return None
    return data, result.images


_Change = Callable[[ToolResult, Tool, Mapping[str, Any], random.Random], Changed]
_CHANGES: Final[Mapping[Perturbation, _Change]] = {"shifted": _shift, "contradicted": _contradict}


def _move_probability(probability: float, generator: random.Random) -> float:
    step = generator.uniform(*_CHANGE)
    return round(probability + step if probability < 0.5 else probability - step, 4)


def _turn_probabilities(data: Mapping[str, Any], generator: random.Random) -> dict[str, float]:
    probabilities: dict[str, float] = data["probabilities"]
    if not data["exclusive"] or len(probabilities) < 2:
        return {label: round(1 - p, 4) for label, p in probabilities.items()}
    first = max(probabilities, key=lambda label: probabilities[label])
    other = generator.choice([label for label in probabilities if label != first])
    return {**probabilities, first: probabilities[other], other: probabilities[first]}


def _with_probabilities(data: dict[str, Any], probabilities: dict[str, float]) -> dict[str, Any]:
    if data["exclusive"]:
        total = sum(probabilities.values()) or 1.0
        probabilities = {label: round(p / total, 4) for label, p in probabilities.items()}
    ordered = sorted(probabilities.items(), key=lambda item: -item[1])
    found = ordered[:1] if data["exclusive"] else [(label, p) for label, p in ordered if p >= data["threshold"]]
    findings = [{"label": label, "probability": p} for label, p in found]
    return {**data, "probabilities": probabilities, "findings": findings}


def _labels(tool: Tool, arguments: Mapping[str, Any]) -> Sequence[str]:
    """What a tool tells apart: the phrases that it was given, or the labels of its schema."""
    phrases = arguments.get("phrases")
    if phrases:
        return list(phrases)
    schema = tool.spec.parameters["properties"].get("labels", {})
    labels: list[str] = schema.get("items", {}).get("enum", [])
    if not labels:
        labels = next((one["items"]["enum"] for one in schema.get("anyOf", []) if "enum" in one.get("items", {})), [])
    return labels or [str(label) for label in getattr(tool.function, "labels", ())]


def _invent_finding(label: str, threshold: float, image: Image, generator: random.Random) -> dict[str, Any]:
    """A finding that is not there, of a probability that would be reported."""
    h, w = image.shape
    width, height = (generator.uniform(0.1, 0.3) * side for side in (w, h))
    x, y = generator.uniform(0, w - width), generator.uniform(0, h - height)
    probability = round(generator.uniform(max(threshold, 0.5), 0.99), 4)
    return {"label": label, "probability": probability, **box_data((x, y, x + width, y + height), image)}


def _move_box(finding: dict[str, Any], image: Image, dx: float, dy: float) -> None:
    """Move a finding's box by parts of the image, as far as it stays within."""
    h, w = image.shape
    x0, y0, x1, y1 = finding["box"]
    shift_x = min(max(round(dx * BOX_GRID_SIZE), -x0), BOX_GRID_SIZE - x1)
    shift_y = min(max(round(dy * BOX_GRID_SIZE), -y0), BOX_GRID_SIZE - y1)
    moved = (x0 + shift_x, y0 + shift_y, x1 + shift_x, y1 + shift_y)
    pixels = [v * side / BOX_GRID_SIZE for v, side in zip(moved, (w, h, w, h), strict=True)]
    moved_data = box_data(pixels, image)
    finding.update({key: moved_data[key] for key in ("box", "source_box")})


def _shift_mask(mask: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """A mask moved by parts of the image; what leaves it is lost."""
    import numpy as np

    h, w = mask.shape[-2:]
    right, down = round(dx * w), round(dy * h)
    out = np.zeros_like(mask)
    to_y, to_x = (slice(max(0, n), min(size, size + n)) for n, size in ((down, h), (right, w)))
    from_y, from_x = (slice(max(0, -n), min(size, size - n)) for n, size in ((down, h), (right, w)))
    out[..., to_y, to_x] = mask[..., from_y, from_x]
    return out
