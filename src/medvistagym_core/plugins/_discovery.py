"""Plugins: what they may offer, and finding them so that none can harm another.

A plugin is a module named by an entry point of the group `medvistagym`, with functions marked `@hookimpl`. Discovery
reads the entry points, loads each inside a guard and asks it for what it offers; the outcome of each is a
`PluginReport`. pluggy holds the hook specifications and checks implementations against them.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pluggy

from medvistagym_core.plugins._load_guard import LoadTimeoutError, ensure_not_nested, run_with_timeout

if TYPE_CHECKING:
    from medvistagym_core.tools import Tool

from medvistagym_core.plugins._hooks import (
    BY_NAME,
    CONTRIBUTION_KINDS,
    GROUP,
    HookSpecs,
    check_contribution,
    contribution_name,
)
from medvistagym_core.plugins._installed import Environment, InstalledPlugin, scan_environment
from medvistagym_core.plugins._load_trial import find_fatal
from medvistagym_core.plugins._plugin_report import LoadedPlugin, PluginReport
from medvistagym_core.tools import CORE, UNVERSIONED, core_version

ALLOW_VARIABLE: Final = "MEDVISTAGYM_PLUGINS"
LIMIT_VARIABLE: Final = "MEDVISTAGYM_LOAD_SECONDS"
LIMIT_S: Final = 10.0
SEGMENTATION_TOOLS: Final = "segmentation_tools"


def allow_list(names: str | Iterable[str] | None = None) -> frozenset[str] | None:
    """The allow-list: `names`, else the variable `MEDVISTAGYM_PLUGINS`; None when every plugin is allowed."""
    if names is None:
        names = os.environ.get(ALLOW_VARIABLE, "").strip() or None
    if names is None:
        return None
    parts = names.split(",") if isinstance(names, str) else names
    return frozenset(part.strip() for part in parts if part.strip())


def discover(allow: str | Iterable[str] | None = None, *, limit_s: float | None = None) -> list[LoadedPlugin]:
    """Every installed plugin, in the order of names, whatever the order of installation. Never raises for a plugin's fault.

    Args:
        allow: Entry-point or distribution names, comma-separated or as a sequence; the others are not imported.
        limit_s: Seconds that one plugin may take to load; the variable `MEDVISTAGYM_LOAD_SECONDS`, else 10, when None.

    Raises:
        RuntimeError: It is called by a plugin that is being loaded.
    """
    ensure_not_nested()
    allow = allow_list(allow)
    limit_s = load_limit() if limit_s is None else limit_s
    environment = scan_environment()
    plugins = [_report_broken(*line, allow) for line in environment.broken]
    plugins += _offers(environment, allow, limit_s)
    plugins.sort(key=lambda plugin: (plugin.report.name, plugin.report.distribution))
    return _with_segmentation_tools(plugins, limit_s)


def _report_broken(
    name: str, distribution: str, version: str, fault: str, allow: frozenset[str] | None
) -> LoadedPlugin:
    """The report of a line of entry points that names nothing."""
    report = PluginReport(
        name=name, distribution=distribution, version=version, state="failed", reason=fault,
        fix=f"mend the line, or reinstall {distribution}",
    )  # fmt: skip
    return LoadedPlugin(report if allow is None or {name, distribution} & allow else _disable(report))


def _disable(report: PluginReport) -> PluginReport:
    fix = f"add {report.name} to {ALLOW_VARIABLE} or --plugins"
    return dataclasses.replace(report, state="disabled", reason="not on the allow-list", fix=fix)


def _with_segmentation_tools(plugins: list[LoadedPlugin], limit_s: float) -> list[LoadedPlugin]:
    """The plugins, those with segmentation tools asked once more when there are segmenters of others."""
    segmenters = {name: one for p in plugins for name, one in p.contributions.get("segmenters", {}).items()}
    if not segmenters:
        return plugins
    return [
        _ask_for_segmentation_tools(plugin, segmenters, limit_s)
        if SEGMENTATION_TOOLS in plugin.contributions
        else plugin
        for plugin in plugins
    ]


def _ask_for_segmentation_tools(plugin: LoadedPlugin, segmenters: Mapping[str, Any], limit_s: float) -> LoadedPlugin:
    hook = plugin.contributions[SEGMENTATION_TOOLS]
    try:
        answers = run_with_timeout(lambda: hook(segmenters=segmenters), limit_s)
        tools = _tools([tool for answer in answers for tool in answer], plugin.report)
    except Exception as error:  # noqa: BLE001 the plugin's tools without the new segmenters are still there
        fault = f"medvistagym_{SEGMENTATION_TOOLS}: {type(error).__name__}: {str(error)[:200]}"
        report = dataclasses.replace(plugin.report, faults=(*plugin.report.faults, fault))
        return dataclasses.replace(plugin, report=report)
    by_name = {tool.name: tool for tool in [*plugin.contributions["tools"], *tools]}
    return dataclasses.replace(plugin, contributions={**plugin.contributions, "tools": list(by_name.values())})


def _offers(environment: Environment, allow: frozenset[str] | None, limit_s: float) -> list[LoadedPlugin]:
    first: dict[str, InstalledPlugin] = {}
    reports: dict[str, PluginReport] = {}
    left_out = []
    for plugin in sorted(environment.plugins, key=lambda plugin: (plugin.point.name, plugin.distribution)):
        point, dist = plugin.point, plugin.distribution
        report = PluginReport(
            name=point.name, distribution=dist, version=plugin.version, state="loaded", notes=plugin.notes
        )
        other = first.get(point.name)
        if other is not None and (other.distribution, other.point.value) == (dist, point.value):
            continue
        if allow is not None and not {point.name, dist} & allow:
            left_out.append(LoadedPlugin(_disable(report)))
        elif wanted := _incompatible(plugin.requires):
            changes: dict[str, Any] = {
                "state": "incompatible",
                "reason": f"it needs {wanted}, and this is {CORE} {core_version()}",
            }
            fix = f"pip install --upgrade {dist}, or install {wanted}"
            left_out.append(LoadedPlugin(dataclasses.replace(report, **changes, fix=fix)))
        elif other is not None:
            reason = f"{other.distribution} offers a plugin of the same name"
            fix = f"uninstall one of {other.distribution} and {dist}, or disable one"
            if other.distribution == dist:
                reason = f"{dist} declares {point.name} twice, as {other.point.value} and as {point.value}"
                fix = f"take one of the lines out of the entry points of {dist}"
            left_out.append(LoadedPlugin(dataclasses.replace(report, state="failed", reason=reason, fix=fix)))
        else:
            first[point.name], reports[point.name] = plugin, report
    offers = []
    fatal = find_fatal(list(first.values()), environment, limit_s)
    for name, plugin in first.items():
        if reason := fatal.get(name, ""):
            fix = f"uninstall {plugin.distribution}, or leave it out with --plugins; plugins check {name} looks closer"
            offers.append(LoadedPlugin(dataclasses.replace(reports[name], state="failed", reason=reason, fix=fix)))
        else:
            offers.append(load(plugin.point, reports[name], limit_s=limit_s))
    return offers + left_out


class PluginSource(Protocol):
    """Names a plugin's module, or an object in it; `importlib.metadata.EntryPoint` is one."""

    @property
    def name(self) -> str:
        """Name of the plugin."""
        ...

    @property
    def module(self) -> str:
        """Name of its module."""
        ...

    def load(self) -> Any:
        """The module or object."""
        ...


