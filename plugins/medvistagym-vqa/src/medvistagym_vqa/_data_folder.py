"""Finding a benchmark's files: in a folder that is named, below `MEDVISTAGYM_DATA`, or in the cache of the Hub."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

DATA_VARIABLE: Final = "MEDVISTAGYM_DATA"
"""Environment variable with folders, separated as in PATH, in which benchmarks lie in folders of their own."""
_MAX_FILES: Final = 2_000_000
_TABLES: Final = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".pkl", ".zip", ".arrow")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class DataFolder:
    """A folder in which files are looked for, or a single file.

    Args:
        root: It exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Files that may be tables or archives, at any depth, in order of their paths.

        Raises:
            ValueError: There are too many to look at.
        """
        if self.root.is_file():
            return (self.root,)
        found: list[Path] = []
        seen = 0
        for folder, _, names in os.walk(self.root, followlinks=True):
            seen += len(names)
            if seen > _MAX_FILES:
                raise ValueError(f"{self.root} holds more than {_MAX_FILES:,} files; name a folder with one benchmark")
            found += [Path(folder, name) for name in names if name.lower().endswith(_TABLES)]
        return tuple(sorted(found))

    def named(self, *patterns: str) -> list[Path]:
        """Files whose name matches one of some regular expressions as a whole, without case."""
        return [file for file in self.files if any(re.fullmatch(p, file.name, re.IGNORECASE) for p in patterns)]

    def archives(self) -> list[Path]:
        """Zip archives."""
        return self.named(r".*\.zip")

    def saved_datasets(self) -> list[Path]:
        """Folders that `datasets` saved, the outermost of each."""
        if self.root.is_file():
            return []
        inner = {file.parent for file in self.files if file.suffix == ".arrow"}
        outer = [folder.parent if (folder.parent / "dataset_dict.json").is_file() else folder for folder in inner]
        return sorted(folder for folder in set(outer) if _is_saved(folder))

    @property
    def revision(self) -> str:
        """The commit of the Hub's copy, where its place or its metadata says it."""
        parts = (*self.root.resolve().parts, *(self.files[0].parts if self.files else ()))
        for part, following in itertools.pairwise(parts):
            if part == "snapshots" and _COMMIT.fullmatch(following):
                return following
        folder = self.root if self.root.is_dir() else self.root.parent
        for note in sorted((folder / ".cache" / "huggingface" / "download").rglob("*.metadata")):
            commit = note.read_text("utf-8", errors="replace").partition("\n")[0].strip()
            if _COMMIT.fullmatch(commit):
                return commit
        return ""


def candidate_folders(path: Path | None, keys: Sequence[str]) -> Iterator[DataFolder]:
    """Folders in which a benchmark may lie: the one that is named, or those whose names hold one of its keys.

    Args:
        path: The folder or file that a user named; then there is no other candidate.
        keys: Spellings of the benchmark's name in lower case, without punctuation.

    Raises:
        ValueError: The folder that was named does not exist.
    """
    if path is not None:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or folder")
        yield DataFolder(path)
        return
    for root in data_roots():
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            plain = re.sub(r"[^a-z0-9]", "", folder.name.lower())
            if folder.is_dir() and any(key in plain for key in keys):
                yield from (DataFolder(snapshot) for snapshot in _snapshots(folder))


def data_roots() -> list[Path]:
    """Where benchmarks are looked for unless a folder is named."""
    own = [Path(part) for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part]
    home = os.environ.get("HF_HUB_CACHE")
    cache = Path(home) if home else Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    return [*own, cache]


def first_match(files: Sequence[Path], matches: Callable[[Path], bool]) -> Path | None:
    """The first file of some that is what is looked for."""
    return next((file for file in files if matches(file)), None)


def _snapshots(folder: Path) -> list[Path]:
    """A folder, or in the Hub's cache its newest snapshot."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return [folder]
    return sorted(snapshots.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)[:1]


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
