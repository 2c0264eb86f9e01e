"""A tool's result as MCP content, within the size that clients take.

Desktop clients refuse a result of more than 1 MB, base64 included. Text is cut, data that are too large are left out with
a note, and pictures share what remains: each is sent as PNG where it fits, else as JPEG (which every client shows), with
less quality down to `_MIN_QUALITY` and then with fewer pixels. The image itself is kept whole in the session.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from mcp import types

from medvistagym_core.execution import ImageStore
from medvistagym_core.imaging import Image
from medvistagym_core.protocol import truncate
from medvistagym_core.tools import ToolError, ToolResult, escape_control_marks, escape_json
from medvistagym_mcp.server._session import PictureFormat, SessionLimits

IMAGE_FACTS: Final = "medvistagym/image"
_MIN_QUALITY: Final = 55
_QUALITY_STEP: Final = 15
_SHRINK: Final = 0.9
_HOPELESS: Final = 3  # times the size: more than less quality can save
_MIN_SIDE: Final = 16
_MAX_SIDE: Final = 16383  # of a WebP file
_MAX_PICTURES: Final = 32
_BLOCK_BYTES: Final = 700  # of a picture's block besides the picture: its facts and its line of text
_FOLDERS: Final = re.compile(
    r"(?<![\w:/.~<-])(?:file:(?://)?)?(?:/|~/|[A-Za-z]:[\\/])(?=[^\s/])(?:[^\s\\/'\"<>|:]+[\\/])*"
)


def redact_paths(text: str) -> str:
    """The text with the folders cut off absolute paths, so that it names no place on this machine."""
    return _FOLDERS.sub("", text)


def to_call_result(result: ToolResult, store: ImageStore, limits: SessionLimits) -> types.CallToolResult:
    """A result as MCP content.

    A result is its images (a line with the handle, then the picture), its text, and its data as structured content. An
    error is a result with `isError`, the sentence as text and `{"error": {"code", "message"}}` as structured content.

    Args:
        result: What a call gave.
        store: Where its images are, by handle.
        limits: Size of pictures, of text, and of the whole result.
    """
    if result.error is not None:
        error = ToolError(result.error.code, escape_control_marks(redact_paths(result.error.message)))
        max_chars = min(limits.text, limits.result_bytes // 12)  # it is sent twice, and a character may take 6 bytes
        return types.CallToolResult(
            content=[types.TextContent(text=truncate(str(error), max_chars))],
            structured_content={"error": {"code": error.code, "message": truncate(error.message, max_chars)}},
            is_error=True,
        )
    texts, data = _texts(result, limits)
    left = limits.result_bytes - _size(texts) - _size(data)
    content: list[types.ContentBlock] = []
    handles, others = result.handles[:_MAX_PICTURES], result.handles[_MAX_PICTURES:]
    for position, handle in enumerate(handles):
        share = left // (len(handles) - position) - _BLOCK_BYTES
        picture = encode_picture(store[handle], share * 3 // 4, limits)
        content.append(types.TextContent(text=f"image {handle}:{picture.note(store[handle], limits.side)}"))
        content.append(_block(store[handle], handle, picture))
        left -= _BLOCK_BYTES + len(picture.data) * 4 // 3
    if others:
        named = f"image {others[0]}" if len(others) == 1 else f"images {others[0]} to {others[-1]}"
        content.append(types.TextContent(text=f"{named}: not shown here, for want of room."))
    content += [types.TextContent(text=text) for text in texts]
    if not content:
        content.append(types.TextContent(text="The tool returned nothing."))
    return types.CallToolResult(content=content, structured_content=data)


@dataclasses.dataclass(frozen=True)
class EncodedPicture:
    """A picture as it is sent.

    Attributes:
        data: The file.
        format: "PNG", "JPEG" or "WEBP".
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        quality: 1 to 100; None where nothing is lost.
    """

    data: bytes
    format: str
    width: int
    height: int
    quality: int | None

    def note(self, image: Image, side: int) -> str:
        """What was lost to make the picture fit, in brackets after a space; empty when nothing was."""
        notes = [] if self.quality is None else [f"{self.format} of quality {self.quality}"]
        if max(self.width, self.height) < min(side, max(image.shape)):
            notes.append(f"reduced to {self.width} x {self.height} pixels")
        return f" ({', '.join(notes)})" if notes else ""


def encode_picture(image: Image, max_bytes: int, limits: SessionLimits) -> EncodedPicture:
    """The view of an image, windowed to 8 bit, in a format and size that fit.

    Args:
        image: The image.
        max_bytes: Size of the file; a picture of `_MIN_SIDE` pixels is sent in any case.
        limits: `side`, `picture_format` and `quality`.
    """
    side = min(limits.side, max(image.shape), _MAX_SIDE)
    while True:
        view = image.to_pil(side if side < max(image.shape) else None)
        for name, quality in _attempts(limits.picture_format, limits.quality):
            file = io.BytesIO()
            if name == "PNG":
                view.save(file, name, compress_level=4)
            else:
                view.save(file, name, quality=quality)
            if file.tell() <= max_bytes or side <= _MIN_SIDE:
                return EncodedPicture(file.getvalue(), name, *view.size, quality)
            if quality is not None and file.tell() > _HOPELESS * max_bytes:
                break
        fitting = math.sqrt(max(max_bytes, 1) / file.tell())  # if the size of the file went with the number of pixels
        side = max(int(side * _SHRINK * min(fitting, 1.0)), _MIN_SIDE)


def _attempts(picture_format: PictureFormat, quality: int) -> list[tuple[str, int | None]]:
    """Formats and qualities in the order in which they are tried."""
    if picture_format == "png":
        return [("PNG", None)]
    name = "WEBP" if picture_format == "webp" else "JPEG"
    qualities = [*range(quality, _MIN_QUALITY - 1, -_QUALITY_STEP)] or [quality]
    lossless: list[tuple[str, int | None]] = [("PNG", None)] if picture_format == "auto" else []
    return [*lossless, *((name, step) for step in qualities)]


def _block(image: Image, handle: int, picture: EncodedPicture) -> types.ImageContent:
    facts = _json_values({
        "handle": handle, "height": image.shape[0], "width": image.shape[1], "frames": image.frames, "unit": image.unit,
        "spacing": image.spacing, "modality": image.modality, "picture_height": picture.height,
        "picture_width": picture.width, "picture_quality": picture.quality,
    })  # fmt: skip
    return types.ImageContent(
        data=base64.b64encode(picture.data).decode(),
        mime_type=f"image/{picture.format.lower()}",
        _meta={IMAGE_FACTS: escape_json(facts)},
    )


def _texts(result: ToolResult, limits: SessionLimits) -> tuple[list[str], dict[str, Any] | None]:
    """The texts and the data of a result, which take at most half of its size."""
    room = limits.result_bytes // 2
    max_chars = min(limits.text, room // 6)  # a control character takes 6 bytes in JSON
    texts = [escape_control_marks(truncate(result.text, max_chars))] if result.text else []
    data = escape_json(_json_values(result.data))  # a client shows its model the data, too
    size = _size(data)
    if size > room - _size(texts):
        data = None
        texts.append(f"[The data are left out: they take {size} bytes, more than a result may.]")
    return texts, data


def _json_values(value: Any) -> Any:
    """A value as JSON has it: keys as text, no NaN and infinities, no text that UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {_json_values(str(key)): _json_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_values(part) for part in value]
    return _json_values(value.tolist() if hasattr(value, "tolist") else str(value))  # a number or array of NumPy


def _size(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())
