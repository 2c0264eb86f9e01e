"""Plugins that end the process which loads them, found before they end this one.

What calls `os._exit` or crashes in a library while it is imported or described cannot be contained within a process. A plugin
that has not been loaded before as it stands is therefore loaded in a process of its own first, and so is one that ended it
the last time. That it was survived is kept in the user's cache folder, as an empty file named by a digest of the interpreter,
of the versions of all distributions and of the state of the plugin's own files: the next commands go without the trial, as
does a process in which the plugin is imported already. `MEDVISTAGYM_CACHE=0` turns it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.plugins._cache import cache_folder

if TYPE_CHECKING:
    from medvistagym_core.plugins._installed import Environment, InstalledPlugin

PROGRAM: Final = "medvistagym_core.plugins._trial_program"
_MARGIN_S: Final = 5.0  # beyond the limit that the process keeps itself, unless something holds its interpreter
_MAX_FILES: Final = 2000
_MAX_RECORDS: Final = 500


def find_fatal(plugins: Sequence[InstalledPlugin], environment: Environment, limit_s: float) -> Mapping[str, str]:
    """Those plugins that end the process which loads them: what became of it, a sentence by the plugin's name.

    Args:
        plugins: Those that will be loaded.
        environment: Theirs.
        limit_s: Seconds that one may take to load.
    """
    cache = cache_folder()
    new = [plugin for plugin in plugins if plugin.point.module not in sys.modules]
    if cache is None or not new or not sys.executable:
        return {}
    folder = cache / "loaded"
    installed = "\n".join(sorted(environment.folders))
    keys = {plugin.point.name: _key(plugin, installed) for plugin in new}
    untried = [plugin for plugin in new if not (folder / keys[plugin.point.name]).exists()]
    if not untried:
        return {}
    ended = _try(untried, limit_s)
    _keep(folder, [keys[name] for name, sentence in ended.items() if not sentence])
    return {name: sentence for name, sentence in ended.items() if sentence}


def is_trial(command: Any) -> bool:
    """Whether the command line of a process is that of a trial."""
    return isinstance(command, Sequence) and PROGRAM in command


def _key(plugin: InstalledPlugin, installed: str) -> str:
    from medvistagym_core.tools import core_version

    facts = (sys.version, core_version(), plugin.distribution, plugin.version, plugin.point.name, plugin.point.value)
    digest = hashlib.sha256(repr((*facts, installed)).encode("utf-8", "backslashreplace"))
    for file in sorted(_own_files(plugin.point.module.partition(".")[0])):
        with contextlib.suppress(OSError):
            found = Path(file).stat()
            digest.update(f"{file}\0{found.st_mtime_ns} {found.st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _own_files(package: str) -> Iterator[str]:
    """The files of a module or of a package, some of them where it has very many."""
    import importlib.util

    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, AttributeError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        yield from filter(None, [spec.origin])
        return
    count = 0
    for place in spec.submodule_search_locations:
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(files):
                if name.endswith((".py", ".so", ".pyd")):
                    count += 1
                    if count > _MAX_FILES:
                        return
                    yield os.path.join(folder, name)  # noqa: PTH118 as `os.walk` gives it


def _try(plugins: Iterable[InstalledPlugin], limit_s: float) -> dict[str, str]:
    """Load plugins in another process, in the next after each that ends one: what became of it by name, empty if it lives."""
    from medvistagym_core.execution import ChildEndedError, ChildProcess

    ended: dict[str, str] = {}
    process: ChildProcess | None = None
    try:
        for plugin in plugins:
            if process is None or not process.alive:
                process = ChildProcess(PROGRAM)
            try:
                process.ask((plugin.point.name, plugin.point.value, limit_s), limit_s + _MARGIN_S)
                ended[plugin.point.name] = ""
            except ChildEndedError as error:
                what = "ended that process" if str(error) == "ended" else str(error)
                ended[plugin.point.name] = f"tried in another process, it {what}"
    except OSError:  # no process can be had: the others are loaded here, untried
        pass
    finally:
        if process is not None:
            process.end(0)
    return ended


def _keep(folder: Path, keys: Iterable[str]) -> None:
    """Write empty files beside the last few others, if that can be done."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for key in keys:
            (folder / key).touch()
        for old in sorted(folder.iterdir(), key=lambda other: other.stat().st_mtime_ns)[:-_MAX_RECORDS]:
            old.unlink(missing_ok=True)
