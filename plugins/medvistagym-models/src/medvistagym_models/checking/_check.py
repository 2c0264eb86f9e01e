"""Running a model's tool once, and reporting results, agreement, memory and time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from medvistagym_core.imaging import Image, full_resolution
from medvistagym_core.tools import ToolResult, free_unused_memory, unavailable_reason
from medvistagym_models._entry import ModelEntry
from medvistagym_models._models_file import ModelError
from medvistagym_models._tool import complete_entry, make_tool
from medvistagym_models.checking._comparison import Comparison, compare, prompt_for
from medvistagym_models.checking._phantom import phantom
from medvistagym_models.networks import displayed_frame, load_model
from medvistagym_segment import draw_overlay

BATCHES: Final = (1, 8, 64)
_MAX_S: Final = 20.0
"""A batch that would take longer is not timed."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a batch takes.

    Attributes:
        device: Where.
        images: How many go together.
        seconds: For all of them.
    """

    device: str
    images: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What came of trying a model.

    Attributes:
        name: The tool's name.
        task: What the model does.
        picture: What it was tried on.
        text: The sentence that a policy reads.
        data: The result's facts.
        comparisons: Beside the model's own pipeline; empty where there is no other way to run it.
        load_s: Seconds to load it.
        memory_bytes: Memory that it took, by device; of the process on the CPU.
        timings: Seconds a batch on each device.
        drawing: The picture with what was found; None where nothing has a place.
    """

    name: str
    task: str
    picture: str
    text: str
    data: dict[str, Any]
    comparisons: tuple[Comparison, ...]
    load_s: float
    memory_bytes: Mapping[str, int]
    timings: tuple[Timing, ...]
    drawing: Image | None

    @property
    def same(self) -> bool:
        """Whether every difference is tolerated."""
        return all(one.same for one in self.comparisons)


def check_model(entry: ModelEntry, image: Image | None = None, devices: Sequence[str] = ("cpu",)) -> CheckReport:
    """Try the model of an entry in this process.

    Args:
        entry: The entry.
        image: What to try it on; a phantom of its modality when None.
        devices: Where to time it; the first is where it is compared.

    Raises:
        ModelError: It cannot be loaded, or fails on the picture.
    """
    entry, _, _ = complete_entry(entry)
    for device in devices:
        if reason := unavailable_reason(device):
            raise ModelError(entry.name, reason)
    timings: list[Timing] = []
    memory: dict[str, int] = {}
    comparisons: tuple[Comparison, ...] = ()
    load_s, result, checked_image = 0.0, ToolResult(), image
    for position, device in enumerate(devices):
        before, began = _used_bytes(device), perf_counter()
        model = load_model(entry, device)
        seconds = perf_counter() - began
        if position == 0:
            load_s = seconds
            volume = bool(getattr(model, "takes_volumes", False))
            checked_image = phantom(entry.modalities, volume=volume) if image is None else image
            source = full_resolution(checked_image) if volume else displayed_frame(checked_image)
            reference = model.reference()
            comparisons = () if reference is None else tuple(compare(entry, model, reference, source))
            result = _call(entry, device, checked_image)
        assert checked_image is not None
        timings += _time(entry, model, device, checked_image)
        memory[device] = max(0, _used_bytes(device) - before)
        del model
        free_unused_memory()
    assert checked_image is not None
    return CheckReport(
        name=entry.name,
        task=entry.require_task(),
        picture="a phantom, of plain shapes" if image is None else _describe(image),
        text=result.text,
        data=result.data or {},
        comparisons=comparisons,
        load_s=load_s,
        memory_bytes=memory,
        timings=tuple(timings),
        drawing=_draw(checked_image, result),
    )


def _arguments(entry: ModelEntry, image: Image) -> dict[str, Any]:
    """A call that a policy might make."""
    if entry.task == "embedding":
        return {"images": [image, image]}
    arguments: dict[str, Any] = {"image": image}
    if entry.task == "promptable-segmentation":
        return {**arguments, "box": [250, 250, 750, 750], "points": None, "outside": None, "follow": False}
    if entry.task == "open-vocabulary-detection":
        arguments["phrases"] = ["bright spot", "lung"]
    if entry.task in ("object-detection", "open-vocabulary-detection", "instance-segmentation"):
        default = 0.25 if entry.task == "open-vocabulary-detection" else 0.5
        arguments["threshold"] = default if entry.threshold is None else entry.threshold
    return arguments


def _call(entry: ModelEntry, device: str, image: Image) -> ToolResult:
    tool = make_tool(entry).on_device(device)
    result = tool.run(_arguments(entry, image))
    if result.error is not None:
        raise ModelError(entry.name, f"fails on {_describe(image)}: {result.error.message}")
    return result


def _time(entry: ModelEntry, model: Any, device: str, image: Image) -> list[Timing]:
    """Seconds of a batch of each size; of volumes, of one alone."""
    volume = bool(getattr(model, "takes_volumes", False))
    source = full_resolution(image) if volume else displayed_frame(image)
    found: list[Timing] = []
    for count in (1,) if volume else BATCHES:
        if found and count * found[-1].seconds / found[-1].images > _MAX_S:
            break
        images = [source] * count
        _run(entry, model, images[:1])
        began = perf_counter()
        _run(entry, model, images)
        _wait_for(device)
        found.append(Timing(device, count, perf_counter() - began))
    return found


def _run(entry: ModelEntry, model: Any, images: Sequence[Image]) -> None:
    task, count = entry.require_task(), len(images)
    if task == "image-classification":
        model.classify(images)
    elif task == "embedding":
        model.embed(images)
    elif task == "object-detection":
        model.detect(images, [0.5] * count)
    elif task == "open-vocabulary-detection":
        model.detect_phrases(images, [["bright spot", "lung"]] * count, [0.5] * count)
    elif task == "instance-segmentation":
        model.segment_instances(images, [0.5] * count)
    elif task == "promptable-segmentation":
        model.segment_prompted(images, [prompt_for(one) for one in images])
    else:
        model.segment(images)


def _draw(image: Image, result: ToolResult) -> Image | None:
    """The picture with outlines of the mask, or boxes; of a volume, the slice that the mask shows."""
    boxes = [one["box"] for one in (result.data or {}).get("findings", ()) if "box" in one]
    if not result.images:
        return draw_overlay(displayed_frame(image), [], boxes) if boxes else None
    (mask,) = result.images
    if not mask.is_stack:
        return draw_overlay(displayed_frame(image), [mask.pixels], ())
    source = full_resolution(image)
    z = int(mask.pixels.sum((1, 2)).argmax())
    frame = source.replace(pixels=source.pixels[z], frame=None, spacing=None)
    return draw_overlay(frame, [mask.pixels[z]], ())


def _describe(image: Image) -> str:
    size = " x ".join(str(n) for n in image.pixels.shape)
    return f"the image of {size} pixels{f' ({image.modality})' if image.modality else ''}"


def _used_bytes(device: str) -> int:
    """Memory in use: the most that torch has taken on a GPU, or that of this process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
