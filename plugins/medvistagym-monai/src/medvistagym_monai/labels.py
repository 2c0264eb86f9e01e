"""The tool `segment_bundle`: every label of a MONAI bundle, measured.

The bundles are those that MEDVISTAGYM_SEGMENTERS names (see `medvistagym_segment.segmenters`), which also are choices of
`segment`; the tools share what is loaded. This module is imported only where there is one, since a policy names a bundle by a
choice and never by a path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, closest_match, tool
from medvistagym_segment.masks import as_image, facts, finest, in_words
from medvistagym_segment.segmenters import bundles, segmenter

if TYPE_CHECKING:
    import numpy as np

    Name = str
else:
    Name = Literal[tuple(bundles())]

TIMEOUT_S: Final = 120.0
_LISTED: Final = 12
_TOGETHER: Final = 32  # frames


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
        self.stacks = device != "cpu"  # there the copying costs more than it saves

    def run(self, image: Image, bundle: Name, label: str | None = None) -> tuple[Image, str, dict[str, Any]]:
        source = finest(image)
        network: Any = segmenter(bundle, self.device)
        return _measured(source, network.masks(source), bundle, label)


# a decorated class is a tool; type checkers take it for a class still
@cast(Tool, SegmentBundle).batch
def _together(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    """On a GPU single frames of one shape and spacing go through the network together."""
    results: list[Any] = [None] * len(calls)
    alike: dict[Hashable, list[int]] = {}
    for k, call in enumerate(calls):
        image: Image = call["image"]
        single = instance.stacks and not image.is_stack and image.detail is None
        alike.setdefault((call["bundle"], image.shape, image.spacing) if single else k, []).append(k)
    for places in alike.values():
        for first in range(0, len(places), _TOGETHER):
            some = places[first : first + _TOGETHER]
            results_of = _group if len(some) > 1 else _one_by_one
            for k, result in zip(some, results_of(instance, [calls[k] for k in some]), strict=True):
                results[k] = result
    return results


def _group(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    try:
        network: Any = segmenter(calls[0]["bundle"], instance.device)
        found = network.masks_of([call["image"] for call in calls])
    except ValueError:  # of one of them
        return _one_by_one(instance, calls)
    return [
        _tried(_measured, call["image"], masks, call["bundle"], call["label"])
        for call, masks in zip(calls, found, strict=True)
    ]


def _one_by_one(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [_tried(instance.run, **call) for call in calls]


def _tried(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return work(*args, **kwargs)
    except ValueError as error:
        return error


def _measured(
    source: Image, masks: Iterable[tuple[str, np.ndarray]], bundle: str, label: str | None
) -> tuple[Image, str, dict[str, Any]]:
    """The result of a call, from the masks of all labels."""
    import numpy as np

    listed: list[dict[str, Any]] = []
    absent: list[str] = []
    wanted: np.ndarray | None = None
    for name, mask in masks:
        if not mask.any():
            absent.append(name)
            continue
        listed.append({"label": name, **facts(mask, source)})
        if label is None or name.lower() == label.lower():
            wanted = mask if wanted is None else np.logical_or(wanted, mask)
    known = [*(str(one["label"]) for one in listed), *absent]
    if label is not None and label.lower() not in (name.lower() for name in known):
        near = closest_match(label, known)
        hint = f"; did you mean {near}?" if near else f"; it knows {', '.join(known[:_LISTED])}"
        raise ValueError(f"the bundle {bundle} knows no {label}{hint}")
    if wanted is None:
        raise ValueError(f"no {label or ' or '.join(known[:_LISTED])} was found in this image")
    listed.sort(key=lambda one: -int(one["pixels"]))
    said = [f"{one['label']}: {in_words(one)}" for one in listed[:_LISTED]]
    if len(listed) > _LISTED:
        said.append(f"{len(listed) - _LISTED} more, smaller")
    if absent:
        said.append(f"not found: {', '.join(absent[:_LISTED])}{', ...' if len(absent) > _LISTED else ''}")
    data = {"bundle": bundle, "label": label, "labels": listed, "not_found": absent, **facts(wanted, source)}
    return as_image(wanted, source), "\n".join(said), data
