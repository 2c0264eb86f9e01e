"""The registry of everything installed, the toolbox chosen from it, and the lock that pins a toolbox.

`Registry.discover()` -> `registry.toolbox("window,zoom")` -> `toolbox["window"]`. Tools are ordered by canonical id,
always. Two plugins that offer one name both stay loadable by id; a toolbox refuses the bare name and says how to give
an alias.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from medvistagym_core.plugins._discovery import LoadedPlugin, PluginReport, discover
from medvistagym_core.plugins._hooks import Reader
from medvistagym_core.tools import (
    TOOL_NAME_PATTERN,
    Tool,
    closest_match,
)

if TYPE_CHECKING:
    from medvistagym_core.execution import Executor
    from medvistagym_core.plugins._catalog import CatalogEntry

from medvistagym_core.tools import Toolbox

ContributionKind = Literal["tool", "task", "trainer"]


class SelectionError(ValueError):
    """A selection of tools, a task or a trainer that cannot be had; the sentence says why and what there is."""


class Registry:
    """Everything that the loaded plugins offer, and what was registered by hand."""

    def __init__(self, offers: Iterable[LoadedPlugin] = ()) -> None:
        offers = list(offers)
        self.reports: tuple[PluginReport, ...] = tuple(offer.report for offer in offers)
        self._tools: dict[str, Tool] = {
            tool.id: tool for offer in offers for tool in offer.contributions.get("tools", ())
        }
        self._tasks = _index_by_name(offers, "tasks")
        self._trainers = _index_by_name(offers, "trainers")
        self.rewards: dict[str, Any] = _index_by_name(offers, "rewards")
        self.executors: dict[str, Any] = _index_by_name(offers, "executors")
        self.readers: tuple[Reader, ...] = tuple(r for o in offers for r in o.contributions.get("readers", ()))

    @classmethod
    def discover(cls, allow: str | Iterable[str] | None = None) -> Registry:
        """A registry of the installed plugins; `allow` is as for `plugins.discover`."""
        return cls(discover(allow))

    # -- tools

    @property
    def tools(self) -> dict[str, Tool]:
        """Tools by canonical id, in order."""
        return dict(sorted(self._tools.items()))

    def add_tool(self, tool: Tool, plugin: str = "local") -> Tool:
        """Add a tool of a script or notebook; registering the same name again replaces it.

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
        renamed = dict(aliases or {})
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
        for alias, tool_id in renamed.items():
            if not TOOL_NAME_PATTERN.match(alias):
                raise SelectionError(
                    f"the alias {alias!r} is not a tool name: a lower-case letter, then letters, digits or _"
                )
            found = self._matching(tool_id)
            if len(found) != 1 or alias in tools:
                raise SelectionError(
                    f"the alias {alias}={tool_id} needs one tool and a free name; {tool_id} matches {len(found)}"
                )
            tools[alias] = self._tools[found[0]]
        for pattern in devices or ():
            if pattern not in tools:
                self._matching(pattern)  # a misspelt name would otherwise leave its tool on the CPU
        return Toolbox(tools, devices)

    def _matching(self, pattern: str) -> list[str]:
        by_id = ":" in pattern
        names = {tool_id: tool_id if by_id else tool.name for tool_id, tool in self.tools.items()}
        found = [tool_id for tool_id, name in names.items() if fnmatch.fnmatchcase(name, pattern)]
        if found or pattern == "*":
            return found
        raise SelectionError(
            self._not_found_message("tool", pattern, sorted({t.name for t in self._tools.values()} | set(self._tools)))
        )

    def _not_found_message(self, kind: ContributionKind, wanted: str, known: Sequence[str]) -> str:
        plugin, _, name = wanted.rpartition(":")
        contested = [other for other in known if other.rpartition(":")[2] == wanted]
        if len(contested) > 1:
            return f"{' and '.join(contested)} share the name {wanted}; say which, with its plugin."
        near = closest_match(wanted, known)
        said = f"no {kind} matches {wanted!r}"
        said += f"; did you mean {near}?" if near else f"; there are: {', '.join(known) or 'none'}."
        entry = _catalog_entry(kind, plugin, name)
        silent = [r for r in self.reports if r.state != "loaded"]
        home = {plugin, entry.distribution} if entry else {plugin}
        meant = [r for r in silent if {r.name, r.distribution} & home]
        if entry and not any(r.distribution == entry.distribution for r in self.reports):
            said += f" {wanted} comes with {entry.distribution}, which is not installed: {entry.install}"
        elif len(meant) == 1:
            said += f" The plugin {meant[0].name} is not loaded ({meant[0].state}: {meant[0].reason}); {meant[0].fix}."
        elif silent:
            reasons = "; ".join(f"{r.name} ({r.state}: {r.reason})" for r in silent)
            said += f" Plugins that are not loaded: {reasons}."
        return said

    # -- tasks and trainers

    @property
    def tasks(self) -> dict[str, Any]:
        """Tasks by name, in order."""
        return dict(sorted(self._tasks.items()))

    def task(self, name: str) -> Any:
        """The task called `name`, or `plugin:name` where two plugins offer one of that name.

        Raises:
            SelectionError: There is none.
        """
        if name not in self._tasks:
            raise SelectionError(self._not_found_message("task", name, sorted(self._tasks)))
        return self._tasks[name]

    def add_task(self, task: Any) -> Any:
        """Add a task of a script or notebook, in place of any of the same name."""
        self._tasks[task.name] = task
        return task

    @property
    def trainers(self) -> dict[str, Any]:
        """Trainers by name, in order."""
        return dict(sorted(self._trainers.items()))

    def trainer(self, name: str | None = None) -> Any:
        """The trainer called `name` (`plugin:name` where two plugins offer one of that name), or the only one there is.

        Raises:
            SelectionError: There is none, or several and no name.
        """
        if name is None and len(self._trainers) == 1:
            return next(iter(self._trainers.values()))
        if name is None and not self._trainers:
            raise SelectionError(self._not_found_message("trainer", "any", []) + " pip install medvistagym-trl")
        if name not in self._trainers:
            raise SelectionError(self._not_found_message("trainer", str(name), sorted(self._trainers)))
        return self._trainers[name]

    # -- executors

    def executor(self, name: str) -> Callable[[Toolbox], Executor]:
        """What makes the executor called `name` for a toolbox: "local", "process" (isolated), or one that a plugin offers.

        Raises:
            SelectionError: There is none.
        """
        if name in self.executors:
            factory: Callable[[Toolbox], Executor] = self.executors[name]
            return factory
        if name == "local":
            from medvistagym_core.execution import LocalExecutor

            return LocalExecutor
        if name == "process":
            from medvistagym_core.execution import ProcessExecutor

            return ProcessExecutor
        known = sorted({"local", "process", *self.executors})
        near = closest_match(name, known)
        raise SelectionError(
            f"no executor is called {name!r}"
            + (f"; did you mean {near}?" if near else f"; there are: {', '.join(known)}.")
        )


def _index_by_name(offers: Iterable[LoadedPlugin], kind: str) -> dict[str, Any]:
    """What the plugins offer, by name; by `plugin:name` where several offer one name, so that none takes another's place."""
    found: dict[str, dict[str, Any]] = {}
    for offer in offers:
        things = offer.contributions.get(kind, {})
        named = things if isinstance(things, Mapping) else {thing.name: thing for thing in things}
        for name, thing in named.items():
            found.setdefault(name, {})[f"{offer.report.name}:{name}"] = thing
    out: dict[str, Any] = {}
    for name, owners in found.items():
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