def load(point: PluginSource, report: PluginReport, *, limit_s: float | None = None) -> LoadedPlugin:
    """What one plugin offers, asked inside the guard; its report says "failed" and why where it could not be had.

    Args:
        point: Names the plugin's module, or an object in it.
        report: Its name, distribution and version, in the state "loaded".
        limit_s: As for `discover`.
    """
    limit_s = load_limit() if limit_s is None else limit_s
    try:
        return run_with_timeout(lambda: _offer(point, report), limit_s)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not _raised_in_plugin(error, point):
            raise
        return LoadedPlugin(dataclasses.replace(report, **_failure(error, point)))


def _offer(point: PluginSource, report: PluginReport) -> LoadedPlugin:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(HookSpecs)
    manager.register(point.load(), name=point.name)
    manager.check_pending()
    faults = _forgotten(manager, point.name)
    try:
        offered = _call_hook(manager, "tools")
    except _NoAnswerError as error:
        offered = []
        faults.append(str(error))
    faults += [f"medvistagym_tools: {str(one)[:300]}" for one in offered if isinstance(one, Exception)]
    tools = _tools([one for one in offered if not isinstance(one, Exception)], report)
    contributions: dict[str, Any] = {"tools": tools}
    for kind in CONTRIBUTION_KINDS:
        if kind == "tools":
            continue
        try:
            offered = _call_hook(manager, kind)
        except BaseException as error:  # noqa: BLE001 what one hook does costs the plugin nothing else
            failure = _failure(error, point)
            location = f" at {failure['location']}" if failure["location"] else ""
            faults.append(f"medvistagym_{kind}: {failure['reason']}{location}")
            offered = {} if kind in BY_NAME else []
        contributions[kind] = _without_faults(kind, offered, faults)
    if manager.hook.medvistagym_segmentation_tools.get_hookimpls():
        contributions[SEGMENTATION_TOOLS] = manager.hook.medvistagym_segmentation_tools
    offers_nothing = not any(contributions.values()) and not faults
    notes = (*report.notes, _NOTHING) if offers_nothing else report.notes
    names: dict[str, Any] = {kind: tuple(map(contribution_name, things)) for kind, things in contributions.items()
                             if kind in CONTRIBUTION_KINDS}  # fmt: skip
    return LoadedPlugin(dataclasses.replace(report, **names, faults=tuple(faults), notes=notes), contributions)


