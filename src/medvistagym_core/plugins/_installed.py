"""Reading which plugins are installed, whatever else in the environment is broken.

The standard library's reader of entry points ends at the first malformed line of any distribution. Here every distribution is
read for itself: what cannot be read of one costs that one alone and is told, with the file and the line. Of two installations
of one distribution the first on the path counts, as for imports, and of two in one folder the newer.
"""

from __future__ import annotations

import dataclasses
import importlib.machinery
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder, EntryPoint
from pathlib import Path
from typing import Any, Final

from medvistagym_core.plugins._hooks import GROUP

_VALUE: Final = re.compile(r"(?P<module>\w+(\.\w+)*)\s*(:\s*\w+(\.\w+)*\s*)?(\[.*\]\s*)?")
# What stands behind the first dash is a version, or the folder's name does not tell where that of the distribution ends.
_FOLDER: Final = re.compile(r"(?P<name>[^-]+)(-(?P<version>v?\d[^-]*)(-.*)?)?\.(dist|egg)-info", re.IGNORECASE)
_NAME: Final = re.compile(r"[^\s,:*\[\]]+")
_OTHER_GROUPS: Final = frozenset(
    ("medvistagym", *(f"medvistagym{end}" for end in ("plugin", "plugins", "tools", "core")))
)
_MAX_CHARS: Final = 1_000_000
_MAX_FAULTS: Final = 20


@dataclasses.dataclass(frozen=True)
class InstalledPlugin:
    """An entry point of the group `medvistagym`, and the distribution that brings it.

    Attributes:
        point: Its name and the module, or object, that it names.
        distribution: Name of the distribution.
        version: Its version.
        requires: Its requirements, a line each.
        notes: What is not as it should be about the installation, a sentence each.
    """

    point: EntryPoint
    distribution: str
    version: str
    requires: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Environment:
    """What the distributions of an environment say.

    Attributes:
        plugins: The entry points of the group.
        broken: Lines of the group that name nothing, as (what stands for a name, distribution, version, sentence).
        faults: What could not be read of other distributions, a sentence each.
        names: Normalised names of all distributions.
        folders: Where the metadata of each lies, whose name tells its version.
    """

    plugins: tuple[InstalledPlugin, ...]
    broken: tuple[tuple[str, str, str, str], ...]
    faults: tuple[str, ...]
    names: frozenset[str]
    folders: frozenset[str] = frozenset()


def scan_environment() -> Environment:
    """Read the entry points of every installed distribution. Never raises for what it reads."""
    plugins: list[InstalledPlugin] = []
    broken: list[tuple[str, str, str, str]] = []
    faults: list[str] = []
    distributions = _distributions(faults)
    for name, distribution in distributions.items():
        text, encoding_fault = _read(distribution, "entry_points.txt")
        lines = list(parse_entry_points(text))
        ours = [line for line in lines if line.group == GROUP]
        for line in {line.group: line for line in lines if line.is_misplaced}.values():
            location = _format_location(distribution, "entry_points.txt")
            faults.append(f"{location} has a group {line.group}; plugins are found in the group {GROUP} alone")
        if not ours:
            malformed = [line for line in lines if not line.valid]
            if malformed:
                more = f" (and {len(malformed) - 1} more)" if len(malformed) > 1 else ""
                faults.append(f"{malformed[0].fault(distribution)}{more}")
            elif encoding_fault:
                faults.append(f"{_format_location(distribution, 'entry_points.txt')} {encoding_fault}")
            continue
        label, version, requires, notes = _metadata(distribution, name)
        notes += [f"{_format_location(distribution, 'entry_points.txt')} {encoding_fault}"] * bool(encoding_fault)
        for line in ours:
            if line.valid:
                point = EntryPoint(line.name, line.value, GROUP)
                plugins.append(InstalledPlugin(point, label, version, requires, tuple(notes)))
            else:
                broken.append((line.name or "?", label, version, line.fault(distribution)))
    folders = frozenset(str(getattr(distribution, "_path", "")) for distribution in distributions.values())
    return Environment(tuple(plugins), tuple(broken), tuple(faults[:_MAX_FAULTS]), frozenset(distributions), folders)


def normalize_name(name: str) -> str:
    """A distribution's name as all its spellings have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclasses.dataclass(frozen=True)
class EntryPointLine:
    """A line of a file of entry points."""

    number: int
    group: str
    name: str
    value: str

    @property
    def valid(self) -> bool:
        """Whether it names a module, or an object in one; a plugin's name is also part of lists and of `PLUGIN:TOOL`."""
        named = _NAME.fullmatch(self.name) is not None if self.group == GROUP else bool(self.name)
        return named and _VALUE.fullmatch(self.value) is not None

    @property
    def is_misplaced(self) -> bool:
        """Whether its group is nearly, but not, that of plugins."""
        return self.group != GROUP and re.sub(r"[\W_]", "", self.group).lower() in _OTHER_GROUPS

    def fault(self, distribution: Distribution) -> str:
        """A sentence that says where it stands and what is wrong."""
        line = f"{self.name} = {self.value}" if self.value else self.name
        return (
            f"line {self.number} of {_format_location(distribution, 'entry_points.txt')} is no entry point: {line[:100]!r}; "
            "one is NAME = MODULE or NAME = MODULE:OBJECT"
            + (", and the NAME of a plugin has no blanks, commas, colons or brackets" if self.group == GROUP else "")
        )


def parse_entry_points(text: str) -> Iterator[EntryPointLine]:
    """The lines of a file of entry points, valid or not."""
    group = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip().removeprefix("\ufeff").replace("\0", "").strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and "=" not in line:
            group = line.strip("[] \t")
            continue
        name, _, value = line.partition("=")
        yield EntryPointLine(number, group, name.strip(), value.partition(" #")[0].strip())


