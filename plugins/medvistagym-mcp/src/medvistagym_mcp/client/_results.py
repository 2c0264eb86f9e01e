"""What a server answers, as a tool's result; what is too large or not what it says is a `ToolError`."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Any, Final, get_args

from mcp import types

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ErrorCode, ToolError, ToolResult
from medvistagym_mcp.client._pictures import MAX_IMAGE_BYTES, READ_S, decode_picture

MAX_TEXT: Final = 200_000
MAX_IMAGES: Final = 64


def to_tool_result(tool: str, answer: types.CallToolResult) -> ToolResult:
    """The result that an answer holds.

    Pictures are images; text, the text of embedded resources and links are the text, and so are the data where there is
    no text; what cannot be read, such as sound, is named in the text.

    Args:
        tool: Name of the tool, for errors.
        answer: The server's answer.

    Raises:
        ToolError: The server reports an error, or its answer cannot be used.
    """
    texts: list[str] = []
    images: list[Image] = []
    deadline = time.monotonic() + READ_S
    for block in answer.content:
        if isinstance(block, types.TextContent):
            texts.append(block.text)
        elif isinstance(block, types.ImageContent):
            images.append(_image(tool, block.data, deadline))
        elif isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
            texts.append(block.resource.text)
        elif isinstance(block, types.EmbeddedResource) and (block.resource.mime_type or "").startswith("image/"):
            images.append(_image(tool, getattr(block.resource, "blob", ""), deadline))
        elif isinstance(block, types.ResourceLink):
            texts.append(f"[{block.name}: {block.uri}]")
        else:
            texts.append(f"[{block.type}, which is not read]")
        if sum(map(len, texts)) > MAX_TEXT or len(images) > MAX_IMAGES:
            raise ToolError(
                "tool_failed", f"{tool} returned more than the {MAX_TEXT} characters or {MAX_IMAGES} images taken."
            )
    data = answer.structured_content
    written = json.dumps(data)
    if len(written) > MAX_TEXT:
        raise ToolError("tool_failed", f"{tool} returned more than the {MAX_TEXT} characters of data that are taken.")
    if answer.is_error:
        raise _to_tool_error(tool, " ".join(" ".join(texts).split()), data)
    if data is not None and not any(texts):
        texts = [written]
    return ToolResult(
        images=tuple(images),
        text="\n".join(texts),
        data=None if data is None else data if isinstance(data, dict) else {"value": data},
    )


def _to_tool_error(tool: str, message: str, data: Any) -> ToolError:
    """The error that a server reports; its code where it gives one of ours, as this project's server does."""
    error = data.get("error") if isinstance(data, dict) else None
    if isinstance(error, dict) and error.get("code") in get_args(ErrorCode) and isinstance(error.get("message"), str):
        return ToolError(error["code"], error["message"][:1000])
    message = message[:500] or "it gives no reason"
    return ToolError("tool_failed", f"{tool} failed: {message}{'' if message[-1] in '.!?' else '.'}")


def _image(tool: str, text: str, deadline: float) -> Image:
    if len(text) > MAX_IMAGE_BYTES * 4 // 3:
        raise ToolError("tool_failed", f"{tool} returned an image of more than {MAX_IMAGE_BYTES >> 20} MiB.")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolError("tool_failed", f"{tool} returned an image that cannot be read.") from error
    return decode_picture(tool, data, deadline)
