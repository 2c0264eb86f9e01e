"""semantic-, instance- and promptable-segmentation: which pixels something covers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Box, Image, full_resolution, mask_image
from medvistagym_models._entry import ModelEntry
from medvistagym_models.networks import (
    InstanceSegmenter,
    LabelMask,
    PointPrompt,
    PromptableSegmenter,
    SemanticSegmenter,
    displayed_frame,
)
from medvistagym_models.tasks._base import (
    Call,
    GridPoint,
    each,
    frame_note,
    image_parameter,
    labels_parameter,
    parameter,
    threshold_parameter,
)
from medvistagym_models.tasks._findings import format_data, mask_data

THRESHOLD: Final = 0.5
_Returned = tuple[Image, str, dict[str, Any]]
_Points = Annotated[list[GridPoint], Field(min_length=1, max_length=16)] | None


class SemanticSegmentation:
    """See `TaskKind`."""

    returns: Any = _Returned

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        names: Any = Literal[tuple(labels)]
        several = len(labels) > 1
        choice = [parameter("label", names | None, "The mask wanted; that of all together unless given.", None)]
        return [image_parameter("The image, or volume, to search."), *(choice if several else [])]

    def results(self, entry: ModelEntry, model: SemanticSegmenter, calls: Sequence[Call]) -> list[Any]:
        def source(call: Call) -> Image:
            if not model.takes_volumes:
                return displayed_frame(call["image"])
            image = full_resolution(call["image"])
            if not image.is_stack:
                raise ValueError(f"the model {entry.model} needs a volume, and the image is a single frame")
            return image

        results, positions, sources = each(calls, source)
        if not sources:
            return results
        for k, image, masks in zip(positions, sources, model.segment(sources), strict=True):
            wanted = calls[k].get("label")
            chosen = [one for one in masks if wanted is None or one.label == wanted]
            results[k] = _result(entry, "semantic-segmentation", calls[k], image, masks, chosen)
        return results


class InstanceSegmentation:
    """See `TaskKind`."""

    returns: Any = _Returned

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        return [
            image_parameter("The image to search; of a stack, the frame that is shown."),
            threshold_parameter(entry, THRESHOLD),
            *labels_parameter(labels),
        ]

    def results(self, entry: ModelEntry, model: InstanceSegmenter, calls: Sequence[Call]) -> list[Any]:
        results, positions, frames = each(calls, lambda call: displayed_frame(call["image"]))
        if not frames:
            return results
        thresholds = [calls[k]["threshold"] for k in positions]
        for k, frame, masks in zip(positions, frames, model.segment_instances(frames, thresholds), strict=True):
            wanted = calls[k].get("labels")
            chosen = [one for one in masks if wanted is None or one.label in wanted]
            results[k] = _result(entry, "instance-segmentation", calls[k], frame, chosen, chosen)
        return results


class PromptableSegmentation:
    """See `TaskKind`."""

    returns: Any = _Returned

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        grid = "on a grid from 0 to 1000 over the image"
        return [
            image_parameter("The image; of a stack, the frame that is shown is pointed at."),
            parameter("box", Box | None, f"[left, top, right, bottom] {grid}, tightly around the structure.", None),
            parameter("points", _Points, f"[x, y] {grid}, each well inside the structure.", None),
            parameter("outside", _Points, f"[x, y] {grid}, each on what does not belong to it.", None),
            parameter("follow", bool, "Whether to follow it through the slices of a volume; slow.", False),
        ]

    def results(self, entry: ModelEntry, model: PromptableSegmenter, calls: Sequence[Call]) -> list[Any]:
        results, positions, pairs = each(calls, lambda call: _read_prompt(entry, model, call))
        if not pairs:
            return results
        sources, prompts = [source for source, _ in pairs], [prompt for _, prompt in pairs]
        for k, source, mask in zip(positions, sources, model.segment_prompted(sources, prompts), strict=True):
            results[k] = _result(entry, "promptable-segmentation", calls[k], source, [mask], [mask])
        return results


def _read_prompt(entry: ModelEntry, model: PromptableSegmenter, call: Call) -> tuple[Image, PointPrompt]:
    """The image that a call means, and what it points at in pixels.

    Raises:
        ValueError: It points at nothing, or asks to follow what is no volume.
    """
    image: Image = call["image"]
    if not (call["box"] or call["points"]):
        raise ValueError(f"the model {entry.model} needs a box around the structure, or a point inside it")
    frame = displayed_frame(image)
    h, w = frame.shape

    def pixels(points: Sequence[Sequence[int]] | None) -> tuple[tuple[float, float], ...]:
        # a point names a pixel of the grid; its middle is meant
        return tuple(((x + 0.5) * w / BOX_GRID_SIZE, (y + 0.5) * h / BOX_GRID_SIZE) for x, y in points or ())

    box = None
    if call["box"] is not None:
        x0, y0, x1, y1 = call["box"]
        box = (x0 * w / BOX_GRID_SIZE, y0 * h / BOX_GRID_SIZE, x1 * w / BOX_GRID_SIZE, y1 * h / BOX_GRID_SIZE)
    prompt = PointPrompt(pixels(call["points"]), pixels(call["outside"]), box, call["follow"])
    if not call["follow"]:
        return frame, prompt
    volume = full_resolution(image)
    if not volume.is_stack:
        raise ValueError("follow is for volumes, and the image is a single frame; leave it out")
    if not model.follows:
        raise ValueError(f"the model {entry.model} cannot follow a structure through a volume; leave follow out")
    return volume, prompt


def _result(
    entry: ModelEntry,
    task: str,
    call: Call,
    source: Image,
    masks: Sequence[LabelMask],
    chosen: Sequence[LabelMask],
) -> Any:
    """The mask of what was chosen with the measurements of all; without a mask where nothing was found."""
    import numpy as np

    data = mask_data(entry.model, task, masks, source)
    text = format_data(data) + frame_note(call["image"], source)
    found = [one.mask for one in chosen if one.mask.any()]
    if not found:
        wanted = call.get("label")
        text = f"No {wanted} was found; the whole: {text}" if wanted and data["findings"] else text
        return text, data
    return mask_image(np.logical_or.reduce(found), source), text, data
