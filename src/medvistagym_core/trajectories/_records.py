"""Records of what happened: the parts of a trajectory, and how they are made.

JSON texts (`arguments`, `data`) are kept as text, so that every record has the same columns whatever the tools.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json

from medvistagym_core.execution import StoredImage
from medvistagym_core.imaging import RenderedImage
from medvistagym_core.protocol import Block, Turn, truncate
from medvistagym_core.tools import ErrorCode, Perturbation, ToolCall, ToolError, ToolResult

MAX_TEXT_CHARS = 100_000
SECONDS_DIGITS = 6
"""Digits behind the point of times in records: what lies below is noise."""


class Record(BaseModel):
    """A part of a trajectory."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BlockRecord(Record):
    """A piece of an observation."""

    type: Literal["text", "image"] = Field(description="What it is.")
    text: str | None = Field(default=None, description="The text of a text block.")
    image: int | None = Field(default=None, ge=0, description="The handle of an image block.")


class ErrorRecord(Record):
    """Why something could not be done."""

    code: ErrorCode = Field(description="Kind of error.")
    message: str = Field(description="The sentence that says what was wrong.")


class CallRecord(Record):
    """A tool call and what came back."""

    name: str = Field(description="Name of the tool in the toolbox.")
    arguments: Json[dict[str, Any]] = Field(description="Arguments as sent, as JSON text.")
    id: str | None = Field(default=None, description="Identifier given by the policy's protocol.")
    images: tuple[int, ...] = Field(default=(), description="Handles of the images it named.")
    handles: tuple[int, ...] = Field(default=(), description="Handles of the images it made.")
    shown: tuple[BlockRecord, ...] = Field(description="What the policy was shown of the result.")
    text: str = Field(default="", description="The result's whole text.")
    data: Json[Any] | None = Field(default=None, description="The result's facts for programs, as JSON text.")
    error: ErrorRecord | None = Field(default=None, description="Why there is no result.")
    seconds: float = Field(default=0.0, ge=0, description="Wall time of the tool.")
    cached: bool = Field(default=False, description="Whether the result was taken from an equal call.")
    repairs: tuple[str, ...] = Field(
        default=(),
        description="What had to be mended in the call before it could run, in its form or its arguments; empty for none.",
    )
    perturbation: Perturbation | None = Field(
        default=None, description="How the result was made wrong on purpose; null when it is as the tool gave it."
    )


class TurnRecord(Record):
    """One turn of the policy."""

    text: str = Field(description="What the policy wrote, in the wire format.")
    think: str | None = Field(default=None, description="Its reasoning.")
    answer: str | None = Field(default=None, description="Its answer.")
    calls: tuple[CallRecord, ...] = Field(default=(), description="Its tool calls.")
    error: ErrorRecord | None = Field(default=None, description="Why the turn could not be used.")
    feedback: tuple[BlockRecord, ...] = Field(
        default=(), description="What it was told of a turn that could not be used."
    )
    conforms: bool = Field(description="Whether the turn is exactly in the wire format.")
    policy_seconds: float = Field(
        default=0.0, ge=0, description="Wall time of the policy, for the whole batch it acted in."
    )
    tool_seconds: float = Field(default=0.0, ge=0, description="Wall time of the turn's tool calls, as the run saw it.")


class ImageRecord(Record):
    """An image of the episode."""

    picture: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of the picture shown; its file is images/<sha>.png."
    )
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of everything a tool can read from the image.")
    parent: int | None = Field(default=None, description="Handle of the image it was made from.")
    turn: int | None = Field(default=None, description="Turn whose call made it; null for an image of the case.")
    call: int | None = Field(default=None, description="Position of that call in the turn.")
    height: int = Field(gt=0, description="Height of the picture in pixels.")
    width: int = Field(gt=0, description="Width of the picture in pixels.")
    shape: tuple[int, int] = Field(description="Height and width of the image itself in pixels.")
    to_source: tuple[float, float, float, float, float, float] = Field(
        description="(a, b, c, d, e, f): source x = a x + b y + c, source y = d x + e y + f, in pixel edges of the image."
    )
    source_shape: tuple[int, int] = Field(description="Height and width of the source image in pixels.")
    unit: str = Field(description="Unit of the image's values.")
    spacing: tuple[float, ...] | None = Field(
        default=None, description="Distance of pixel centres in mm, row and column last."
    )
    window_center: float | None = Field(default=None, description="Centre of the window it was shown with.")
    window_width: float | None = Field(default=None, description="Width of the window it was shown with.")
    window_function: str | None = Field(
        default=None,
        description="Function of that window, as DICOM names them, or 'table' for a lookup table over its range.",
    )
    window_name: str | None = Field(default=None, description="What that window is for.")
    modality: str | None = Field(default=None, description="DICOM modality.")


