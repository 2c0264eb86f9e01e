"""What a specialist is made of."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medvistagym_models import ModelEntry, ModelError, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Specialist:
    """See `medvistagym_models.Adapter`.

    Attributes:
        task: What the model does.
        description: What a policy reads, unless the entry says it.
        modalities: DICOM modalities it is made for.
        licence: Of its code and of its weights.
        install: The command that installs what it needs.
        fetch: The commands that fetch its weights, and its entry.
        read_labels: What it tells apart, by its entry.
        find_weights: The files that its results depend on, by its entry.
        make: The model, by its entry and device.
        needs_path: Whether the entry must say where weights lie.
    """

    task: Task
    description: str
    modalities: tuple[str, ...]
    licence: str
    install: str
    fetch: str
    read_labels: Callable[[ModelEntry], tuple[str, ...]]
    find_weights: Callable[[ModelEntry], Sequence[Path]]
    make: Callable[[ModelEntry, str], Any]
    needs_path: bool = True

    def labels(self, entry: ModelEntry) -> tuple[str, ...]:
        """What it tells apart: of that, what the entry's `labels` name."""
        own = self.read_labels(entry)
        if entry.labels is None:
            return own
        if strange := [label for label in entry.labels.values() if label not in own]:
            raise ModelError(entry.name, f"labels names {strange[0]}, which {entry.adapter} does not tell apart")
        return tuple(label for label in own if label in entry.labels.values())

    def weight_files(self, entry: ModelEntry) -> Sequence[Path]:
        """The files that its results depend on."""
        return self.find_weights(entry)

    def load(self, entry: ModelEntry, device: str) -> Any:
        """The model, ready on a device."""
        try:
            return self.make(entry, device)
        except ModuleNotFoundError as error:
            raise ModelError(
                entry.name,
                f"{entry.adapter} needs {error.name}, which is not installed here: {self.install.splitlines()[-1]}, "
                'and name its interpreter in the entry, python = "envs/.../bin/python", if that is elsewhere',
            ) from None


def required_file(entry: ModelEntry, *names: str) -> Path:
    """A file of an entry: its path itself, or the first of these names in the folder.

    Raises:
        ModelError: It is not there.
    """
    assert entry.path is not None
    if entry.path.is_file():
        return entry.path
    found = next((entry.path / name for name in names if (entry.path / name).is_file()), None)
    if found is None:
        inside = ", ".join(sorted(file.name for file in entry.path.iterdir())[:4]) or "nothing"
        raise ModelError(entry.name, f"{entry.path.name} has no {' nor '.join(names)}, but {inside}")
    return found


def files_of_package(entry: ModelEntry, package: str, patterns: Sequence[str]) -> list[Path]:
    """The files of an installed package, in the entry's environment or in this one; none where it cannot be seen from here."""
    folders: list[Path] = []
    if entry.python is not None:
        folders = list(Path(entry.python).parent.parent.glob("lib/python*/site-packages"))
    else:
        try:
            folders = [Path(str(importlib.metadata.distribution(package).locate_file("")))]
        except importlib.metadata.PackageNotFoundError:
            folders = []
    return sorted(file for folder in folders for pattern in patterns for file in folder.glob(pattern))
