"""What the server answers: its tools, exactly as their specs have them, and their results.

The low-level server of the `mcp` package is used, because the schema offered must be `ToolSpec.parameters` and the
validation ours. A result is its images (a line with the handle, then a PNG of `Image.view`), its text, and its data as
structured content. An error is a result with `isError`, the sentence as text and `{"error": {"code", "message"}}` as
structured content.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from mcp import MCPError, types
from mcp.server.lowlevel import Server
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from medvistagym_core.execution import ImageStore
from medvistagym_core.imaging import Image
from medvistagym_core.serving.folder import masked
from medvistagym_core.serving.session import Limits, Session
from medvistagym_core.serving.threads import in_thread
from medvistagym_core.tools import Tool, Toolbox, ToolCall, ToolError, ToolResult, render_tool_schema, tool

Context = Any
IMAGE_FACTS: Final = "medvistagym/image"
_VERSIONS: Final = list(HANDSHAKE_PROTOCOL_VERSIONS)


@tool
def show_image(image: Image) -> Image:
    """Show an image as it is.

    Args:
        image: The image to look at.
    """
    return image


def with_tools(toolbox: Toolbox, more: Sequence[Tool]) -> Toolbox:
    """The toolbox with the server's own tools.

    Raises:
        ValueError: One of them has the name of a tool of the toolbox.
    """
    for own in more:
        if own.name in toolbox:
            raise ValueError(
                f"the server's own {own.name} and {toolbox[own.name].id} share a name; give the other an alias: "
                f"--tools 'other_{own.name}={toolbox[own.name].id}'"
            )
    return Toolbox({**toolbox, **{own.name: own for own in more}})


def tool_server(
    toolbox: Toolbox, images: Sequence[Image], session_of: Callable[[Context], Session | None], *, stateless: bool
) -> Server[Any]:
    """A server of the `mcp` package over a toolbox.

    Args:
        toolbox: The tools offered.
        images: What every session begins with, for the instructions.
        session_of: The session of a request's context; None when the client opened none.
        stateless: Whether clients of protocol versions without a handshake can be told apart; over HTTP they cannot, so
            they are told which versions are served, and fall back to one.
    """
    tools = [types.Tool.model_validate(render_tool_schema(spec, "mcp")) for spec in toolbox.specs]

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        session = session_of(ctx)
        if session is None:
            data = {"supported": _VERSIONS, "requested": ctx.protocol_version}
            said = "Images live in a session; open one with the initialize handshake."
            raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, said, data)
        refused = session.admit()
        if refused is not None:
            return answer(ToolResult(error=refused), session.store, session.limits)
        call = ToolCall(name=params.name, arguments=params.arguments or {})
        async with session.turn:
            return await in_thread(partial(_called, session, call))

    async def discover(ctx: Context, params: types.RequestParams | None) -> types.DiscoverResult:
        return types.DiscoverResult(
            supported_versions=_VERSIONS, capabilities=server.get_capabilities(), instructions=server.instructions
        )

    server: Server[Any] = Server(
        "medvistagym",
        version=_version(),
        instructions=instructions(images),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    if not stateless:
        server.add_request_handler("server/discover", types.RequestParams, discover)
    return server


def instructions(images: Sequence[Image]) -> str:
    """What a client is told of handles and boxes, and of the images that are there from the start."""
    lines = [
        "Tools for looking at medical images, for research only and not for clinical use.",
        "Images are numbered from 0 in each session; a tool's new images get the next numbers, written before each picture.",
        "Boxes are [x0, y0, x1, y1] on a grid of 0 to 1000 over the image named.",
    ]
    for handle, image in enumerate(images):
        facts = [f"{image.shape[1]} x {image.shape[0]} pixels"]
        facts += [f"{image.frames} frames"] if image.is_stack else []
        facts += [image.modality] if image.modality else []
        lines.append(f"Image {handle} is there: {', '.join([*facts, f'values in {image.unit}'])}.")
    return "\n".join(lines)


def answer(result: ToolResult, store: ImageStore, limits: Limits) -> types.CallToolResult:
    """A result as MCP content.

    Args:
        result: What a call gave.
        store: Where its images are, by handle.
        limits: Longest side of pictures and length of text.
    """
    if result.error is not None:
        error = ToolError(result.error.code, masked(result.error.message))
        return types.CallToolResult(
            content=[types.TextContent(text=_cut(str(error), limits.text))],
            structured_content={"error": {"code": error.code, "message": _cut(error.message, limits.text)}},
            is_error=True,
        )
    content: list[types.ContentBlock] = []
    for handle in result.handles:
        content.append(types.TextContent(text=f"image {handle}:"))
        content.append(_picture(store[handle], handle, limits.side))
    if result.text:
        content.append(types.TextContent(text=_cut(result.text, limits.text)))
    if not content:
        content.append(types.TextContent(text="The tool returned nothing."))
    return types.CallToolResult(content=content, structured_content=_json(result.data))


def _called(session: Session, call: ToolCall) -> types.CallToolResult:
    return answer(session.call(call), session.store, session.limits)


def _picture(image: Image, handle: int, side: int) -> types.ImageContent:
    data = io.BytesIO()
    image.to_pil(side if max(image.shape) > side else None).save(data, "PNG", compress_level=4)
    facts = {
        "handle": handle, "height": image.shape[0], "width": image.shape[1], "frames": image.frames, "unit": image.unit,
        "spacing": image.spacing, "modality": image.modality,
    }  # fmt: skip
    return types.ImageContent(
        data=base64.b64encode(data.getvalue()).decode(), mime_type="image/png", _meta={IMAGE_FACTS: facts}
    )


def _cut(text: str, most: int) -> str:
    from medvistagym_core.protocol import truncate

    return truncate(text, most)


def _json(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """The data as JSON has it: without NaN and infinities, keys as text."""
    from pydantic_core import to_json

    if data is None:
        return None
    values: dict[str, Any] = json.loads(to_json(data, inf_nan_mode="null"))
    return values


def _version() -> str:
    from importlib.metadata import version

    from medvistagym_core.tools import CORE

    return version(CORE)
