"""The toolbox as an MCP server, over stdio and streamable HTTP. It needs `pip install 'medvistagym-core[mcp]'`.

`session` keeps the images of one client by handle, `folder` reads files of one folder, `server` answers `tools/list` and
`tools/call`, `stdio` and `http` carry them. Every call takes the way of a policy's call: validated by the tool, run by
the executor, and a failure is a result with one sentence.
"""
