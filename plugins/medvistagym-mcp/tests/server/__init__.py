"""The toolbox as an MCP server: its parts, its answers, and the program."""
