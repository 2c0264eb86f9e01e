"""Which MCP servers to import tools from, as a TOML or JSON file says it.

```toml
[servers.lab]
command = "lab-server"                # a program that speaks MCP on its stdin and stdout, or: url = "http://.../mcp"
args = ["--device", "cpu"]
tools = ["*", "!delete_study"]        # which of its tools
images = { picture = "base64" }       # arguments that take an image, and how it is sent
```

JSON files of other MCP clients (`{"mcpServers": {"lab": {"command": ...}}}`) are read as well; what they say of matters
that only such a client has, such as which tools need no approval, is left aside, and a server that is `disabled` is left out.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medvistagym_core.tools import parse_document, parse_toml

ImageEncoding = Literal["base64", "data_url", "path"]
_TABLES = ("servers", "mcpServers")
_OTHER_CLIENTS = ("type", "transport", "disabled", "autoApprove", "alwaysAllow", "description")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class McpServerError(ValueError):
    """Tools that cannot be imported; the sentence says from which server, why, and what to do."""


class McpServerConfig(BaseModel):
    """An MCP server and what to take of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$", description="Its name here; its tools are `name:tool`.")
    command: str | None = Field(
        default=None, min_length=1, description="Program to start, spoken to by stdin and stdout."
    )
    args: tuple[str, ...] = Field(default=(), description="Its arguments.")
    env: dict[str, str] = Field(
        default_factory=dict, description="Variables set for it, besides PATH, HOME and the like."
    )
    pass_env: tuple[str, ...] = Field(default=(), description="Variables handed on to it from this process.")
    cwd: str | None = Field(default=None, description="Folder it is started in.")
    url: str | None = Field(default=None, pattern="^https?://", description="Address of a streamable HTTP server.")
    token_env: str | None = Field(default=None, description="Variable that holds the bearer token for `url`.")
    tools: tuple[str, ...] = Field(
        default=("*",), description="Its tools to import, as patterns; `!pattern` leaves out."
    )
    rename: dict[str, str] = Field(default_factory=dict, description="Names here by its own names for tools.")
    images: dict[str, ImageEncoding] = Field(
        default_factory=dict,
        description="Arguments (`argument` or `tool.argument`) that take an image: sent as base64 PNG, data URL or path.",
    )
    deterministic: bool = Field(default=False, description="Whether equal arguments always give equal results.")
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds for a call.")
    connect_s: float = Field(default=30.0, gt=0, description="Seconds to start or reach it and list its tools.")

    @model_validator(mode="after")
    def _one_way(self) -> McpServerConfig:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either command or url")
        if self.command is None and "path" in self.images.values():
            raise ValueError('images can be sent as "path" only to a server that is started by command')
        return self


def read_servers(path: str | Path) -> list[McpServerConfig]:
    """The servers that a TOML or JSON file names, in its order.

    Raises:
        McpServerError: The file is missing or wrong; the sentence names the setting.
    """
    path = Path(path)
    try:
        text = _decode(path.read_bytes())
        document = parse_document(text) if path.suffix == ".json" else parse_toml(text)
    except OSError as error:
        raise McpServerError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise McpServerError(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    tables = [document[key] for key in _TABLES if isinstance(document, dict) and key in document]
    if len(tables) != 1 or not isinstance(tables[0], dict) or not tables[0]:
        raise McpServerError(f"{path} names no servers; give a table [servers.NAME] with a command or a url")
    servers = [_server(path, name, entry) for name, entry in tables[0].items()]
    return [server for server in servers if server is not None]


def _decode(raw: bytes) -> str:
    """UTF-8, or what a byte-order mark says: editors and shells of some systems write one."""
    return raw.decode(next((encoding for mark, encoding in _MARKS.items() if raw.startswith(mark)), "utf-8"))


def _server(path: Path, name: str, entry: object) -> McpServerConfig | None:
    if not isinstance(entry, dict):
        raise McpServerError(f"{path}: server {name} must be a table of settings")
    if entry.get("disabled") is True:
        return None
    settings = {key: value for key, value in entry.items() if key not in _OTHER_CLIENTS}
    try:
        return McpServerConfig.model_validate({**settings, "name": name})
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            fields = ", ".join(field for field in McpServerConfig.model_fields if field != "name")
            raise McpServerError(f"{path}: server {name} has no setting {location}; there are {fields}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise McpServerError(f"{path}: server {name}: {f'{location}: ' if location else ''}{message}") from None
