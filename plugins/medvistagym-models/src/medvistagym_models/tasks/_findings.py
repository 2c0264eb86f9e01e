"""What a model found, as the data of a tool's result, and the sentence that a policy reads of it.

The sentence follows from the data alone, so that data which were changed on purpose (`perturbation`) can be read again.
Every place is given three ways: `box` on the 0-1000 grid of the image that was named, `source_box` in pixels of the source
image, and `size_mm` where the spacing is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.imaging import BOX_GRID_SIZE, Image, format_measurements, mask_measurements
from medvistagym_models.networks import Detection, LabelMask

MAX_LISTED: Final = 12
"""Findings that a sentence lists; the data hold all."""

Data = dict[str, Any]


def box_data(box: Sequence[float], image: Image) -> Data:
    """A box `(x0, y0, x1, y1)` in pixels of an image as data.

    Args:
        box: In pixel edges of `image`.
        image: The image that was named; its `to_source` and `spacing` give the other two places.
    """
    h, w = image.shape
    grid = [
        max(0, math.floor(box[0] * BOX_GRID_SIZE / w)),
        max(0, math.floor(box[1] * BOX_GRID_SIZE / h)),
        min(BOX_GRID_SIZE, math.ceil(box[2] * BOX_GRID_SIZE / w)),
        min(BOX_GRID_SIZE, math.ceil(box[3] * BOX_GRID_SIZE / h)),
    ]
    a, b, c, d, e, f = image.to_source
    corners = [(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs, ys = [a * x + b * y + c for x, y in corners], [d * x + e * y + f for x, y in corners]
    data: Data = {"box": grid, "source_box": [round(v, 1) for v in (min(xs), min(ys), max(xs), max(ys))]}
    if image.spacing is not None:
        data["size_mm"] = [
            round((box[2] - box[0]) * image.spacing[-1], 1),
            round((box[3] - box[1]) * image.spacing[-2], 1),
        ]
    return data


def detection_data(model: str, task: str, threshold: float, detections: Sequence[Detection], image: Image) -> Data:
    """What a detector found, as data."""
    findings = [
        {"label": one.label, "probability": round(one.probability, 4), **box_data(one.box, image)} for one in detections
    ]
    return {"model": model, "task": task, "threshold": threshold, "findings": findings}


def mask_data(model: str, task: str, masks: Sequence[LabelMask], image: Image) -> Data:
    """What a segmenter found, as data: labels that are there with their measurements, and those that are not.

    Args:
        model: The model, as results name it.
        task: What it does, such as "semantic-segmentation".
        masks: Booleans of the shape of `image`, one for each label; an empty one says that the label is not there.
        image: The image that was segmented.
    """
    findings: list[Data] = []
    for one in masks:
        if one.mask.any():
            measured = mask_measurements(one.mask, image)
            box = _pixels_of_grid(measured["box"], image)
            findings.append(
                {
                    "label": one.label,
                    "probability": None if one.probability is None else round(one.probability, 4),
                    **measured,
                    "source_box": box_data(box, image)["source_box"],
                }
            )
    missing = [one.label for one in masks if not one.mask.any()]
    return {"model": model, "task": task, "findings": findings, "not_found": missing}


def format_data(data: Mapping[str, Any]) -> str:
    """The sentence of a result's data."""
    if "probabilities" in data:
        return _format_probabilities(data)
    return _format_masks(data) if "not_found" in data else _format_detections(data)


def _format_probabilities(data: Mapping[str, Any]) -> str:
    ordered = sorted(data["probabilities"].items(), key=lambda item: -item[1])
    listed = ", ".join(f"{label} {probability:.2f}" for label, probability in ordered[:MAX_LISTED])
    more = f", and {len(ordered) - MAX_LISTED} less probable" if len(ordered) > MAX_LISTED else ""
    if data["exclusive"]:
        return f"{listed}{more}. {_by(data)}, one of these excludes the others."
    above = f"above {data['threshold']:g}: {', '.join(one['label'] for one in data['findings']) or 'none'}"
    return f"{listed}{more}. {_by(data)}, {above}."


def _format_detections(data: Mapping[str, Any]) -> str:
    findings = data["findings"]
    above = f"above {data['threshold']:g}"
    if not findings:
        return f"Nothing was found {above}. {_by(data)}, which may miss what is there."
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for one in findings[:MAX_LISTED]:
        by_label.setdefault(str(one["label"]), []).append(one)
    groups = [
        f"{label} ({len(ones)}): " + ", ".join(f"{one['box']} {one['probability']:.2f}" for one in ones)
        for label, ones in by_label.items()
    ]
    more = f"; {len(findings) - MAX_LISTED} more, less probable" if len(findings) > MAX_LISTED else ""
    return f"{'; '.join(groups)}{more}. {_by(data)}, {above}."


def _format_masks(data: Mapping[str, Any]) -> str:
    lines = []
    for one in data["findings"][:MAX_LISTED]:
        sure = "" if one["probability"] is None else f", probability {one['probability']:.2f}"
        lines.append(f"{one['label']}: {format_measurements(dict(one))}{sure}")
    if len(data["findings"]) > MAX_LISTED:
        lines.append(f"{len(data['findings']) - MAX_LISTED} more, listed later")
    if data["not_found"]:
        names = data["not_found"]
        lines.append(f"not found: {', '.join(names[:MAX_LISTED])}{', ...' if len(names) > MAX_LISTED else ''}")
    return "; ".join(lines) + f". {_by(data)}."


def _by(data: Mapping[str, Any]) -> str:
    return f"By the model {data['model']}"


def _pixels_of_grid(box: Sequence[int], image: Image) -> tuple[float, float, float, float]:
    h, w = image.shape
    x0, y0, x1, y1 = box
    return x0 * w / BOX_GRID_SIZE, y0 * h / BOX_GRID_SIZE, x1 * w / BOX_GRID_SIZE, y1 * h / BOX_GRID_SIZE
