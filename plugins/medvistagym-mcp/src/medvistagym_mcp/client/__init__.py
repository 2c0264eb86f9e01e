"""Tools of other people's MCP servers as tools of a toolbox.

A server may be slow, dead or wrong: whatever it does to a call is a `ToolError`, and whatever it does to the import is an
`McpServerError`. The room uses the core and the `mcp` SDK, nothing of `server`.
"""

from __future__ import annotations

from medvistagym_mcp.client._config import ImageEncoding, McpServerConfig, McpServerError, read_servers
from medvistagym_mcp.client._connection import close_all
from medvistagym_mcp.client._tools import mcp_tools

__all__ = ["ImageEncoding", "McpServerConfig", "McpServerError", "close_all", "mcp_tools", "read_servers"]
