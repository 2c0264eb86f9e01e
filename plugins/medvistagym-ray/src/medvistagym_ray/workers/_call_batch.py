"""What crosses to a worker and back: calls of one tool, and their results."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from medvistagym_core.execution import ToolReference
from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolResult
from medvistagym_ray.workers._packed_image import PackedImage


class ImageAt(NamedTuple):
    """An image in the object store: the position of its bundle among those of the batch, and its own in the bundle."""

    bundle: int
    position: int


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

    results: tuple[ToolResult, ...]
    images: tuple[int, ...]
    keys: tuple[bytes, ...]
    nbytes: int


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
    found: list[Image] = []
    map_images(arguments, names, found.append)
    return found


Bundle = list[PackedImage]
"""Images that were placed in the object store together."""
