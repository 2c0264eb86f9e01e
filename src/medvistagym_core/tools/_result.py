"""What a call gave back, and how whatever a tool's author returns becomes that."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from medvistagym_core.imaging import Image
from medvistagym_core.tools._errors import ToolError


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
    """

    images: tuple[Image, ...] = ()
    text: str = ""
    data: dict[str, Any] | None = None
    error: ToolError | None = None
    handles: tuple[int, ...] = ()
    seconds: float = 0.0
    cached: bool = False

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None

    def as_cache_hit(self) -> ToolResult:
        """The result as that of a later identical call, with facts of its own to change."""
        data = None if self.data is None else copy.deepcopy(self.data)
        return made(self.images, self.text, data, self.error, self.handles, 0.0, True)

    def with_handles(self, handles: tuple[int, ...]) -> ToolResult:
        """The result, its images now in an episode's store under these handles."""
        return made(self.images, self.text, self.data, self.error, handles, self.seconds, self.cached)

    def with_seconds(self, seconds: float) -> ToolResult:
        """The result with another wall time."""
        return made(self.images, self.text, self.data, self.error, self.handles, seconds, self.cached)


class _Made:
    """A result while its fields are set: laid out as a `ToolResult`, but not frozen."""

    __slots__ = ("cached", "data", "error", "handles", "images", "seconds", "text")


def made(
    images: tuple[Image, ...],
    text: str,
    data: dict[str, Any] | None,
    error: ToolError | None,
    handles: tuple[int, ...],
    seconds: float,
    cached: bool,
) -> ToolResult:
    """A result of these fields, in a fifth of the time that a frozen class takes, for there is one for each call."""
    result: Any = _Made()
    result.images = images
    result.text = text
    result.data = data
    result.error = error
    result.handles = handles
    result.seconds = seconds
    result.cached = cached
    result.__class__ = ToolResult
    return result  # type: ignore[no-any-return]


def coerce_result(tool: str, value: Any, seconds: float) -> ToolResult:
    """What the tool called `tool` returned, as a result.

    Raises:
        ToolError: `tool_failed`, since the tool returned nothing, or what no result can hold.
    """
    if type(value) is int:
        return made((), str(value), {"value": value}, None, (), seconds, False)
    if isinstance(value, str):
        return made((), value, None, None, (), seconds, False)
    if isinstance(value, Image):
        return made((value,), "", None, None, (), seconds, False)
    if isinstance(value, ToolResult):
        return value.with_seconds(seconds)
    if isinstance(value, (int, float)):
        return made((), _number(value), {"value": value}, None, (), seconds, False)
    return _coerce_parts(tool, value if isinstance(value, list | tuple) else (value,), seconds)


def _coerce_parts(tool: str, parts: Sequence[Any], seconds: float) -> ToolResult:
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
