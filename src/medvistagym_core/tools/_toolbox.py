"""The tools of a run, by the names that a policy uses."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medvistagym_core.tools._devices import device_for_tool
from medvistagym_core.tools._dialects import render_tool_schema, schema_hash
from medvistagym_core.tools._tool import Tool
from medvistagym_core.tools._version import core_version

if TYPE_CHECKING:
    from medvistagym_core.tools._lock import ToolboxLock
    from medvistagym_core.tools._spec import ToolSpec


class Toolbox(Mapping[str, Tool]):
    """The tools of a run by the names a policy uses.

    Args:
        tools: The tools by name.
        devices: Where tools are set up (`devices`); each stays where it is when None.
    """

    def __init__(self, tools: Mapping[str, Tool], devices: Mapping[str, str] | None = None) -> None:
        named = {
            name: tool if tool.name == name else tool.with_metadata(name=name)
            for name, tool in sorted(tools.items(), key=lambda item: (item[1].id, item[0]))
        }
        self._ids = {name: tools[name].id for name in named}
        if devices is not None:
            for name, tool in named.items():
                named[name] = tool.on_device(device_for_tool(name, self._ids[name], devices))
        self._tools = named

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"<toolbox {', '.join(self) or 'without tools'}>"

    def _repr_html_(self) -> str:
        from medvistagym_core.tools._html import toolbox_html

        return toolbox_html(self.specs)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The specs, in order."""
        return tuple(tool.spec for tool in self._tools.values())

    def schemas(self, dialect: str = "huggingface") -> list[Any]:
        """The specs in a dialect, in order."""
        return [render_tool_schema(spec, dialect) for spec in self.specs]

    @functools.cached_property
    def lock_hash(self) -> str:
        """SHA-256 of the lock, as hexadecimal text."""
        return self.lock().sha256

    def lock(self) -> ToolboxLock:
        """The lock of this toolbox; reads the weights of its tools, as far as they have any."""
        from medvistagym_core.tools._lock import ToolboxLock, ToolPin, hash_files

        tools = tuple(
            ToolPin(
                name=name,
                id=self._ids[name],
                version=tool.version,
                fingerprint=schema_hash(tool.spec),
                weights=hash_files(tool.weights),
            )
            for name, tool in self._tools.items()
        )
        return ToolboxLock(core=core_version(), tools=tools)
