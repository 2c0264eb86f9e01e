"""Adapters: models that another package makes and runs, by a name that models.toml can say.

A distribution offers one by the entry-point group `medvistagym_models`, as `name = "module:ATTRIBUTE"`. Only the one that is
asked for is imported, and its module imports the package it adapts inside of `load`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from medvistagym_core.tools import closest_match
from medvistagym_models._entry import ModelEntry, Task
from medvistagym_models._models_file import ModelError

GROUP: Final = "medvistagym_models"


class Adapter(Protocol):
    """Makes a model of another package.

    Attributes:
        task: What the model does.
        description: What a policy reads, unless the entry says it.
        modalities: DICOM modalities it is made for, unless the entry says it.
        licence: Of its code and of its weights.
        install: The command that installs what it needs.
        fetch: The commands that fetch its weights, one a line, and the entry that uses them.
        needs_path: Whether the entry must say where weights lie; False where the package holds them.
    """

    task: Task
    description: str
    modalities: tuple[str, ...]
    licence: str
    install: str
    fetch: str
    needs_path: bool

    def labels(self, entry: ModelEntry) -> tuple[str, ...]:
        """What it tells apart, without importing its package; empty for a task without labels."""
        ...

    def weight_files(self, entry: ModelEntry) -> Sequence[Path]:
        """The files that its results depend on, as far as they can be found from here.

        Raises:
            ModelError: The entry's folder is not laid out as its package needs it.
        """
        ...

    def load(self, entry: ModelEntry, device: str) -> Any:
        """The model, ready on a device: what `networks._base` asks of its task.

        Args:
            entry: What models.toml says of the model.
            device: Where it runs, such as "cpu" or "cuda:0".

        Raises:
            ModelError: Its package or its weights are missing.
        """
        ...


def load_adapters() -> dict[str, Adapter | Exception]:
    """Every adapter that is installed by name, sorted; for one that cannot be imported the exception."""
    found: dict[str, Adapter | Exception] = {}
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name):
        try:
            found[point.name] = point.load()
        except Exception as error:  # noqa: BLE001 of a foreign module
            found[point.name] = error
    return found


def adapter_names() -> tuple[str, ...]:
    """The names of the adapters that are installed, sorted."""
    return tuple(sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)}))


def find_adapter(entry: ModelEntry) -> Adapter:
    """The adapter that an entry names.

    Raises:
        ModelError: It is not installed, or cannot be imported.
    """
    found = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == entry.adapter]
    if not found:
        near = closest_match(str(entry.adapter), adapter_names())
        installed = ", ".join(adapter_names()) or "none: pip install medvistagym-specialists"
        hint = f"did you mean {near}?" if near else f"there are {installed}"
        raise ModelError(entry.name, f"there is no adapter {entry.adapter}; {hint}")
    try:
        adapter: Adapter = found[0].load()
    except Exception as error:  # noqa: BLE001 of a foreign module
        raise ModelError(entry.name, f"the adapter {entry.adapter} cannot be imported: {error}") from None
    if adapter.needs_path and entry.path is None:
        raise ModelError(
            entry.name, f"path is missing: say where the weights of {entry.adapter} lie (`medvistagym models list`)"
        )
    return adapter
