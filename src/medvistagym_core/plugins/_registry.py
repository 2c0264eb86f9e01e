"""The registry of everything installed, the toolbox chosen from it, and the lock that pins a toolbox.

`Registry.discover()` -> `registry.toolbox("window,zoom")` -> `toolbox["window"]`. Tools are ordered by canonical id,
always. Two plugins that offer one name both stay loadable by id; a toolbox refuses the bare name and says how to give
an alias.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from medvistagym_core.plugins._discovery import discover
from medvistagym_core.plugins._guarded_reader import GuardedReader
from medvistagym_core.plugins._plugin_report import LoadedPlugin, PluginReport
from medvistagym_core.plugins._tools_file import FILES_VARIABLE, ToolsFileError, files_from_environment, load_tools
from medvistagym_core.tools import DIALECTS, TOOL_NAME_PATTERN, Tool, Toolbox, closest_match

if TYPE_CHECKING:
    from medvistagym_core.environment import RewardTerm, Task
    from medvistagym_core.environment.grading import Grader
    from medvistagym_core.execution import Executor
    from medvistagym_core.imaging import Reader, Segmenter, Writer
    from medvistagym_core.plugins._catalog import CatalogEntry
    from medvistagym_core.protocol import ActionFormat
    from medvistagym_core.rollouts import PolicyFactory, Trainer
    from medvistagym_core.tools import SchemaDialect

ContributionKind = Literal["tool", "task", "trainer"]

_MAX_PARTS: Final = 1000
_MAX_PATTERN: Final = 200  # of a plugin's and a tool's name; what fnmatch makes of a pattern is larger than it


class SelectionError(ValueError):
    """A selection of tools, a task or a trainer that cannot be had; the sentence says why and what there is."""


class Registry:
    """Everything that the loaded plugins offer, and what was registered by hand."""

    def __init__(self, plugins: Iterable[LoadedPlugin] = ()) -> None:
        plugins = list(plugins)
        self.reports: tuple[PluginReport, ...] = tuple(plugin.report for plugin in plugins)
        self._tools: dict[str, Tool] = {
            tool.id: tool for plugin in plugins for tool in plugin.contributions.get("tools", ())
        }
        self._tasks: dict[str, Task] = _index_by_name(plugins, "tasks")
        self._trainers: dict[str, Trainer] = _index_by_name(plugins, "trainers")
        self.rewards: dict[str, RewardTerm] = _index_by_name(plugins, "rewards")
        self.graders: dict[str, Grader] = _index_by_name(plugins, "graders")
        self.segmenters: dict[str, Segmenter] = _index_by_name(plugins, "segmenters")
        self.executors: dict[str, Callable[..., Executor]] = _index_by_name(plugins, "executors")
        self.policies: dict[str, PolicyFactory] = _index_by_name(plugins, "policies")
        self._action_formats: dict[str, ActionFormat] = _index_by_name(plugins, "action_formats")
        self._dialects: dict[str, SchemaDialect] = _index_by_name(plugins, "dialects")
        self.readers: tuple[Reader, ...] = tuple(
            GuardedReader(reader, plugin.report.name)
            for plugin in plugins
            for reader in plugin.contributions.get("readers", ())
        )
        self.writers: tuple[Writer, ...] = _gather(plugins, "writers")

    @classmethod
    def discover(cls, allow: str | Iterable[str] | None = None) -> Registry:
        """A registry of the installed plugins, and of the files that `MEDVISTAGYM_TOOLS_FROM` names.

        Args:
            allow: As for `plugins.discover`.
        """
        registry = cls(discover(allow))
        for file in files_from_environment():
            try:
                tools = load_tools([file])
            except ToolsFileError as error:
                registry.reports += (_report_failed_file(file, error),)
            else:
                for tool in tools:
                    registry.add_tool(tool, tool.plugin)
        return registry

    # -- tools

    @property
    def tools(self) -> dict[str, Tool]:
        """Tools by canonical id, in order."""
        return dict(sorted(self._tools.items()))

    def add_tool(self, tool: Tool, plugin: str = "local") -> Tool:
        """Add a tool of a script or notebook; registering the same name again replaces it.

        Args:
            tool: The tool.
            plugin: The plugin that it counts as part of; its id is `plugin:name`.

        Returns:
            The tool as it was added.

        Raises:
            TypeError: It was not made by `@tool`.
        """
        if not isinstance(tool, Tool):
            raise TypeError(f"{tool!r:.60} is not a tool; decorate it with @tool")
        tool = tool.with_metadata(plugin=plugin)
        self._tools[tool.id] = tool
        return tool

    def toolbox(
        self,
        select: str | Iterable[str] = "*",
        aliases: Mapping[str, str] | None = None,
        devices: Mapping[str, str] | None = None,
    ) -> Toolbox:
        """The tools that `select` names.

        Args:
            select: Names, ids or globs of either, comma-separated or as a sequence: "window,zoom", "dicom:*", "*". A part
                "new=plugin:name" gives an alias, a part "!name" leaves out. The empty selection has no tools.
            aliases: New names by id, as "new": "plugin:name".
            devices: Where tools that are classes are set up, by name, id or pattern: {"segment": "cuda:0", "*": "cpu"}; on the
                CPU where none fits.

        Raises:
            SelectionError: A part matches nothing, or a bare name is offered by two plugins.
        """
        parts = [p.strip() for p in (select.split(",") if isinstance(select, str) else select)]
        if len(parts) > _MAX_PARTS:
            raise SelectionError(f"a selection has at most {_MAX_PARTS} parts, not {len(parts)}")
        renamed = dict(aliases or {})
        tools = self._select(parts, renamed)
        for alias, tool_id in renamed.items():
            if not TOOL_NAME_PATTERN.match(alias):
                raise SelectionError(
                    f"the alias {alias!r} is not a tool name: a lower-case letter, then letters, digits or _"
                )
            matches = self._matching(tool_id)
            if len(matches) != 1 or alias in tools:
                raise SelectionError(
                    f"the alias {alias}={tool_id} needs one tool and a free name; {tool_id} matches {len(matches)}"
                )
            tools[alias] = self._tools[matches[0]]
        for pattern in devices or ():
            if pattern not in tools:
                self._matching(pattern)  # a misspelt name would otherwise leave its tool on the CPU
        return Toolbox(tools, devices)

    def _select(self, parts: Sequence[str], renamed: dict[str, str]) -> dict[str, Tool]:
        """Tools under their own names, without those that have an alias; aliases among the parts are added to `renamed`."""
        chosen: dict[str, list[str]] = {}
        dropped: set[str] = set()
        for part in parts:
            if not part:
                continue
            if "=" in part:
                alias, _, part = part.partition("=")
                renamed[alias] = part
                continue
            leave = part.startswith("!")
            for tool_id in self._matching(part.removeprefix("!")):
                if leave:
                    dropped.add(tool_id)
                else:
                    chosen.setdefault(self._tools[tool_id].name, []).append(tool_id)
        taken = set(renamed.values())
        tools: dict[str, Tool] = {}
        for name, ids in chosen.items():
            ids = sorted(set(ids) - dropped - taken)
            if len(ids) > 1:
                raise SelectionError(
                    f"{' and '.join(ids)} share the name {name}; select one by id, or give an alias: "
                    f"--tools 'other_{name}={ids[1]},{ids[0]}'"
                )
            if ids:
                tools[name] = self._tools[ids[0]]
        return tools

    def _matching(self, pattern: str) -> list[str]:
        if len(pattern) > _MAX_PATTERN:
            beginning = f"{pattern[:40]}..."
            raise SelectionError(f"no tool matches {beginning!r}; a pattern has at most {_MAX_PATTERN} characters")
        by_id = ":" in pattern
        names = {tool_id: tool_id if by_id else tool.name for tool_id, tool in self.tools.items()}
        matches = [tool_id for tool_id, name in names.items() if fnmatch.fnmatchcase(name, pattern)]
        if matches or pattern == "*":
            return matches
        raise SelectionError(
            self._not_found_message("tool", pattern, sorted({t.name for t in self._tools.values()} | set(self._tools)))
        )

    def _not_found_message(self, kind: ContributionKind, wanted: str, names: Sequence[str]) -> str:
        plugin, _, name = wanted.rpartition(":")
        contested = [other for other in names if other.rpartition(":")[2] == wanted]
        if len(contested) > 1:
            return f"{' and '.join(contested)} share the name {wanted}; say which, with its plugin."
        suggestion = closest_match(wanted, names)
        wanted = wanted if len(wanted) <= _MAX_PATTERN else f"{wanted[:40]}..."
        message = f"no {kind} matches {wanted!r}"
        message += f"; did you mean {suggestion}?" if suggestion else f"; there are: {', '.join(names) or 'none'}."
        entry = _catalog_entry(kind, plugin, name)
        silent = [r for r in self.reports if r.state != "loaded"]
        home = {plugin, entry.distribution} if entry else {plugin}
        meant = [r for r in silent if {r.name, r.distribution} & home]
        if entry and not any(r.distribution == entry.distribution for r in self.reports):
            message += f" {wanted} comes with {entry.distribution}, which is not installed: {entry.install}"
        elif len(meant) == 1:
            message += (
                f" The plugin {meant[0].name} is not loaded ({meant[0].state}: {meant[0].reason}); {meant[0].fix}."
            )
        elif silent:
            message += f" Plugins that are not loaded: {'; '.join(self._silent_reasons())}."
        return message

    def _silent_reasons(self) -> list[str]:
        """The plugins that are not loaded, each with the reason."""
        return [f"{r.name} ({r.state}: {r.reason})" for r in self.reports if r.state != "loaded"]

    # -- tasks and trainers

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name, in order."""
        return dict(sorted(self._tasks.items()))

    def task(self, name: str) -> Task:
        """The task called `name`, or `plugin:name` where two plugins offer one of that name.

        Raises:
            SelectionError: There is none.
        """
        if name not in self._tasks:
            raise SelectionError(self._not_found_message("task", name, sorted(self._tasks)))
        return self._tasks[name]

    def add_task(self, task: Task) -> Task:
        """Add a task of a script or notebook, in place of any of the same name."""
        self._tasks[task.name] = task
        return task

    @property
    def trainers(self) -> dict[str, Trainer]:
        """Trainers by name, in order."""
        return dict(sorted(self._trainers.items()))

    def trainer(self, name: str | None = None) -> Trainer:
        """The trainer called `name` (`plugin:name` where two plugins offer one of that name), or the only one there is.

        Raises:
            SelectionError: There is none, or several and no name.
        """
        if name is None and len(self._trainers) == 1:
            return next(iter(self._trainers.values()))
        if name is None and not self._trainers:
            message = (
                "no plugin that trains is loaded: pip install 'medvistagym-core[train]', or from a clone: make install"
            )
            silent = self._silent_reasons()
            raise SelectionError(f"{message}. Plugins that are not loaded: {'; '.join(silent)}." if silent else message)
        if name not in self._trainers:
            raise SelectionError(self._not_found_message("trainer", str(name), sorted(self._trainers)))
        return self._trainers[name]

    # -- what the core has some of, too

    @property
    def dialects(self) -> dict[str, SchemaDialect]:
        """Schema dialects by name: the core's, and those of plugins, which take no name of the core's."""
        return {**self._dialects, **DIALECTS}

    def action_format(self, name: str) -> ActionFormat:
        """The action format called `name`: "text", or one that a plugin offers.

        Raises:
            SelectionError: There is none.
        """
        from medvistagym_core.protocol import TextProtocol

        formats: dict[str, ActionFormat] = {**self._action_formats, "text": TextProtocol()}
        if name not in formats:
            raise SelectionError(_unknown("action format", name, formats))
        return formats[name]

    def executor(self, name: str) -> Callable[[Toolbox], Executor]:
        """What makes an executor for a toolbox: "local", "process" (tools in their own processes), or a plugin's.

        Args:
            name: Its name, or `NAME:ARGUMENT` for one that takes an argument, such as an address.

        Raises:
            SelectionError: There is none.
        """
        from medvistagym_core.execution import LocalExecutor, ProcessExecutor

        factories: dict[str, Callable[..., Executor]] = {
            **self.executors,
            "local": LocalExecutor,
            "process": ProcessExecutor,
        }
        if name in factories:
            return factories[name]
        bare, colon, argument = name.partition(":")
        if colon and bare in self.executors:
            factory = self.executors[bare]

            @functools.wraps(factory)  # whose signature says what else it takes
            def make(toolbox: Toolbox, **options: Any) -> Executor:
                return factory(toolbox, argument, **options)

            return make
        raise SelectionError(_unknown("executor", name, factories))


