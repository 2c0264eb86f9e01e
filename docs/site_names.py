"""What the reference of public names is not told: that `mv.tools`, a room, is a function as well.

An extension of griffe, which reads the sources. For it a name is a module or a value; `tools` is taken for the room.
"""

from __future__ import annotations

from typing import Any

from griffe import Extension, Module


class RoomsBeforeValues(Extension):
    """Drops values of the core's door that are called like one of its rooms."""

    def on_module_members(self, *, mod: Module, **kwargs: Any) -> None:
        """Look at a module of which all has been read."""
        if mod.path == "medvistagym_core" and "tools" in mod.attributes:
            del mod.members["tools"]
