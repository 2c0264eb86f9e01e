"""The tool `segment_bundle`: every label of a MONAI bundle, measured.

The bundles are those that MEDVISTAGYM_SEGMENTERS names (see medvistagym-segment), which also are choices of `segment`; the
tools share what is loaded. This module is imported only where there is one, since a policy names a bundle by a choice and never
by a path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from medvistagym_core.imaging import (
    Image,
    format_frame,
    format_measurements,
    full_resolution,
    mask_image,
    mask_measurements,
)
from medvistagym_core.tools import Tool, closest_match, tool
from medvistagym_segment import configured_bundles, load_bundle

if TYPE_CHECKING:
    import numpy as np

    Name = str
else:
    Name = Literal[tuple(configured_bundles())]

TIMEOUT_S: Final = 120.0
_MAX_LISTED: Final = 12
_MAX_BATCH: Final = 32  # frames


@tool(timeout_s=TIMEOUT_S)
class SegmentBundle:
    """Find all the structures that a trained network knows, each with its size in mm2 or ml and its box.

    Use it for sizes and places of several structures at once, or for the mask of one of them. To crop at once to all that a
    network finds use segment_crop.

    Args:
        image: The image, or volume of axial slices from feet to head.
        bundle: The network.
        label: The structure whose mask is wanted; that of all together unless given.
    """

    def setup(self, device: str) -> None:
        self.device = device
        self.prefers_batches = device != "cpu"  # there the copying costs more than it saves

    def run(self, image: Image, bundle: Name, label: str | None = None) -> tuple[Image, str, dict[str, Any]]:
        source = full_resolution(image)
        (masks,) = load_bundle(bundle, self.device).predict_masks([source])
        mask, text, data = _label_measurements(source, masks, bundle, label)
        return mask, text + format_frame(image, source), data


@cast(Tool, SegmentBundle).batch  # to a type checker a decorated class is still the class
def _predict_batched(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    """On a GPU single frames of one shape and spacing go through the network together."""
    results: list[Any] = [None] * len(calls)
    alike: dict[Hashable, list[int]] = {}
    for k, call in enumerate(calls):
        image: Image = call["image"]
        batched = instance.prefers_batches and not image.is_stack and image.detail is None
        alike.setdefault((call["bundle"], image.shape, image.spacing) if batched else k, []).append(k)
    for indices in alike.values():
        for first in range(0, len(indices), _MAX_BATCH):
            chunk = indices[first : first + _MAX_BATCH]
            predict = _predict_together if len(chunk) > 1 else _predict_one_by_one
            for k, result in zip(chunk, predict(instance, [calls[k] for k in chunk]), strict=True):
                results[k] = result
    return results


def _predict_together(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The results of calls whose images fit one run of the network; of each alone, if one of them is refused."""
    try:
        bundle = load_bundle(calls[0]["bundle"], instance.device)
        masks = bundle.predict_masks([call["image"] for call in calls])
    except ValueError:
        return _predict_one_by_one(instance, calls)
    return [
        _result_or_error(_label_measurements, call["image"], of_one, call["bundle"], call["label"])
        for call, of_one in zip(calls, masks, strict=True)
    ]


def _predict_one_by_one(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [_result_or_error(instance.run, **call) for call in calls]


def _result_or_error(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        return error


def _label_measurements(
    source: Image, masks: Iterable[tuple[str, np.ndarray]], bundle: str, label: str | None
) -> tuple[Image, str, dict[str, Any]]:
    """The result of a call, from the masks of all labels."""
    import numpy as np

    measured: list[dict[str, Any]] = []
    empty: list[str] = []
    chosen: np.ndarray | None = None
    for name, mask in masks:
        if not mask.any():
            empty.append(name)
            continue
        measured.append({"label": name, **mask_measurements(mask, source)})
        if label is None or name.lower() == label.lower():
            chosen = mask if chosen is None else np.logical_or(chosen, mask)
    names = [*(str(one["label"]) for one in measured), *empty]
    if label is not None and label.lower() not in (name.lower() for name in names):
        suggestion = closest_match(label, names)
        hint = f"; did you mean {suggestion}?" if suggestion else f"; it knows {', '.join(names[:_MAX_LISTED])}"
        raise ValueError(f"the bundle {bundle} knows no {label}{hint}")
    if chosen is None:
        raise ValueError(f"no {label or ' or '.join(names[:_MAX_LISTED])} was found in this image")
    measured.sort(key=lambda one: -int(one["pixels"]))
    lines = [f"{one['label']}: {format_measurements(one)}" for one in measured[:_MAX_LISTED]]
    if len(measured) > _MAX_LISTED:
        lines.append(f"{len(measured) - _MAX_LISTED} more, smaller")
    if empty:
        lines.append(f"not found: {', '.join(empty[:_MAX_LISTED])}{', ...' if len(empty) > _MAX_LISTED else ''}")
    data = {
        "bundle": bundle,
        "label": label,
        "labels": measured,
        "not_found": empty,
        **mask_measurements(chosen, source),
    }
    return mask_image(chosen, source), "\n".join(lines), data
