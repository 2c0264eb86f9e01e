"""The Model Context Protocol, both ways: `server` offers a toolbox to MCP clients, `client` makes tools of MCP servers.

Each room is entered by its door; importing this package imports neither, nor the `mcp` SDK.
"""
