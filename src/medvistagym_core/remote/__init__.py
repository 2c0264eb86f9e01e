"""Tools of other people's MCP servers, imported into a toolbox. It needs `pip install 'medvistagym-core[mcp]'`.

`config` reads which servers, `arguments` turns their schemas into specs and checks arguments against them, `connection`
talks to them (`process` starts those that are programs), `results` turns what they answer into results, `tools` makes the
tools. A server may be slow, dead or wrong: whatever it does to a call is a `ToolError`, and whatever it does to the import
is a `RemoteServerError`.
"""

from __future__ import annotations

from medvistagym_core.remote.config import RemoteServer, RemoteServerError, read_servers

__all__ = ["RemoteServer", "RemoteServerError", "read_servers"]
