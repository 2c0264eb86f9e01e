"""What a call gave back, and how whatever a tool's author returns becomes that."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from medvistagym_core.errors import ToolError
from medvistagym_core.image import Image


@dataclasses.dataclass(frozen=True, eq=False, init=False)
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
    """

    images: tuple[Image, ...] = ()
    text: str = ""
    data: dict[str, Any] | None = None
    error: ToolError | None = None
    handles: tuple[int, ...] = ()
    seconds: float = 0.0
    cached: bool = False

    def __init__(
        self,
        images: tuple[Image, ...] = (),
        text: str = "",
        data: dict[str, Any] | None = None,
        error: ToolError | None = None,
        handles: tuple[int, ...] = (),
        seconds: float = 0.0,
        cached: bool = False,
    ) -> None:
        fields = self.__dict__  # a frozen dataclass assigns one by one through `object`, which takes twice as long
        fields["images"] = images
        fields["text"] = text
        fields["data"] = data
        fields["error"] = error
        fields["handles"] = handles
        fields["seconds"] = seconds
        fields["cached"] = cached

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None

    def again(self) -> ToolResult:
        """The result as that of a later identical call."""
        return _with(self.__dict__, seconds=0.0, cached=True)

    def stored(self, handles: tuple[int, ...]) -> ToolResult:
        """The result, its images now in an episode's store under these handles."""
        return _with(self.__dict__, handles=handles)

    def timed(self, seconds: float) -> ToolResult:
        """The result with another wall time."""
        return _with(self.__dict__, seconds=seconds)


def _with(fields: Mapping[str, Any], **changes: Any) -> ToolResult:
    """A result of these fields, the others as they are by default."""
    new = ToolResult.__new__(ToolResult)  # a third of the time of a call, and there is one for each call of a tool
    new.__dict__.update(fields, **changes)
    return new


def said(text: str, seconds: float) -> ToolResult:
    """A result that is text."""
    new = ToolResult.__new__(ToolResult)
    fields = new.__dict__
    fields["text"] = text
    fields["seconds"] = seconds
    return new


def normalised(tool: str, value: Any, seconds: float) -> ToolResult:
    """What the tool called `tool` returned, as a result.

    Raises:
        ToolError: `tool_failed`, since the tool returned nothing, or what no result can hold.
    """
    if isinstance(value, str):
        return said(value, seconds)
    if isinstance(value, Image):
        return _with({"images": (value,), "seconds": seconds})
    if isinstance(value, ToolResult):
        return value.timed(seconds)
    if isinstance(value, int | float):
        return ToolResult(text=_number(value), data={"value": value}, seconds=seconds)
    return _gathered(tool, value if isinstance(value, list | tuple) else (value,), seconds)


def _gathered(tool: str, parts: Sequence[Any], seconds: float) -> ToolResult:
    images: list[Image] = []
    texts: list[str] = []
    facts: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Image):
            images.append(part)
        elif isinstance(part, str):
            texts.append(part)
        elif isinstance(part, bool | int | float):
            facts["value"] = part
        elif isinstance(part, dict):
            facts.update(part)
        elif _is_model(part):
            facts.update(part.model_dump(mode="json"))
        else:
            kind = type(part).__name__
            raise ToolError(
                "tool_failed", f"{tool} returned {kind}; a tool returns an Image, text, number or dict, or a list."
            )
    if not parts:
        raise ToolError("tool_failed", f"{tool} returned nothing.")
    if facts:
        try:
            written = json.dumps(facts)
        except (TypeError, ValueError):
            raise ToolError("tool_failed", f"{tool} returned a dict with values that are not JSON.") from None
        if not texts:
            texts.append(_number(facts["value"]) if facts.keys() == {"value"} else written)
    return ToolResult(tuple(images), "\n".join(texts), facts or None, seconds=seconds)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool) else str(value)


def _is_model(value: Any) -> bool:
    from pydantic import BaseModel

    return isinstance(value, BaseModel)
