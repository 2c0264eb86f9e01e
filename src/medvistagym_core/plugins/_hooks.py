"""The hooks that a plugin may implement. What each returns is a contract of the core's public face."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from medvistagym_core.environment import RewardTerm, Task
    from medvistagym_core.environment.grading import Grader
    from medvistagym_core.execution import Executor
    from medvistagym_core.imaging import Reader, Segmenter, Writer
    from medvistagym_core.protocol import ActionFormat
    from medvistagym_core.rollouts import PolicyFactory, Trainer
    from medvistagym_core.tools import SchemaDialect, Tool

GROUP: Final = "medvistagym"
"""The entry-point group of plugins, and the name of pluggy's project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class HookSpecs:
    """What a plugin may offer. Every hook is called once, without an argument unless it names one, and must be quick."""

    @hookspec
    def medvistagym_tools(self) -> Sequence[Tool | Exception]:
        """Tools, made by `@tool`; for one that cannot be offered the exception that says why, which the report repeats."""
        raise NotImplementedError

    @hookspec
    def medvistagym_tasks(self) -> Sequence[Task]:
        """Tasks: sources of cases."""
        raise NotImplementedError

    @hookspec
    def medvistagym_rewards(self) -> Mapping[str, RewardTerm]:
        """Reward terms by name."""
        raise NotImplementedError

    @hookspec
    def medvistagym_graders(self) -> Mapping[str, Grader]:
        """Graders by the kind of answer that they compare."""
        raise NotImplementedError

    @hookspec
    def medvistagym_readers(self) -> Sequence[Reader]:
        """What reads files into images; each returns None for a file that is not of its kind."""
        raise NotImplementedError

    @hookspec
    def medvistagym_writers(self) -> Sequence[Writer]:
        """What writes images to files of a kind."""
        raise NotImplementedError

    @hookspec
    def medvistagym_segmenters(self) -> Mapping[str, Segmenter]:
        """Segmenters by name; the names become choices of the segmenting tools."""
        raise NotImplementedError

    @hookspec
    def medvistagym_segmentation_tools(self, segmenters: Mapping[str, Segmenter]) -> Sequence[Tool]:
        """Tools that let a policy choose among segmenters; asked again once those of all plugins are there.

        A tool takes the place of the plugin's tool of the same name.

        Args:
            segmenters: What the plugins offer, by name.
        """
        raise NotImplementedError

    @hookspec
    def medvistagym_executors(self) -> Mapping[str, Callable[..., Executor]]:
        """What makes executors, by name: `factory(toolbox)`, or `factory(toolbox, argument)` for `NAME:ARGUMENT`.

        One that also takes `result_filter` (as `LocalExecutor` does) can run tools whose results are made wrong on purpose.
        """
        raise NotImplementedError

    @hookspec
    def medvistagym_trainers(self) -> Sequence[Trainer]:
        """Trainers."""
        raise NotImplementedError

    @hookspec
    def medvistagym_policies(self) -> Mapping[str, PolicyFactory]:
        """What makes policies, by the name that `--policy` takes."""
        raise NotImplementedError

    @hookspec
    def medvistagym_action_formats(self) -> Mapping[str, ActionFormat]:
        """Action formats by name."""
        raise NotImplementedError

    @hookspec
    def medvistagym_dialects(self) -> Mapping[str, SchemaDialect]:
        """Schema dialects by the name that `--format` takes."""
        raise NotImplementedError


BY_NAME: Final = frozenset(("rewards", "graders", "segmenters", "executors", "policies", "action_formats", "dialects"))
"""The kinds that are offered as a mapping of names; the others are offered as a list."""
CONTRIBUTION_KINDS: Final = tuple(
    name.removeprefix("medvistagym_")
    for name in vars(HookSpecs)
    if name.startswith("medvistagym_") and name != "medvistagym_segmentation_tools"
)


def contribution_name(contribution: Any) -> str:
    """What a contribution that a hook gave is called: its `name`, that of its function or class, or itself where it is a name.

    A contribution without one is called by its type.
    """
    if isinstance(contribution, str):
        return contribution
    for attribute in ("name", "__name__"):
        try:
            name = getattr(contribution, attribute, None)
        except Exception:  # noqa: BLE001 a property of a foreign object
            continue
        if isinstance(name, str) and name:
            return name
    return type(contribution).__name__


def check_contribution(kind: str, name: str, contribution: Any) -> str:
    """Why a contribution cannot be what it is offered as, in a few words; nothing where it can.

    Nothing of it is run, since a task may read gigabytes to say what its splits are: members need only be there.

    Args:
        kind: One of `CONTRIBUTION_KINDS`, but for tools, which are told by their type.
        name: Its name, or what stands for it.
        contribution: What a hook gave.
    """
    if inspect.isclass(contribution) and kind not in _CALLABLE:
        return f"{contribution.__name__} is a class; offer an instance of it: {contribution.__name__}()"
    missing = [member for member in _MEMBERS.get(kind, ()) if not _has(contribution, member)]
    if missing:
        return f"{name} ({type(contribution).__name__}) has no {', '.join(missing)}"
    if kind in _CALLABLE and not callable(contribution):
        return f"{name} ({type(contribution).__name__}) cannot be called"
    if kind in BY_NAME or "name" in _MEMBERS.get(kind, ()):
        return _check_name(name, contribution if kind not in BY_NAME else None)
    return ""


def _check_name(name: str, contribution: Any) -> str:
    if contribution is not None:
        try:
            own = contribution.name
        except Exception as error:  # noqa: BLE001 a property of a foreign object
            return (
                f"the name of {type(contribution).__name__} cannot be had: {type(error).__name__}: {str(error)[:200]}"
            )
        if not isinstance(own, str):
            return f"the name of {type(contribution).__name__} is {type(own).__name__}, not text"
    if not NAME_PATTERN.fullmatch(name):
        return f"{name[:100]!r} is no name: use letters, digits and _.- without blanks, 64 at most"
    return ""


NAME_PATTERN: Final = re.compile(r"[\w.-]{1,64}")
"""Names of what plugins offer; without the signs that a selection, `plugin:name`, or `NAME=VALUE` is written with."""
_CALLABLE: Final = frozenset(("rewards", "graders", "readers", "executors", "policies", "dialects"))
_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "tasks": ("name", "description", "families", "splits", "tools", "abstention", "case", "vocabulary"),
    "writers": ("suffixes", "write"),
    "segmenters": ("segment",),
    "trainers": ("name", "description", "recipes", "tool_schemas", "train", "load_policy"),
    "action_formats": (
        "think",
        "max_calls_per_turn",
        "stop_strings",
        "instructions",
        "parse",
        "parse_message",
        "format_turn",
    ),
}


def _has(contribution: Any, member: str) -> bool:
    """Whether a contribution has a member, without running a property."""
    try:
        inspect.getattr_static(contribution, member)
    except AttributeError:
        try:
            return hasattr(contribution, member)  # what `__getattr__` gives
        except Exception:  # noqa: BLE001 a property of a foreign object
            return False
    return True
