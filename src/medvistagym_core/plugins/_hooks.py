"""The hooks that a plugin may implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.tools import Tool

GROUP: Final = "medvistagym"
"""The entry-point group of plugins, and the name of pluggy's project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
Reader = Callable[[Path], "Sequence[Image] | None"]
CONTRIBUTION_KINDS: Final = ("tools", "tasks", "rewards", "executors", "trainers", "readers")


class HookSpecs:
    """What a plugin may offer. Every hook takes no argument, is called once, and must be quick."""

    @hookspec
    def medvistagym_tools(self) -> Sequence[Tool]:
        """Tools, made by `@tool`."""
        raise NotImplementedError

    @hookspec
    def medvistagym_tasks(self) -> Sequence[Any]:
        """Objects that satisfy `medvistagym_core.environment.Task`."""
        raise NotImplementedError

    @hookspec
    def medvistagym_rewards(self) -> Mapping[str, Any]:
        """Reward terms by name (`medvistagym_core.environment.RewardTerm`)."""
        raise NotImplementedError

    @hookspec
    def medvistagym_executors(self) -> Mapping[str, Any]:
        """Factories of executors by name: `factory(toolbox) -> Executor`."""
        raise NotImplementedError

    @hookspec
    def medvistagym_trainers(self) -> Sequence[Any]:
        """Trainers: objects with a `name`, `train` and `evaluate`."""
        raise NotImplementedError

    @hookspec
    def medvistagym_readers(self) -> Sequence[Reader]:
        """Functions that read a file into images, or return None for a file that is not theirs."""
        raise NotImplementedError
