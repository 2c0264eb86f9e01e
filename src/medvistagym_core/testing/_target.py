"""The plugin under check: an installed one by name, or one in a folder or file that need not be installed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ConfigDict, Field

from medvistagym_core.plugins import (
    GROUP,
    LoadedPlugin,
    PluginReport,
    import_file,
    load,
    normalize_name,
    scan_environment,
    tools_of_module,
)
from medvistagym_core.tools import closest_match


class SubjectError(ValueError):
    """The name or path leads to no plugin; the sentence says what would."""


class PluginUnderTest(BaseModel):
    """A plugin to be checked, such that another process can load it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the plugin.")
    distribution: str = Field(default="", description="Distribution it comes from; empty for a file.")
    version: str = Field(default="0", description="Version of the distribution.")
    value: str = Field(description="The module, or `module:object`, as in an entry point.")
    paths: tuple[str, ...] = Field(
        default=(),
        description="Folders to import from: a file's behind all others, a project's before all but the standard library.",
    )
    file: str = Field(default="", description="The Python file that the module is; empty for a module found by name.")

    def load(self) -> LoadedPlugin:
        """What the plugin offers, loaded inside the guard in this process.

        A file without hooks offers the tools that it defines, as with `--tools-from`.
        """
        place = len(sys.path) if self.file else _behind_standard_library()
        sys.path[place:place] = [path for path in self.paths if path not in sys.path]
        point = _FilePoint(self) if self.file else importlib.metadata.EntryPoint(self.name, self.value, GROUP)
        report = PluginReport(
            name=self.name, distribution=self.distribution or self.name, version=self.version, state="loaded"
        )
        offer = load(point, report)
        if isinstance(point, _FilePoint) and offer.report.state == "loaded" and not any(offer.contributions.values()):
            tools = [tool.with_metadata(plugin=self.name) for tool in tools_of_module(point.loaded)]
            names = tuple(tool.name for tool in tools)
            return LoadedPlugin(dataclasses.replace(offer.report, tools=names), {**offer.contributions, "tools": tools})
        return offer


def _behind_standard_library() -> int:
    """The place in `sys.path` where a folder shadows no module of Python's, such as by an `array.py` of its own."""
    home = Path(sysconfig.get_path("stdlib"))
    own = [place for place, path in enumerate(sys.path) if Path(path) in (home, home / "lib-dynload")]
    return max(own, default=-1) + 1


class _FilePoint:
    """A Python file in an entry point's place."""

    def __init__(self, subject: PluginUnderTest) -> None:
        self.name = subject.name
        self.module = self.value = subject.name
        self.loaded = ModuleType(subject.name)
        self._file = Path(subject.file)

    def load(self) -> ModuleType:
        self.loaded = import_file(self._file)
        return self.loaded


def locate_plugin(target: str | Path) -> PluginUnderTest:
    """The plugin called `target` (its own or its distribution's name, installed), or the one in the folder or file `target`.

    Raises:
        SubjectError: There is none, or more than one.
    """
    path = Path(target)
    if isinstance(target, Path) or path.suffix == ".py" or len(path.parts) > 1 or (path / "pyproject.toml").is_file():
        return _in_folder(path) if path.is_dir() else _in_file(path)
    return _find_installed(target)


def _find_installed(name: str) -> PluginUnderTest:
    environment = scan_environment()
    wanted = normalize_name(name)
    plugins = []
    names: set[str] = set()
    for plugin in environment.plugins:
        point, distribution = plugin.point, plugin.distribution
        names |= {point.name, distribution}
        if wanted in (normalize_name(point.name), normalize_name(distribution)):
            plugins.append(
                PluginUnderTest(name=point.name, distribution=distribution, version=plugin.version, value=point.value)
            )
    plugins = list(dict.fromkeys(plugins))  # a line that stands twice is one plugin
    for called, distribution, _, fault in () if plugins else environment.broken:
        if wanted in (normalize_name(called), normalize_name(distribution)):
            raise SubjectError(fault)
    owners = sorted({subject.distribution for subject in plugins})
    if len(owners) > 1 and len({subject.name for subject in plugins}) == 1:
        raise SubjectError(f"{' and '.join(owners)} both bring a plugin called {name}: name the distribution")
    return _only(plugins, f"the distribution {name}", _absent(name, sorted(names - {""})))


def _absent(name: str, names: list[str]) -> str:
    suggestion = closest_match(name, names)
    if suggestion:
        advice = f"did you mean {suggestion}?"
    else:
        advice = f"there are {', '.join(names)}." if names else "none is installed."
    return f"no installed plugin is called {name!r}; {advice} A path names one that is not installed: ./{name}"


def _in_folder(folder: Path) -> PluginUnderTest:
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise SubjectError(
            f"{folder} has no pyproject.toml; name a plugin's folder, its module's file, or an installed plugin"
        )
    try:
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise SubjectError(f"{file} is not TOML: {error}") from None
    points = project.get("entry-points", {}).get(GROUP, {})
    plugins = [
        PluginUnderTest(
            name=name,
            distribution=project.get("name", ""),
            version=str(project.get("version", "0")),
            value=value,
            paths=(str(_root(folder, value)),),
        )
        for name, value in sorted(points.items())
    ]
    need = f'{file} declares no plugin; add the table [project.entry-points.{GROUP}] with a line name = "module"'
    return _only(plugins, str(folder), need)


def _root(folder: Path, value: str) -> Path:
    """The folder to import the module from: `src`, else the project's own."""
    top = value.partition(":")[0].partition(".")[0]
    for root in (folder / "src", folder):
        if (root / top).is_dir() or (root / f"{top}.py").is_file():
            return root.resolve()
    raise SubjectError(f"{folder} declares the module {top}, and holds it neither in src nor beside pyproject.toml")


def _in_file(file: Path) -> PluginUnderTest:
    if file.suffix != ".py" or not file.is_file():
        raise SubjectError(f"{file} is neither a plugin's folder nor a Python file")
    return PluginUnderTest(
        name=file.stem, value=file.stem, paths=(str(file.parent.resolve()),), file=str(file.resolve())
    )


def _only(plugins: Iterable[PluginUnderTest], location: str, absent: str) -> PluginUnderTest:
    plugins = list(plugins)
    if not plugins:
        raise SubjectError(absent)
    if len(plugins) > 1:
        raise SubjectError(
            f"{location} has several plugins, name one: {', '.join(subject.name for subject in plugins)}"
        )
    return plugins[0]
