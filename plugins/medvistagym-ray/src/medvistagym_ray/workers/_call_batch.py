"""What crosses to a worker and back: calls of one tool, and their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from medvistagym_core.execution import ToolReference
from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolError, ToolResult
from medvistagym_ray.workers._packed_image import PackedImage

ImageAt = tuple[int, int]
"""An image in the object store: the position of its bundle among those of the batch, and its own in the bundle."""
BareResult = tuple[str, dict[str, Any] | None, ToolError | None, float, bool]
"""Text, data, error, seconds and whether it was cached, of a result. Both are tuples of the builtin kind, since Ray's pickler
takes a step in Python for each value of any other class."""


@dataclasses.dataclass(frozen=True)
class SharedTool:
    """A tool as a worker can have it.

    Attributes:
        name: The name that errors call it by.
        key: Equal only for tools that do the same: id, version, schema, core's version and device.
        fingerprint: Hash of the schema that the caller checked arguments with.
        reference: Where the worker finds the tool.
    """

    name: str
    key: str
    fingerprint: str
    reference: ToolReference


@dataclasses.dataclass(frozen=True)
class CallBatch:
    """Calls of a tool, sent to a worker together.

    Attributes:
        id: Unlike that of any other batch; a worker that was restarted knows by it what it died at.
        tool: The tool.
        calls: Arguments, with `ImageAt` in place of images.
        groups: Positions of the calls that the tool's kernel takes together; every call is in one group.
    """

    id: str
    tool: SharedTool
    calls: tuple[dict[str, Any], ...]
    groups: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class BatchAnswer:
    """The results of a batch; their images lie in the object store beside it, in order.

    Attributes:
        results: For each call, its result without its images.
        images: For each call, how many images it made.
        keys: Keys of the images' contents.
        nbytes: Memory that the images take.
    """

    results: tuple[BareResult, ...]
    images: tuple[int, ...]
    keys: tuple[bytes, ...]
    nbytes: int


def without_images(result: ToolResult) -> BareResult:
    """A result as it crosses, without its images."""
    return result.text, result.data, result.error, result.seconds, result.cached


def with_images(bare: BareResult, images: Sequence[Image]) -> ToolResult:
    """The result that crossed, with its images."""
    text, data, error, seconds, cached = bare
    return ToolResult(tuple(images), text, data, error, (), seconds, cached)


def map_images(arguments: dict[str, Any], names: tuple[str, ...], change: Any) -> dict[str, Any]:
    """Arguments whose images were each replaced by `change` of them.

    Args:
        arguments: Of a call.
        names: The arguments that are images, or lists of them.
        change: Called with each image, or with what stands for one.
    """
    new = dict(arguments)
    for name in names:
        value = arguments[name]
        if isinstance(value, list):
            new[name] = [change(one) for one in value]
        elif value is not None:
            new[name] = change(value)
    return new


def images_of(arguments: dict[str, Any], names: tuple[str, ...]) -> list[Image]:
    """The images of a call's arguments, in order."""
    images: list[Image] = []
    map_images(arguments, names, images.append)
    return images


Bundle = list[PackedImage]
"""Images that were placed in the object store together."""
