"""The lock of a toolbox: what is saved beside checkpoints and trajectories, and refuses another toolbox later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from medvistagym_core.tools._toolbox import Toolbox


class LockMismatchError(ValueError):
    """A toolbox that differs from the one locked; `differences` has a sentence for each difference."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__("the toolbox is not the one that was locked: " + "; ".join(differences))
        self.differences = tuple(differences)


class ToolPin(BaseModel):
    """A tool as it was when a toolbox was locked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name in the toolbox.")
    id: str = Field(description="Canonical id, `plugin:name`.")
    version: str = Field(description="Version of the plugin's distribution.")
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of its name, description and parameters.")


class ToolboxLock(BaseModel):
    """Names, versions and schema hashes of a toolbox, saved beside checkpoints and trajectories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: str = Field(description="Version of medvistagym-core.")
    tools: tuple[ToolPin, ...] = Field(description="The tools, in the order of the toolbox.")

    def differences(self, toolbox: Toolbox) -> list[str]:
        """What differs in `toolbox`, a sentence each; empty when nothing does."""
        now = {tool.name: tool for tool in toolbox.lock().tools}
        then = {tool.name: tool for tool in self.tools}
        found = [f"{name} is missing" for name in then if name not in now]
        found += [f"{name} was not there" for name in now if name not in then]
        for name in then.keys() & now.keys():
            old, new = then[name], now[name]
            if old.id != new.id:
                found.append(f"{name} was {old.id} and is {new.id}")
            elif old.fingerprint != new.fingerprint:
                found.append(f"{name} has another schema or description")
            elif old.version != new.version:
                found.append(f"{name} was version {old.version} and is {new.version}")
        if not found and list(then) != list(now):
            found.append("the order of the tools changed")
        return sorted(found)

    def check(self, toolbox: Toolbox) -> None:
        """Raise `LockMismatchError` when `toolbox` differs from what was locked."""
        if found := self.differences(toolbox):
            raise LockMismatchError(found)
