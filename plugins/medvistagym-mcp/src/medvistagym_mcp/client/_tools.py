"""The tools of MCP servers as tools of a toolbox."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mcp import types

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, ToolResult
from medvistagym_mcp.client._config import ImageEncoding, McpServerConfig, McpServerError
from medvistagym_mcp.client._connection import ServerUnreachableError, connection_to
from medvistagym_mcp.client._results import to_tool_result
from medvistagym_mcp.client._tool_spec import check_settings, select_tools, to_identifiers, to_tool_spec
from medvistagym_mcp.client._validation import JsonSchemaValidator

_MARGIN: Final = 0.95


def mcp_tools(servers: Iterable[McpServerConfig]) -> list[Tool]:
    """The tools that MCP servers offer, as `server:tool`. Starts or reaches each server, and keeps the connection.

    Args:
        servers: From `read_servers`, or made by hand.

    Raises:
        McpServerError: A server cannot be reached, or a tool that is asked for cannot be imported.
    """
    return [tool for server in servers for tool in _tools(server)]


def _tools(server: McpServerConfig) -> list[Tool]:
    try:
        offered = connection_to(server).tools()
    except ServerUnreachableError as error:
        raise McpServerError(f"the MCP server {server.name} {error}") from None
    names = select_tools(server, [tool.name for tool in offered])
    local = to_identifiers(server, names)
    properties = {tool.name: tool.input_schema.get("properties") for tool in offered}
    arguments = {name: list(named) if isinstance(named, dict) else [] for name, named in properties.items()}
    tools = []
    for tool in offered:
        if tool.name in local:
            imported = to_tool_spec(server, tool, local[tool.name])
            arguments[tool.name] = list(imported.names.values())
            call = RemoteToolCall(
                server,
                tool.name,
                imported.spec.name,
                imported.names,
                imported.image_encodings,
                retryable=_is_retryable(tool.annotations),
            )
            tools.append(Tool.from_schema(imported.spec, call, JsonSchemaValidator(imported.schema, imported.names)))
    check_settings(server, arguments)
    return tools


def _is_retryable(hints: types.ToolAnnotations | None) -> bool:
    """Whether a call may be sent twice: unless the server says that it changes something, and not always in the same way."""
    return hints is None or hints.read_only_hint is not False or hints.idempotent_hint is True


@dataclasses.dataclass(frozen=True)
class RemoteToolCall:
    """Calls one tool of one server. It can be pickled; another process makes its own connection.

    Attributes:
        server: The server.
        tool: The server's name for the tool.
        name: Its name here, for errors.
        argument_names: The server's names of arguments by those here.
        image_encodings: How its image arguments, by their name here, are sent.
        retryable: Whether a call may be repeated when the connection breaks.
    """

    server: McpServerConfig
    tool: str
    name: str
    argument_names: Mapping[str, str]
    image_encodings: Mapping[str, ImageEncoding]
    retryable: bool = True

    def __call__(self, /, **arguments: Any) -> ToolResult:
        """The result of a call; raises `ToolError` for whatever the server does wrong."""
        with contextlib.ExitStack() as stack:
            folder = ""
            if "path" in self.image_encodings.values():
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="medvistagym-"))
            sent = {
                self.argument_names.get(name, name): (
                    self._encode(name, value, folder) if name in self.image_encodings else value
                )
                for name, value in arguments.items()
                if not (name in self.image_encodings and value is None)
            }
            limit = self.server.timeout_s * _MARGIN  # so that the server's name is in the error, not the executor's
            answer = connection_to(self.server).call(self.tool, sent, limit, retryable=self.retryable)
        return to_tool_result(self.name, answer)

    def _encode(self, name: str, value: Image | list[Image], folder: str) -> str | list[str]:
        encoding = self.image_encodings[name]
        if isinstance(value, list):
            return [encode_image(image, encoding, Path(folder, f"{name}-{k}.png")) for k, image in enumerate(value)]
        return encode_image(value, encoding, Path(folder, f"{name}.png"))


def encode_image(image: Image, encoding: ImageEncoding, path: Path) -> str:
    """An image's view as text.

    Args:
        image: What to send.
        encoding: "base64" (of a PNG), "data_url" (the same, with its type), or "path".
        path: The PNG file that is written for a path.
    """
    if encoding == "path":
        image.save(path)
        return str(path)
    data = io.BytesIO()
    image.to_pil().save(data, "PNG", compress_level=4)
    text = base64.b64encode(data.getvalue()).decode()
    return f"data:image/png;base64,{text}" if encoding == "data_url" else text
