"""What a call gave back, and how whatever a tool's author returns becomes that."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any, Final, Literal

from medvistagym_core.imaging import Image
from medvistagym_core.tools._errors import ToolError
from medvistagym_core.tools._json_value import encodable_text, to_json_value

MAX_PIXELS: Final = 2**31
"""The largest image that a tool may return, in pixels over all frames."""


Perturbation = Literal["dropped", "shifted", "contradicted"]
"""What is done to a result: it is withheld, moved to another place, or turned into another finding."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class ToolResult:
    """What a call gave back.

    Attributes:
        images: New images, in order.
        text: What the policy reads.
        data: The same facts for programs, JSON values by name; or None.
        error: Why there is no result; then the rest is empty.
        handles: Handles given to `images` by the episode's store.
        seconds: Wall time of the kernel, shared evenly within a batch.
        cached: Whether it was taken from an earlier identical call.
        repairs: What had to be mended in the call's arguments before it could run (docs/protocol.md), by name.
        perturbation: How it was made wrong on purpose, to teach a policy to doubt; None when it is as the tool gave it.
    """

    images: tuple[Image, ...] = ()
    text: str = ""
    data: dict[str, Any] | None = None
    error: ToolError | None = None
    handles: tuple[int, ...] = ()
    seconds: float = 0.0
    cached: bool = False
    repairs: tuple[str, ...] = ()
    perturbation: Perturbation | None = None

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None

    def as_cache_hit(self) -> ToolResult:
        """The result as that of a later identical call, with facts of its own to change."""
        data = None if self.data is None else copy.deepcopy(self.data)
        return dataclasses.replace(self, data=data, seconds=0.0, cached=True)

    def with_handles(self, handles: tuple[int, ...]) -> ToolResult:
        """The result, its images now in an episode's store under these handles."""
        return dataclasses.replace(self, handles=handles)

    def with_seconds(self, seconds: float) -> ToolResult:
        """The result with another wall time."""
        return dataclasses.replace(self, seconds=seconds)


def coerce_result(tool: str, value: Any, seconds: float) -> ToolResult:
    """What a tool returned, as a result that every reader, writer and policy can take.

    Args:
        tool: The tool's name.
        value: An `Image`, text, number, dict or pydantic model, a sequence of those, or a `ToolResult` made by hand.
        seconds: Wall time of the kernel.

    Raises:
        ToolError: `tool_failed`, since the tool returned nothing, or what no result can hold.
    """
    if isinstance(value, ToolResult):
        return _checked_result(tool, value, seconds)
    parts = value if isinstance(value, list | tuple) else (value,)
    if not parts:
        raise ToolError("tool_failed", f"{tool} returned nothing.")
    images: list[Image] = []
    texts: list[str] = []
    data: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Image):
            images.append(_checked_image(tool, part))
        elif isinstance(part, str):
            texts.append(encodable_text(part))
        elif isinstance(part, bool | int | float):
            data["value"] = part
        elif isinstance(part, dict) or hasattr(part, "model_dump"):
            data.update(_json_data(tool, part))
        else:
            raise ToolError(
                "tool_failed",
                f"{tool} returned {type(part).__name__}; a tool returns an Image, text, number or dict, or a list.",
            )
    if data and not texts:
        texts.append(_number(data["value"]) if data.keys() == {"value"} else json.dumps(data))
    return ToolResult(tuple(images), "\n".join(texts), _json_data(tool, data) if data else None, seconds=seconds)


def _checked_result(tool: str, result: ToolResult, seconds: float) -> ToolResult:
    """A result that an author made by hand; handles are the episode's to give, so any it holds are dropped."""
    error: object = result.error
    if isinstance(error, ToolError):
        return ToolResult(error=error, seconds=seconds)
    for name, value, kind in (
        ("error", error, type(None)),
        ("text", result.text, str),
        ("images", result.images, tuple),
    ):
        if not isinstance(value, kind):
            raise ToolError("tool_failed", f"{tool} returned a result whose {name} is {type(value).__name__}.")
    images = tuple(_checked_image(tool, image) for image in result.images)
    data = None if result.data is None else _json_data(tool, result.data)
    return ToolResult(images, encodable_text(result.text), data, seconds=seconds)


def _checked_image(tool: str, image: Any) -> Image:
    if not isinstance(image, Image):
        raise ToolError("tool_failed", f"{tool} returned a result with {type(image).__name__} among its images.")
    if image.pixels.size > MAX_PIXELS:  # an array can claim to be larger than the memory it occupies
        raise ToolError("tool_failed", f"{tool} returned an image of {image.pixels.size} pixels; {MAX_PIXELS} at most.")
    return image


def _json_data(tool: str, data: Any) -> dict[str, Any]:
    try:
        value = to_json_value(data)
    except (TypeError, ValueError) as error:
        raise ToolError("tool_failed", f"{tool} returned a dict with values that are not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ToolError("tool_failed", f"{tool} returned a result whose data is {type(data).__name__}, not a dict.")
    return value


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