class _NoAnswerError(TypeError):
    """A hook that returned None."""


_NOTHING: Final = (
    "it offers nothing: what it offers is returned by functions such as medvistagym_tools(), marked with @hookimpl"
)


def _forgotten(manager: pluggy.PluginManager, name: str) -> list[str]:
    """Functions of a plugin that are named like hooks and are not marked as such, a sentence each."""
    plugin = manager.get_plugin(name)
    marked = {hook.name for hook in manager.get_hookcallers(plugin) or ()}
    return [
        f"{function} is not marked with @hookimpl, so that it is not asked"
        for function in dir(plugin)
        if function.startswith("medvistagym_")
        and function not in marked
        and inspect.isroutine(getattr(plugin, function))
    ]


def _without_faults(kind: str, offered: Any, faults: list[str]) -> Any:
    """What was offered without what cannot be what it is offered as, which costs the plugin nothing else."""

    def usable(name: str, thing: Any) -> bool:
        fault = check_contribution(kind, name, thing)
        if fault:
            faults.append(f"medvistagym_{kind}: {fault}")
        return not fault

    if isinstance(offered, Mapping):
        return {name: thing for name, thing in offered.items() if usable(str(name), thing)}
    return [thing for thing in offered if usable(contribution_name(thing), thing)]


def load_limit() -> float:
    """Seconds that one plugin may take to load: the variable `MEDVISTAGYM_LOAD_SECONDS`, else 10.

    Raises:
        ValueError: The variable is not such a number.
    """
    setting = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(setting or LIMIT_S)
    except ValueError:
        limit = 0.0
    if not 0 < limit <= 86400:
        raise ValueError(f"{LIMIT_VARIABLE} is a number of seconds above 0, not {setting!r}")
    return limit