def error_record(error: ToolError | None) -> ErrorRecord | None:
    """The record of an error."""
    return ErrorRecord(code=error.code, message=truncate(error.message, 2000)) if error is not None else None


def block_records(blocks: Sequence[Block]) -> tuple[BlockRecord, ...]:
    """The records of blocks whose images are handles."""
    return tuple(BlockRecord.model_validate(block) for block in blocks)


def call_record(call: ToolCall, result: ToolResult, shown: Sequence[Block], images: Sequence[int] = ()) -> CallRecord:
    """The record of a call that named `images`.

    Args:
        call: The call.
        result: What came of it.
        shown: The blocks that the policy was shown of it.
        images: Handles that the call named.
    """
    return CallRecord.model_validate(
        {
            "name": call.name,
            "arguments": dump_json(call.arguments),
            "id": call.id,
            "images": tuple(images),
            "handles": result.handles,
            "shown": block_records(shown),
            "text": truncate(result.text, MAX_TEXT_CHARS),
            "data": None if result.data is None else dump_json(result.data),
            "error": error_record(result.error),
            "seconds": round(result.seconds, SECONDS_DIGITS),
            "cached": result.cached,
            "repairs": tuple(dict.fromkeys((*call.repairs, *result.repairs))),
            "perturbation": result.perturbation,
        }
    )


def image_record(stored: StoredImage, shown: RenderedImage, turn: int | None, call: int | None) -> ImageRecord:
    """The record of an image, made by call `call` of turn `turn`.

    Args:
        stored: The image, and the handle that it was made from.
        shown: Its picture as the policy was shown it.
        turn: Number of the turn that made it, from 0; None for an image of the case.
        call: Number of the call in that turn, from 0; None for an image of the case.
    """
    image = stored.image
    return ImageRecord(
        picture=shown.sha256,
        digest=image.digest,
        parent=stored.parent,
        turn=turn,
        call=call,
        height=shown.pixels.shape[0],
        width=shown.pixels.shape[1],
        shape=image.shape,
        to_source=image.to_source,
        source_shape=image.source_shape or image.shape,
        unit=image.unit,
        spacing=image.spacing,
        window_center=image.window.center if image.window else None,
        window_width=image.window.width if image.window else None,
        window_function=image.window.function if image.window else None,
        window_name=image.window.name if image.window else None,
        modality=image.modality,
    )


def to_blocks(records: Sequence[BlockRecord]) -> list[Block]:
    """The blocks that were recorded."""
    return [{"type": b.type, b.type: b.text if b.type == "text" else b.image} for b in records]


def to_turn(record: TurnRecord) -> Turn:
    """The turn that was recorded."""
    calls = tuple(
        ToolCall(name=call.name, arguments=call.arguments, id=call.id, repairs=call.repairs) for call in record.calls
    )
    error = ToolError(record.error.code, record.error.message) if record.error else None
    return Turn(record.text, record.think, calls, record.answer, error, record.conforms)


def dump_json(value: Any) -> str:
    """JSON text of a tool's value: numbers that JSON does not know become text, and so does anything else."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_jsonable(value, 0), allow_nan=False)


def _jsonable(value: Any, depth: int) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth < 50 and isinstance(value, Mapping):
        return {str(key): _jsonable(item, depth + 1) for key, item in value.items()}
    if depth < 50 and isinstance(value, list | tuple):
        return [_jsonable(item, depth + 1) for item in value]
    return str(value)[:200]
