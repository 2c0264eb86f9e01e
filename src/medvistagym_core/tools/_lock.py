"""The lock of a toolbox: what is saved beside checkpoints and trajectories, and refuses another toolbox later."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
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

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = Field(description="Name in the toolbox.")
    id: str = Field(description="Canonical id, `plugin:name`.")
    version: str = Field(description="Version of the plugin's distribution.")
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of its name, description and parameters.")
    weights: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the names and contents of the files it loads, such as a network's; null for none.",
    )


class ToolboxLock(BaseModel):
    """Names, versions and schema hashes of a toolbox, saved beside checkpoints and trajectories."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    core: str = Field(description="Version of medvistagym-core.")
    tools: tuple[ToolPin, ...] = Field(description="The tools, in the order of the toolbox.")

    @property
    def sha256(self) -> str:
        """SHA-256 of the lock, as hexadecimal text; what a tool has not is left out of account."""
        return hashlib.sha256(self.model_dump_json(exclude_none=True).encode()).hexdigest()

    def differences(self, toolbox: Toolbox) -> list[str]:
        """What differs in `toolbox`, a sentence each; empty when nothing does."""
        now = {tool.name: tool for tool in toolbox.lock().tools}
        then = {tool.name: tool for tool in self.tools}
        differences = [f"{name} is missing" for name in then if name not in now]
        differences += [f"{name} was not there" for name in now if name not in then]
        for name in then.keys() & now.keys():
            old, new = then[name], now[name]
            if old.id != new.id:
                differences.append(f"{name} was {old.id} and is {new.id}")
            elif old.fingerprint != new.fingerprint:
                differences.append(f"{name} has another schema or description")
            elif old.version != new.version:
                differences.append(f"{name} was version {old.version} and is {new.version}")
            elif old.weights != new.weights:
                differences.append(f"{name} has other weights")
        if not differences and list(then) != list(now):
            differences.append("the order of the tools changed")
        return sorted(differences)

    def check(self, toolbox: Toolbox) -> None:
        """Refuse a toolbox that differs from what was locked.

        Raises:
            LockMismatchError: It does; has the differences.
        """
        if differences := self.differences(toolbox):
            raise LockMismatchError(differences)


def hash_files(files: Sequence[str]) -> str | None:
    """SHA-256 of the names and contents of files, as hexadecimal text, wherever they lie; None for no file.

    Raises:
        OSError: One cannot be read.
    """
    if not files:
        return None
    lines = []
    for path in map(Path, files):
        state = path.stat()
        lines.append(f"{path.name}\0{_hash_file(path, state.st_size, state.st_mtime_ns)}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


@functools.lru_cache(maxsize=1024)
def _hash_file(path: Path, size: int, changed_ns: int) -> str:
    """Of a file as it was when it had this size and was changed at this time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