def _call_hook(manager: pluggy.PluginManager, kind: str) -> Any:
    mapping = kind in BY_NAME
    contributed: Any = {} if mapping else []
    hook = getattr(manager.hook, f"medvistagym_{kind}")
    answers = hook()
    if len(answers) < len(hook.get_hookimpls()):  # pluggy leaves None out
        kind_of = "mapping of names" if mapping else "list"
        raise _NoAnswerError(f"medvistagym_{kind} returns a {kind_of}, not None; is its return missing?")
    for answer in answers:
        if inspect.iscoroutine(answer):
            answer.close()
            raise TypeError(f"medvistagym_{kind} is a plain function, not an async one")
        if mapping and not isinstance(answer, Mapping):
            raise TypeError(f"medvistagym_{kind} returns a mapping of names, not {type(answer).__name__}")
        if not mapping and (isinstance(answer, str | bytes) or not isinstance(answer, Iterable)):
            raise TypeError(f"medvistagym_{kind} returns a list, not {type(answer).__name__}")
        contributed.update(answer) if mapping else contributed.extend(answer)
    return contributed


def _tools(contributed: Sequence[Any], report: PluginReport) -> list[Tool]:
    from medvistagym_core.tools import Tool

    for thing in contributed:
        if not isinstance(thing, Tool):
            raise TypeError(f"medvistagym_tools returned {type(thing).__name__} {thing!r:.60}; decorate it with @tool")
    names = [thing.name for thing in contributed]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"it offers two tools named {name}; rename one with @tool(name=...)")
    versions = (tool.version if tool.version != UNVERSIONED else report.version for tool in contributed)
    return [tool.with_metadata(plugin=report.name, version=v) for tool, v in zip(contributed, versions, strict=True)]


def _plugin_frames(error: BaseException, point: PluginSource) -> list[str]:
    """The places in the plugin's own files that the error passed, as `file:line`, outermost first."""
    top = point.module.split(".")[0]
    stack = error.stack if isinstance(error, LoadTimeoutError) else traceback.extract_tb(error.__traceback__)
    places = []
    for frame in stack:
        parts = Path(frame.filename).parts
        inside = [k for k, part in enumerate(parts) if part in (top, f"{top}.py")]
        if inside:
            places.append(f"{'/'.join(parts[inside[-1] :])}:{frame.lineno}")
    return places


def _raised_in_plugin(error: BaseException, point: PluginSource) -> bool:
    return bool(_plugin_frames(error, point))


def _failure(error: BaseException, point: PluginSource) -> dict[str, Any]:
    message = str(error).strip().split("\n")[0][:300]
    top = point.module.split(".")[0]
    places = _plugin_frames(error, point)
    fix = "mend the plugin, or leave it out with --plugins"
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name.split(".")[0]
        fix = (
            f"reinstall the plugin: its module {top} is missing"
            if missing == top
            else f"pip install what provides {missing}"
        )
    elif isinstance(error, pluggy.PluginValidationError):
        message = " ".join(str(error).split())[:300]  # what is wrong stands in its last line
    elif isinstance(error, SystemExit):
        message = f"it called sys.exit({error.code!r}) while it was loaded"
    elif isinstance(error, LoadTimeoutError):
        fix = f"mend the plugin, leave it out with --plugins, or allow it more time with {LIMIT_VARIABLE}"
    return {
        "state": "failed",
        "reason": f"{type(error).__name__}: {message}".rstrip(": "),
        "fix": fix,
        "location": places[-1] if places else "",
    }


_ON_CORE: Final = re.compile(r"medvistagym[-_.]+core(?![\w.-])", re.IGNORECASE)


def _incompatible(requires: Sequence[str]) -> str:
    """The requirement on the core that the installed core does not meet, or nothing."""
    from packaging.requirements import InvalidRequirement, Requirement

    for line in requires:
        if _ON_CORE.match(line.strip()) is None:
            continue
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            continue
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        if not asked.specifier.contains(core_version(), prereleases=True):
            return f"{CORE}{','.join(sorted(map(str, asked.specifier), reverse=True))}"
    return ""
