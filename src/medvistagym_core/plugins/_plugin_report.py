"""Reports on installed plugins: whether one was loaded, why not, how to fix it, and what it offers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal


def _field(description: str, default: Any = dataclasses.MISSING) -> Any:
    return dataclasses.field(default=default, metadata={"description": description})


@dataclasses.dataclass(frozen=True, kw_only=True)
class PluginReport:
    """What became of one installed plugin."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 pydantic reads it

    name: str = _field("Name of its entry point.")
    distribution: str = _field("Distribution that installed it.")
    version: str = _field("Version of that distribution.")
    state: Literal["loaded", "failed", "incompatible", "disabled"] = _field("What became of it.")
    reason: str = _field("Why it is not loaded.", "")
    fix: str = _field("What to do about it.", "")
    location: str = _field("File and line in the plugin where it failed.", "")
    tools: tuple[str, ...] = _field("Names of the tools it offers.", ())
    tasks: tuple[str, ...] = _field("Names of the tasks it offers.", ())
    trainers: tuple[str, ...] = _field("Names of the trainers it offers.", ())
    rewards: tuple[str, ...] = _field("Names of the reward terms it offers.", ())
    graders: tuple[str, ...] = _field("Kinds of answers that it grades.", ())
    readers: tuple[str, ...] = _field("Names of the readers of files it offers.", ())
    writers: tuple[str, ...] = _field("Names of the writers of files it offers.", ())
    segmenters: tuple[str, ...] = _field("Names of the segmenters it offers.", ())
    executors: tuple[str, ...] = _field("Names of the executors it offers.", ())
    policies: tuple[str, ...] = _field("Names of the policies it offers.", ())
    action_formats: tuple[str, ...] = _field("Names of the action formats it offers.", ())
    dialects: tuple[str, ...] = _field("Names of the schema dialects it offers.", ())
    faults: tuple[str, ...] = _field("What it offers and is left out, and why; a sentence each.", ())
    notes: tuple[str, ...] = _field("What is not as it should be about its installation; a sentence each.", ())


@dataclasses.dataclass(frozen=True)
class LoadedPlugin:
    """An installed plugin, loaded or not.

    Attributes:
        report: What became of it.
        contributions: What it offers, by kind (`CONTRIBUTION_KINDS`); empty unless it is loaded.
    """

    report: PluginReport
    contributions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