def _distributions(faults: list[str]) -> dict[str, Distribution]:
    """The distributions by normalised name, the first on the path of each; of several in one folder, the newest."""
    distributions: dict[str, Distribution] = {}
    for finder in list(sys.meta_path):
        by_entry = isinstance(finder, type) and issubclass(finder, importlib.machinery.PathFinder)
        find = getattr(importlib.machinery.PathFinder if by_entry else finder, "find_distributions", None)
        if find is None:
            continue
        # One entry of the path at a time, so that one that cannot be read does not hide those after it.
        entries: list[str | None] = [*sys.path] if by_entry else [None]
        for entry in entries:
            context = DistributionFinder.Context(path=[entry]) if entry is not None else DistributionFinder.Context()
            here: dict[str, list[Distribution]] = {}
            try:
                for distribution in find(context):
                    if name := _name_of(distribution):
                        here.setdefault(name, []).append(distribution)
            except Exception as error:  # noqa: BLE001 whatever a finder does, the others are asked
                faults.append(f"{entry or type(finder).__name__} cannot be searched: {type(error).__name__}: {error}")
            for name, several in here.items():
                if name in distributions:
                    continue
                distributions[name] = several[0] if len(several) == 1 else max(several, key=_rank)
                if len(several) > 1:
                    used = _format_location(distributions[name], "")
                    faults.append(
                        f"{entry} holds {len(several)} installations of {name}; {used} is used, and the others are left over "
                        "from an upgrade"
                    )
    return distributions


def _name_of(distribution: Distribution) -> str:
    """Its normalised name, without parsing its metadata where its folder tells; nothing for what an installer left behind."""
    path = getattr(distribution, "_path", None)  # of those in folders and archives, which almost all are
    stem = str(getattr(path, "name", ""))
    if stem.startswith("~"):  # pip renames what it removes, and may be interrupted
        return ""
    if folder := _FOLDER.fullmatch(stem):
        return normalize_name(folder["name"])
    return normalize_name(_field(_read(distribution, "METADATA", "PKG-INFO")[0], "name"))


def _rank(distribution: Distribution) -> tuple[bool, Any, str]:
    """The greater, the likelier it is the one that was installed last."""
    from packaging.version import InvalidVersion, Version

    text = _read(distribution, "METADATA", "PKG-INFO")[0]
    version = _field(text, "version") or _folder_version(distribution)
    try:
        return bool(text), Version(version), version
    except InvalidVersion:
        return bool(text), Version("0"), version


def _metadata(distribution: Distribution, name: str) -> tuple[str, str, tuple[str, ...], list[str]]:
    """Name, version and requirements, and what is missing of them, a sentence each."""
    text, fault = _read(distribution, "METADATA", "PKG-INFO")
    notes = [f"{_format_location(distribution, 'METADATA')} {fault}"] if fault else []
    if not text:
        notes.append(
            f"{_format_location(distribution, '')} holds no METADATA: an installation was interrupted; reinstall {name}"
        )
    elif not _field(text, "name"):
        notes.append(f"{_format_location(distribution, 'METADATA')} says no Name; reinstall {name}")
    label = _field(text, "name") or name
    version = _field(text, "version") or _folder_version(distribution) or "0"
    requires = tuple(_fields(text, "requires-dist"))
    if not requires and (egg := _read(distribution, "requires.txt")[0]):
        requires = tuple(line for line in egg.partition("[")[0].splitlines() if line.strip())
    return label, version, requires, notes


def _folder_version(distribution: Distribution) -> str:
    folder = _FOLDER.fullmatch(str(getattr(getattr(distribution, "_path", None), "name", "")))
    return (folder["version"] or "") if folder else ""


def _field(text: str, name: str) -> str:
    return next(_fields(text, name), "")


def _fields(text: str, name: str) -> Iterator[str]:
    """The values of a header, read without a parser of e-mail, which takes longer than everything else here."""
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").partition("\n\n")[0].splitlines():
        key, colon, value = line.partition(":")
        if line[:1].isspace():  # it goes on with the field before, such as a description
            continue
        if colon and key.strip().lower() == name:
            yield value.strip()


def _read(distribution: Distribution, *files: str) -> tuple[str, str]:
    """The text of the first of some files that is there, and what is wrong with it; empty texts for none."""
    for file in files:
        try:
            text = distribution.read_text(file)
        except UnicodeDecodeError as error:
            if error.object[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return error.object.decode("utf-16", "replace")[:_MAX_CHARS], "is not UTF-8, and was read as UTF-16"
            return error.object.decode("latin-1")[:_MAX_CHARS], "is not UTF-8, and was read as Latin-1"
        except Exception as error:  # noqa: BLE001 a folder in a file's place, a loop of links, a broken archive
            return "", f"cannot be read: {type(error).__name__}"
        if text:
            return text[:_MAX_CHARS], ""
        if text is None and (fault := _hidden_fault(distribution, file)):
            return "", fault
    return "", ""


def _hidden_fault(distribution: Distribution, file: str) -> str:
    """Why a file that is there cannot be read, where the standard library takes it for one that is not; else empty."""
    path = getattr(distribution, "_path", None)
    if not isinstance(path, Path):
        return ""
    try:
        (path / file).read_bytes()
    except FileNotFoundError:
        return "leads to no file" if (path / file).is_symlink() else ""
    except NotADirectoryError:
        return ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _format_location(distribution: Distribution, file: str) -> str:
    path = getattr(distribution, "_path", None)
    return str(Path(str(path), file)) if path is not None else f"{file} of {type(distribution).__name__}"
