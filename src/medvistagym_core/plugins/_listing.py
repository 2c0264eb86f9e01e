"""Names of what is installed, kept in the user's cache folder: what lists and completions need, without importing a plugin.

A listing is kept under a digest of the interpreter, the import path, the environment's variables and the core's version, and is
valid while every file that its discovery opened or imported and every folder that it searched is unchanged. Whatever a plugin
asked of another process or of a network cannot be checked, so a listing that it went into is not kept, nor is one that was
discovered with a failure or a warning, which must be repeated each time. What is read back is text to print, and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.plugins._cache import cache_folder
from medvistagym_core.plugins._load_trial import is_trial
from medvistagym_core.storage import write_atomically

if TYPE_CHECKING:
    from medvistagym_core.plugins._registry import Registry
    from medvistagym_core.tools import Tool

_FORMAT: Final = 1
_MAX_LISTINGS: Final = 8  # files, for as many environments: a terminal may have variables of its own
_MAX_BYTES: Final = 8_000_000
_MARGIN_NS: Final = 50_000_000  # the clock of a file system lags by up to a tick
_PER_COMMAND: Final = frozenset(("_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL"))  # change without being set
_MACHINE: Final = ("/dev/", "/proc/", "/sys/")
_ELSEWHERE: Final = frozenset(
    ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "socket.connect", "subprocess.Popen")
)


@dataclasses.dataclass(frozen=True)
class ListedTool:
    """A tool, as far as a list shows it.

    Attributes:
        id: `plugin:name`.
        name: Its name.
        summary: The first sentence of its description.
        modalities: DICOM modalities that it is made for; empty for any.
    """

    id: str
    name: str
    summary: str
    modalities: tuple[str, ...] = ()

    @classmethod
    def of(cls, tool: Tool) -> ListedTool:
        """What a list shows of a tool."""
        return cls(tool.id, tool.name, tool.description.partition(". ")[0].rstrip("."), tool.modalities)


@dataclasses.dataclass(frozen=True)
class Listing:
    """Names of what the installed plugins offer, each in order.

    Attributes:
        tools: The tools, by id.
        tasks: Names of the tasks.
        plugins: Names of the plugins, also of those that are disabled.
    """

    tools: tuple[ListedTool, ...]
    tasks: tuple[str, ...]
    plugins: tuple[str, ...]

    @classmethod
    def of(cls, registry: Registry) -> Listing:
        """The names of a registry."""
        tools = tuple(map(ListedTool.of, registry.tools.values()))
        return cls(tools, tuple(registry.tasks), tuple(report.name for report in registry.reports))


def listing_folder() -> Path | None:
    """The folder of kept listings; None where `MEDVISTAGYM_CACHE` is 0, or where the user has no home."""
    folder = cache_folder()
    return None if folder is None else folder / "listings"


def load_listing(discover: Callable[[], Registry]) -> Listing:
    """The kept listing of this environment, or else that of a new discovery, which is kept where that is safe.

    Nothing is kept, and nothing is said of it, where it cannot be written. In a process that has discovered plugins before,
    whose modules read what they need only once, nothing is kept or read.

    Args:
        discover: Discovers what is installed, and says what failed.
    """
    file = None if _DISCOVERY in sys.modules else _file()
    if file is None:
        return Listing.of(discover())
    kept = _read(file)
    if kept is not None:
        return kept
    began = time.time_ns() - _MARGIN_NS
    with _recorded_reads(file.parent.parent) as reads, _recorded_warnings() as warned:
        registry = discover()
    listing = Listing.of(registry)
    if not warned and not reads.asked_elsewhere and _is_silent(registry):
        paths = sorted({*reads.paths, *_module_files(), *_searched_folders()})
        state, changed = _state(paths)
        if changed < began:
            _write(file, {"paths": paths, "state": state, **dataclasses.asdict(listing)})
    return listing


_DISCOVERY: Final = "medvistagym_core.plugins._discovery"


def _is_silent(registry: Registry) -> bool:
    """Whether a command that lists what is installed says nothing of how it was discovered."""
    from medvistagym_core.plugins._discovery import allow_list

    return allow_list() is None and all(r.state in ("loaded", "disabled") and not r.faults for r in registry.reports)


def _read(file: Path) -> Listing | None:
    """The listing of a file; None where there is none that this program wrote, or where anything has changed since."""
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            return None
        read = json.loads(file.read_bytes())
        paths, state, listing = _texts(read["paths"]), read["state"], _parse(read)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return listing if state == _state(paths)[0] else None


def _file() -> Path | None:
    """Where the listing of this environment is kept."""
    from medvistagym_core import __version__

    folder = listing_folder()
    if folder is None:
        return None
    variables = sorted((name, value) for name, value in os.environ.items() if name not in _PER_COMMAND)
    facts = (_FORMAT, __version__, sys.version, sys.executable, os.uname().nodename, tuple(sys.flags), sys.warnoptions)
    key = repr((*facts, _searched_folders(), variables))
    return folder / f"{hashlib.sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()[:32]}.json"


def _searched_folders() -> list[str]:
    """Where Python looks for modules, and a shell for programs: what is installed or removed changes one of them."""
    programs = os.environ.get("PATH", "").split(os.pathsep)
    return [_absolute(entry) for entry in (*sys.path, *filter(None, programs))]


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 `resolve` follows links, which may be changed


def _module_files() -> Iterator[str]:
    """The files of all modules; of a compiled one, its source is what an author changes."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            yield _absolute(file)