def _report_failed_file(file: Path, error: ToolsFileError) -> PluginReport:
    fix = f"mend the file, or take it out of {FILES_VARIABLE}"
    return PluginReport(name=file.stem, distribution=str(file), version="0", state="failed", reason=str(error), fix=fix)


def _unknown(kind: str, name: str, names: Iterable[str]) -> str:
    choices = sorted(names)
    suggestion = closest_match(name, choices)
    return f"no {kind} is called {name!r}" + (
        f"; did you mean {suggestion}?" if suggestion else f"; there are: {', '.join(choices)}."
    )


def _gather(plugins: Iterable[LoadedPlugin], kind: str) -> tuple[Any, ...]:
    return tuple(value for plugin in plugins for value in plugin.contributions.get(kind, ()))


def _index_by_name(offers: Iterable[LoadedPlugin], kind: str) -> dict[str, Any]:
    """What the plugins offer, by name; by `plugin:name` where several offer one name, so that none takes another's place."""
    by_name: dict[str, dict[str, Any]] = {}
    for offer in offers:
        values = offer.contributions.get(kind, {})
        named = values if isinstance(values, Mapping) else {value.name: value for value in values}
        for name, value in named.items():
            by_name.setdefault(name, {})[f"{offer.report.name}:{name}"] = value
    out: dict[str, Any] = {}
    for name, owners in by_name.items():
        out.update(owners if len(owners) > 1 else {name: next(iter(owners.values()))})
    return out


def _catalog_entry(kind: ContributionKind, plugin: str, name: str) -> CatalogEntry | None:
    """The entry of the public index that brings it."""
    from medvistagym_core.plugins._catalog import load_catalog

    for entry in load_catalog().entries:
        names = {"tool": [tool.name for tool in entry.tools], "task": entry.tasks, "trainer": entry.trainers}[kind]
        if plugin in ("", entry.plugin) and (name in names or (plugin and "*" in name)):
            return entry
    return None
