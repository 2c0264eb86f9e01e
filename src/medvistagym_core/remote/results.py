"""What a server answers, as a tool's result; what is too large or not what it says is a `ToolError`."""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import Any, Final, get_args

from mcp import types

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ErrorCode, ToolError, ToolResult

MOST_TEXT: Final = 200_000
MOST_IMAGE_BYTES: Final = 64 * 2**20
MOST_PIXELS: Final = 80_000_000
MOST_IMAGES: Final = 64


def result_of(tool: str, answered: types.CallToolResult) -> ToolResult:
    """The result that an answer holds.

    Args:
        tool: Name of the tool, for errors.
        answered: The server's answer.

    Raises:
        ToolError: The server reports an error, or its answer cannot be used.
    """
    texts: list[str] = []
    images: list[Image] = []
    for block in answered.content:
        if isinstance(block, types.TextContent):
            texts.append(block.text)
        elif isinstance(block, types.ImageContent):
            images.append(_image(tool, block.data))
        elif isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
            texts.append(block.resource.text)
        elif isinstance(block, types.EmbeddedResource) and (block.resource.mime_type or "").startswith("image/"):
            images.append(_image(tool, getattr(block.resource, "blob", "")))
        elif isinstance(block, types.ResourceLink):
            texts.append(f"[{block.name}: {block.uri}]")
        else:
            texts.append(f"[{block.type}, which is not read]")
        if sum(map(len, texts)) > MOST_TEXT or len(images) > MOST_IMAGES:
            raise ToolError(
                "tool_failed", f"{tool} returned more than the {MOST_TEXT} characters or {MOST_IMAGES} images taken."
            )
    data = answered.structured_content
    if len(json.dumps(data)) > MOST_TEXT:
        raise ToolError("tool_failed", f"{tool} returned more than the {MOST_TEXT} characters of data that are taken.")
    if answered.is_error:
        raise _reported(tool, " ".join(" ".join(texts).split()), data)
    return ToolResult(
        images=tuple(images),
        text="\n".join(texts),
        data=None if data is None else data if isinstance(data, dict) else {"value": data},
    )


def _reported(tool: str, said: str, data: Any) -> ToolError:
    """The error that a server reports; its code where it gives one of ours, as this project's server does."""
    error = data.get("error") if isinstance(data, dict) else None
    if isinstance(error, dict) and error.get("code") in get_args(ErrorCode) and isinstance(error.get("message"), str):
        return ToolError(error["code"], error["message"][:1000])
    said = said[:500] or "it gives no reason"
    return ToolError("tool_failed", f"{tool} failed: {said}{'' if said[-1] in '.!?' else '.'}")


def _image(tool: str, text: str) -> Image:
    import numpy as np
    import PIL.Image

    if len(text) > MOST_IMAGE_BYTES * 4 // 3:
        raise ToolError("tool_failed", f"{tool} returned an image of more than {MOST_IMAGE_BYTES >> 20} MiB.")
    try:
        with PIL.Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ToolError(
                    "tool_failed", f"{tool} returned an image of {picture.width} x {picture.height} pixels."
                )
            if picture.mode not in ("L", "I;16", "I", "F", "RGB"):
                picture = picture.convert("L" if picture.mode in ("1", "LA") else "RGB")  # type: ignore[assignment]
            pixels = np.array(picture)
    except (binascii.Error, OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ToolError("tool_failed", f"{tool} returned an image that cannot be read.") from error
    if pixels.ndim == 3:
        return Image(pixels=pixels, photometric="RGB")
    return Image(pixels=pixels, unit="grey" if pixels.dtype == np.uint8 else "raw")