def _state(paths: Iterable[str]) -> tuple[str, int]:
    """A digest of when each path was changed and how large it is, and when the last was changed, in ns since 1970."""
    digest, last = hashlib.sha256(), 0
    for path in paths:
        try:
            found = Path(path).stat()
        except (OSError, ValueError):
            digest.update(b"-\n")
            continue
        last = max(last, found.st_ctime_ns)  # an installer may set the other back
        digest.update(b"%d %d %d\n" % (found.st_mtime_ns, found.st_ctime_ns, found.st_size))
    return digest.hexdigest(), last


@contextlib.contextmanager
def _recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings that are shown meanwhile, which are shown at the end."""
    warned: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as warned:
            yield warned
    finally:
        for one in warned:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno, one.file, one.line)


class _Reads:
    """What this process reads, in any thread, as Python's audit events tell it.

    Args:
        own_folder: What this program keeps itself, which does not count.

    Attributes:
        paths: Files that were opened for reading, there or not, and folders that were listed.
        asked_elsewhere: Whether another process or a host was asked, or a path of the current folder.
        ended: Whether what is read no longer matters.
    """

    def __init__(self, own_folder: str) -> None:
        self.own_folder = own_folder
        self.paths: set[str] = set()
        self.asked_elsewhere = False
        self.ended = False

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in an audit event."""
        if self.ended:
            return
        if event in _ELSEWHERE:
            self.asked_elsewhere |= not (event == "subprocess.Popen" and is_trial(arguments[1]))
        elif event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
            writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or path.startswith(_MACHINE) or path.endswith(".pyc"):  # the source of a .pyc is what matters
                return
            if path.startswith(self.own_folder):
                return
            # With "" on the import path the current folder is part of the key.
            self.asked_elsewhere |= "" not in sys.path and not Path(path).is_absolute()
            self.paths.add(_absolute(path))


@contextlib.contextmanager
def _recorded_reads(own_folder: Path) -> Iterator[_Reads]:
    """What is read meanwhile, but for a folder."""
    reads = _Reads(str(own_folder))
    sys.addaudithook(reads.note)  # which stays for as long as the process
    try:
        yield reads
    finally:
        reads.ended = True


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("not a list of texts")
    return tuple(value)


def _parse(read: Any) -> Listing:
    """What `_write` wrote of a listing.

    Raises:
        TypeError: It is none, as is KeyError.
    """
    tools = []
    for tool in read["tools"]:
        tool_id, name, summary = _texts([tool["id"], tool["name"], tool["summary"]])
        tools.append(ListedTool(tool_id, name, summary, _texts(tool["modalities"])))
    return Listing(tuple(tools), _texts(read["tasks"]), _texts(read["plugins"]))


def _write(file: Path, value: Any) -> None:
    """Write a listing beside the last few others, if that can be done."""
    # A read-only home, a full disk, another process that tidies: the next command discovers anew.
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with write_atomically(file) as part:
            part.write_text(json.dumps(value), "utf-8")
        for old in sorted(file.parent.glob("*.json"), key=lambda other: other.stat().st_mtime_ns)[:-_MAX_LISTINGS]:
            old.unlink(missing_ok=True)
