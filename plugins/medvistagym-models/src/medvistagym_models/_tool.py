"""Making the tool of an entry: its name, schema, sentence and lock follow from what models.toml says."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from medvistagym_core.tools import Tool, ToolDefinitionError, tool
from medvistagym_models._entry import LABELLED_TASKS, ModelEntry
from medvistagym_models._model_files import (
    check_transformers_folder,
    model_kind,
    stated_labels,
    transformers_labels,
    weight_files,
)
from medvistagym_models._models_file import ModelError, default_models_file, read_models
from medvistagym_models.networks import LOADED, bundle_labels, find_adapter, load_model
from medvistagym_models.tasks import TASK_KINDS

PLUGIN: Final = "models"
_CAUTION: Final = "What it says is a model's opinion, with a probability, and may be wrong."


class _ModelTool:
    """What the tool of every model does; a class of its own for each holds the entry."""

    entry: ClassVar[ModelEntry]
    size_bytes: ClassVar[int]

    def setup(self, device: str) -> None:
        self._device = device
        with self._model():
            pass

    def results(self, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
        """What each call returns, or the exception that says why it has nothing."""
        with self._model() as model:
            return TASK_KINDS[self.entry.require_task()].results(self.entry, model, calls)

    def _model(self) -> Any:
        key: Hashable = (self.entry.path, self.entry.settings_hash, self._device)
        return LOADED.use(key, self._device, self.size_bytes, lambda: load_model(self.entry, self._device))


def load_tools(file: str | Path | None = None) -> Iterator[Tool | ModelError]:
    """The tools of models.toml in its order; for an entry that cannot be used the error that says why.

    Args:
        file: The file; that of the environment or the configuration folder when None, and no tools if there is none.

    Raises:
        ValueError: The file cannot be read.
    """
    file = default_models_file() if file is None else file
    for entry in () if file is None else read_models(file):
        if isinstance(entry, ModelError):
            yield entry
            continue
        try:
            yield make_tool(entry)
        except ModelError as error:
            yield error


def make_tool(entry: ModelEntry) -> Tool:
    """The tool of an entry. Nothing is loaded; what can be told from the model's files is checked.

    Raises:
        ModelError: It cannot be used; the sentence says why.
    """
    entry, labels, files = complete_entry(entry)
    kind = TASK_KINDS[entry.require_task()]
    names = {
        "entry": entry,
        "size_bytes": sum(Path(file).stat().st_size for file in files),
        "run": _run_method(kind.parameters(entry, labels), kind.returns),
        "__doc__": describe(entry, labels),
        "__module__": __name__,
        "__qualname__": entry.name,
    }
    try:
        built: Tool = tool(
            name=entry.name,
            timeout_s=entry.timeout_s,
            modalities=entry.modalities,
            ragged=True,
            python=entry.python,
            weights=files,
        )(type(entry.name, (_ModelTool,), names))
    except ToolDefinitionError as error:
        raise ModelError(entry.name, str(error)) from None
    built.batch(_ModelTool.results)
    version = f"{_version()}+{entry.settings_hash}"
    return built.made_by(make_tool, entry).with_metadata(plugin=PLUGIN, version=version)


def complete_entry(entry: ModelEntry) -> tuple[ModelEntry, tuple[str, ...], tuple[str, ...]]:
    """The entry with what its adapter says, its labels, and the files that its results depend on.

    Raises:
        ModelError: It cannot be used; the sentence says why.
    """
    if entry.adapter is not None:
        adapter = find_adapter(entry)
        if entry.task not in (None, adapter.task):
            raise ModelError(entry.name, f"the adapter {entry.adapter} does {adapter.task}, not {entry.task}")
        entry = entry.model_copy(
            update={
                "task": adapter.task,
                "description": entry.description or adapter.description,
                "modalities": entry.modalities or adapter.modalities,
                "licence": entry.licence or adapter.licence,
            }
        )
        return entry, adapter.labels(entry), tuple(map(str, adapter.weight_files(entry)))
    assert entry.path is not None
    return entry, _labels(entry), weight_files(entry.path)


def describe(entry: ModelEntry, labels: Sequence[str]) -> str:
    """What a policy reads of a tool: the entry's description, the labels, and that it may be wrong."""
    description = " ".join(entry.description.split())
    description += "" if description.endswith((".", "!", "?")) else "."
    looked_for = f" It tells apart: {', '.join(labels)}." if labels else ""
    return f"{description}{looked_for} {_CAUTION}"


def _labels(entry: ModelEntry) -> tuple[str, ...]:
    kind = model_kind(entry)
    if kind == "transformers":
        config = check_transformers_folder(entry)
        return tuple(transformers_labels(entry, config).values()) if entry.task in LABELLED_TASKS else ()
    if kind == "monai-bundle":
        return bundle_labels(entry)
    return tuple(stated_labels(entry).values())


def _run_method(parameters: Sequence[inspect.Parameter], returns: Any) -> Any:
    """The method `run` of a tool's class, with the arguments of its task."""

    def run(self: _ModelTool, **arguments: Any) -> Any:
        (result,) = self.results([arguments])
        if isinstance(result, Exception):
            raise result
        return result

    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([itself, *parameters], return_annotation=returns)  # type: ignore[attr-defined]
    run.__doc__ = None
    return run


@functools.cache
def _version() -> str:
    from importlib.metadata import version

    return version("medvistagym-models")
