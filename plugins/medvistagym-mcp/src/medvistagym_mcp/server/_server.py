"""What the server answers: its tools, and the results of their calls.

The low-level server of the `mcp` package is used: the schema that is offered is made of `ToolSpec.parameters`, and
arguments are checked by the tool, the same way as those that a policy writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from mcp import MCPError, types
from mcp.server.lowlevel import Server
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from medvistagym_core.imaging import Image
from medvistagym_core.protocol import truncate
from medvistagym_core.tools import (
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolSpec,
    core_version,
    escape_control_marks,
    render_tool_schema,
    tool,
)
from medvistagym_mcp.server._client_schema import to_client_schema
from medvistagym_mcp.server._results import to_call_result
from medvistagym_mcp.server._session import Session

Context = Any
_VERSIONS: Final = list(HANDSHAKE_PROTOCOL_VERSIONS)
_MAX_DESCRIPTION: Final = 980  # clients refuse more than 1024 characters; what is cut is told of in 30
_MAX_LISTED: Final = 50


@tool
def show_image(image: Image) -> Image:
    """Show an image as it is.

    Args:
        image: The image to look at.
    """
    return image


def add_server_tools(toolbox: Toolbox, more: Sequence[Tool]) -> Toolbox:
    """The toolbox with the server's own tools.

    Args:
        toolbox: The tools that are served.
        more: The server's own, which become tools of the plugin `serve`.

    Raises:
        ValueError: One of them has the name of a tool of the toolbox.
    """
    for own in more:
        if own.name in toolbox:
            raise ValueError(
                f"the server's own {own.name} and {toolbox[own.name].id} share a name; give the other an alias: "
                f"--tools 'other_{own.name}={toolbox[own.name].id}'"
            )
    return Toolbox({**toolbox, **{own.name: own.with_metadata(plugin="serve") for own in more}})


def build_server(
    toolbox: Toolbox, images: Sequence[Image], find_session: Callable[[Context], Session | None], *, stateless: bool
) -> Server[Any]:
    """A server of the `mcp` package over a toolbox.

    Args:
        toolbox: The tools offered.
        images: What every session begins with, for the instructions.
        find_session: The session of a request's context; None when the client opened none.
        stateless: Whether clients of protocol versions without a handshake can be told apart; over HTTP they cannot, so
            they are told which versions are served, and fall back to one.
    """
    tools = [offered_tool(spec) for spec in toolbox.specs]

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        session = find_session(ctx)
        if session is None:
            data = {"supported": _VERSIONS, "requested": ctx.protocol_version}
            message = "Images live in a session; open one with the initialize handshake."
            raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, message, data)
        refused = session.check_rate()
        if refused is not None:
            return to_call_result(ToolResult(error=refused), session.store, session.limits)
        call = ToolCall(name=params.name, arguments=params.arguments or {})
        return await session.run_in_turn(partial(_answer, session, call))

    async def discover(ctx: Context, params: types.RequestParams | None) -> types.DiscoverResult:
        return types.DiscoverResult(
            supported_versions=_VERSIONS, capabilities=server.get_capabilities(), instructions=server.instructions
        )

    server: Server[Any] = Server(
        "medvistagym",
        version=core_version(),
        instructions=instructions(images),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    if not stateless:
        server.add_request_handler("server/discover", types.RequestParams, discover)
    return server


def offered_tool(spec: ToolSpec) -> types.Tool:
    """A tool as clients see it."""
    rendered: Any = render_tool_schema(spec, "mcp")
    description = truncate(rendered["description"], _MAX_DESCRIPTION)
    return types.Tool.model_validate(
        {**rendered, "description": description, "inputSchema": to_client_schema(rendered["inputSchema"])}
    )


def instructions(images: Sequence[Image]) -> str:
    """What a client is told of handles and boxes, and of the images that are there from the start."""
    lines = [
        "Tools for looking at medical images, for research only and not for clinical use.",
        "Images are numbered from 0 in each session; a tool's new images get the next numbers, written before each picture.",
        "Boxes are [x0, y0, x1, y1] on a grid of 0 to 1000 over the image named.",
    ]
    for handle, image in enumerate(images[:_MAX_LISTED]):
        facts = [f"{image.shape[1]} x {image.shape[0]} pixels"]
        facts += [f"{image.frames} frames"] if image.is_stack else []
        facts += [image.modality] if image.modality else []
        description = ", ".join([*facts, f"values in {image.unit}"])
        lines.append(
            f"Image {handle} is there: {escape_control_marks(description)}."
        )  # modality and unit are a file's words
    if len(images) > _MAX_LISTED:
        lines.append(f"Images {_MAX_LISTED} to {len(images) - 1} are there as well.")
    return "\n".join(lines)


def _answer(session: Session, call: ToolCall) -> types.CallToolResult:
    return to_call_result(session.call(call), session.store, session.limits)
