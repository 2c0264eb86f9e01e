"""A toolbox as an MCP server, over stdio and streamable HTTP.

Every call takes the way of a policy's call: checked by the tool, run by the executor; a failure is a result with a
sentence. The room uses the core and the `mcp` SDK, nothing of `client`.
"""

from __future__ import annotations

from medvistagym_mcp.server._file_reader import FileReader
from medvistagym_mcp.server._folder_tools import folder_tools
from medvistagym_mcp.server._http import AccessPolicy, access_policy, bind_socket, is_loopback, url_of
from medvistagym_mcp.server._program import run_http, run_stdio
from medvistagym_mcp.server._results import to_call_result
from medvistagym_mcp.server._server import add_server_tools, build_server, show_image
from medvistagym_mcp.server._session import Session, SessionLimits, Sessions
from medvistagym_mcp.server._stdio import claim_stdio

__all__ = [
    "AccessPolicy",
    "FileReader",
    "Session",
    "SessionLimits",
    "Sessions",
    "access_policy",
    "add_server_tools",
    "bind_socket",
    "build_server",
    "claim_stdio",
    "folder_tools",
    "is_loopback",
    "run_http",
    "run_stdio",
    "show_image",
    "to_call_result",
    "url_of",
]
