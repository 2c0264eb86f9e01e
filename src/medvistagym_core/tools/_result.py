"""`ToolResult`, and the conversion of whatever a tool's author returns into one."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

from medvistagym_core.imaging import Image
from medvistagym_core.tools._errors import ToolError, wrap_exception
from medvistagym_core.tools._json_value import copy_json_value, to_json_value
from medvistagym_core.tools._returned_image import check_image
from medvistagym_core.tools._safe_text import encodable_text

MAX_PARTS: Final = 256
"""Most images, texts and facts that a tool may return at once."""
_WIDE_INTEGER: Final = 2**64  # one as wide is looked at as closely as a part of a result
MAX_TEXT_CHARS: Final = 1_000_000
"""Characters of a tool's text that are kept; a policy is shown far fewer."""


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

    @property
    def image(self) -> Image:
        """The only image.

        Raises:
            ValueError: There is none, or there are several.
        """
        if len(self.images) != 1:
            raise ValueError(f"the result holds {len(self.images)} images, not one; see its images and its text")
        return self.images[0]

    def _repr_html_(self) -> str:
        from medvistagym_core.tools._html import result_html

        return result_html(self)

    def as_cache_hit(self) -> ToolResult:
        """The result as that of a later identical call, with facts of its own to change."""
        data = None if self.data is None else {name: copy_json_value(part) for name, part in self.data.items()}
        return ToolResult(
            self.images,
            self.text,
            data,
            self.error,
            self.handles,
            cached=True,
            repairs=self.repairs,
            perturbation=self.perturbation,
        )

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
    if type(value) is str:
        return ToolResult((), _cut(value), seconds=seconds)
    if type(value) is bool or type(value) is float or (type(value) is int and abs(value) < _WIDE_INTEGER):
        finite = type(value) is not float or math.isfinite(value)
        return ToolResult((), _number(value), {"value": value if finite else None}, seconds=seconds)
    if isinstance(value, Image):
        return ToolResult((check_image(tool, value),), seconds=seconds)
    if isinstance(value, ToolResult):
        return _check_result(tool, value, seconds)
    parts = value if isinstance(value, list | tuple) else (value,)
    if not parts:
        raise ToolError("tool_failed", f"{tool} returned nothing.")
    if len(parts) > MAX_PARTS:
        raise ToolError("tool_failed", f"{tool} returned {len(parts)} things; {MAX_PARTS} at most.")
    images: list[Image] = []
    texts: list[str] = []
    data: list[Any] = []  # dicts and numbers
    for part in parts:
        if isinstance(part, Image):
            images.append(check_image(tool, part))
        elif isinstance(part, str):
            texts.append(str.__str__(part))
        elif isinstance(part, bool | int | float):
            data.append(part)
        elif getattr(part, "ndim", None) == 0 and hasattr(part, "item"):  # a number of NumPy's or torch's
            data.append(part.item())
        elif isinstance(part, dict) or hasattr(part, "model_dump"):
            data.append(_json_data(tool, part))
        else:
            raise ToolError(
                "tool_failed",
                f"{tool} returned {type(part).__name__}; a tool returns an Image, text, number or dict, or a list.",
            )
    joined = _join_data(data)
    whole = len(parts) > 1 or "value" in joined  # numbers, or parts that may hold too much together
    facts = (_json_data(tool, joined) if whole else joined) if joined else None
    if facts and not texts:
        texts.append(_number(joined["value"]) if facts.keys() == {"value"} else json.dumps(facts, ensure_ascii=False))
    return ToolResult(tuple(images), _cut("\n".join(texts)), facts, seconds=seconds)


def check_result(tool: str, result: object, num_images: int) -> ToolResult:
    """A result that an executor gave back, its images already in an episode's store; one that cannot be is an error.

    Args:
        tool: The tool's name.
        result: What was given.
        num_images: Number of images in the store.
    """
    wrong = _result_fault(result, num_images)
    if wrong is None:
        assert isinstance(result, ToolResult)
        return result
    return ToolResult(error=ToolError("tool_failed", f"{tool}: its result {wrong}."))


def _result_fault(result: Any, num_images: int) -> str | None:
    if not isinstance(result, ToolResult):
        return f"is {type(result).__name__}"
    error: Any = result.error
    text: Any = result.text
    data: Any = result.data
    handles: Any = result.handles
    if error is not None and not isinstance(error, ToolError):
        return f"has {type(error).__name__} for its error"
    if not isinstance(text, str):
        return f"has {type(text).__name__} for its text"
    if data is not None and not isinstance(data, dict):
        return f"has {type(data).__name__} for its data"
    if not isinstance(handles, tuple):
        return f"has {type(handles).__name__} for its handles"
    for handle in handles:
        if type(handle) is not int or not 0 <= handle < num_images:
            return f"names the images {handles!r:.80}, of which there are {num_images}"
    if not _is_duration(result.seconds):
        return f"took {result.seconds!r:.40} seconds"
    return None


def _check_result(tool: str, result: ToolResult, seconds: float) -> ToolResult:
    """A result that an author made by hand; handles are the episode's to give, so any it holds are dropped."""
    error: object = result.error
    if isinstance(error, ToolError):
        return ToolResult(error=wrap_exception(tool, error), seconds=seconds)
    for name, value, kind in (
        ("error", error, type(None)),
        ("text", result.text, str),
        ("images", result.images, tuple),
    ):
        if not isinstance(value, kind):
            raise ToolError("tool_failed", f"{tool} returned a result whose {name} is {type(value).__name__}.")
    if len(result.images) > MAX_PARTS:
        raise ToolError("tool_failed", f"{tool} returned {len(result.images)} images; {MAX_PARTS} at most.")
    images = tuple(check_image(tool, image) for image in result.images)
    data = None if result.data is None else _json_data(tool, result.data)
    return ToolResult(images, _cut(result.text), data, seconds=seconds)


def _join_data(parts: Sequence[Any]) -> dict[str, Any]:
    """Dicts and numbers as one dict, a number under `value`; all in their order under `values` where two share a name."""
    joined: dict[str, Any] = {}
    for part in parts:
        named = part if isinstance(part, dict) else {"value": part}
        if joined.keys() & named.keys():
            return {"values": list(parts)}
        joined |= named
    return joined


def _json_data(tool: str, data: Any) -> dict[str, Any]:
    try:
        value = to_json_value(data)
    except (TypeError, ValueError) as error:
        raise ToolError("tool_failed", f"{tool} returned a dict with values that are not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ToolError("tool_failed", f"{tool} returned a result whose data is {type(data).__name__}, not a dict.")
    return value


def _cut(text: str) -> str:
    """The text as any file and tokenizer can hold it, of at most `MAX_TEXT_CHARS` characters."""
    text = str.__str__(text)  # of a subclass, such as an enumeration's, the text itself
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:MAX_TEXT_CHARS]} [cut: {len(text)} characters in all]"
    return encodable_text(text)


def _is_duration(seconds: object) -> bool:
    # Nearly all are floats, which is seen sooner by their type.
    return (type(seconds) is float or isinstance(seconds, int | float)) and math.isfinite(seconds) and seconds >= 0


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
