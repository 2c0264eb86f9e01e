"""The tools of MCP servers as tools of a toolbox."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mcp import types

from medvistagym_core.imaging import Image
from medvistagym_core.remote.arguments import SchemaCheck, chosen, encoded, local_names, spec_of
from medvistagym_core.remote.config import ImageForm, RemoteServer, RemoteServerError
from medvistagym_core.remote.connection import Unreachable, connection_to
from medvistagym_core.remote.results import result_of
from medvistagym_core.tools import Tool, ToolResult

_MARGIN: Final = 0.95


def mcp_tools(servers: Iterable[RemoteServer]) -> list[Tool]:
    """The tools that MCP servers offer, as `server:tool`. Starts or reaches each server, and keeps the connection.

    Args:
        servers: From `read_servers`, or made by hand.

    Raises:
        RemoteServerError: A server cannot be reached, or a tool that is asked for cannot be imported.
    """
    return [tool for server in servers for tool in _tools(server)]


def _tools(server: RemoteServer) -> list[Tool]:
    try:
        offered = connection_to(server).tools()
    except Unreachable as error:
        raise RemoteServerError(f"the MCP server {server.name} {error}") from None
    names = chosen(server, [tool.name for tool in offered])
    local = local_names(server, names)
    made = []
    for tool in offered:
        if tool.name in local:
            spec, forms = spec_of(server, tool, local[tool.name])
            kernel = RemoteKernel(server, tool.name, spec.name, forms, again=_repeatable(tool.annotations))
            made.append(Tool.from_schema(spec, kernel, SchemaCheck(spec.parameters)))
    return made


def _repeatable(hints: types.ToolAnnotations | None) -> bool:
    """Whether a call may be sent twice: unless the server says that it changes something, and not always in the same way."""
    return hints is None or hints.read_only_hint is not False or hints.idempotent_hint is True


@dataclasses.dataclass(frozen=True)
class RemoteKernel:
    """Calls one tool of one server. It can be pickled; another process makes its own connection.

    Attributes:
        server: The server.
        tool: The server's name for the tool.
        name: Its name here, for errors.
        forms: How its image arguments are sent.
        again: Whether a call may be repeated when the connection breaks.
    """

    server: RemoteServer
    tool: str
    name: str
    forms: Mapping[str, ImageForm]
    again: bool = True

    def __call__(self, **arguments: Any) -> ToolResult:
        """The result of a call; raises `ToolError` for whatever the server does wrong."""
        with contextlib.ExitStack() as stack:
            folder = ""
            if "path" in self.forms.values():
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="medvistagym-"))
            sent = {
                name: self._sent(name, value, folder) if name in self.forms else value
                for name, value in arguments.items()
                if not (name in self.forms and value is None)
            }
            limit = self.server.timeout_s * _MARGIN  # so that the server's name is in the error, not the executor's
            answered = connection_to(self.server).call(self.tool, sent, limit, again=self.again)
        return result_of(self.name, answered)

    def _sent(self, name: str, value: Image | list[Image], folder: str) -> str | list[str]:
        form = self.forms[name]
        if isinstance(value, list):
            return [_text(image, form, Path(folder, f"{name}-{k}.png")) for k, image in enumerate(value)]
        return _text(value, form, Path(folder, f"{name}.png"))


def _text(image: Image, form: ImageForm, path: Path) -> str:
    if form != "path":
        return encoded(image, form)
    image.save(path)
    return str(path)
