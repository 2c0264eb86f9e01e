"""From a reference to a task: the name of an installed one, or a question table's file, folder or Hub name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvistagym_core.environment._capabilities import HasArguments
from medvistagym_core.environment._task import Task
from medvistagym_core.environment.questions._task import QuestionTask
from medvistagym_core.plugins import Registry, SelectionError, TaskReference


def make_task(
    registry: Registry, reference: str | Path | TaskReference, arguments: Mapping[str, Any] | None = None
) -> Task:
    """The task that a reference names, with some arguments.

    Args:
        registry: What is installed; its readers read the pictures of tables.
        reference: The name of an installed task ("vqa_rad"), or a question table: a file ("questions.jsonl"), a folder, or
            the name of a data set on the Hub ("owner/name"). A name that is installed goes before a file of that name; "./name"
            is always a file.
        arguments: Values by the names of the task's arguments.

    Raises:
        SelectionError: There is no such task, or it does not take an argument.
        ValueError: A table cannot be read; it is read later, when the first question is asked for.
    """
    if isinstance(reference, TaskReference):
        arguments = {**reference.arguments, **(arguments or {})}
        reference = reference.reference
    text = str(reference)
    if text in registry.tasks or not looks_like_table(text):
        task = registry.task(text)
        if isinstance(task, QuestionTask) and not task.readers:
            task = task.with_readers(registry.readers)
        if not arguments:
            return task
        if not isinstance(task, HasArguments):
            raise SelectionError(f"the task {text} takes no arguments, and {', '.join(arguments)} was given")
        return task.with_arguments(arguments)
    name = Path(text).name.partition(".")[0] or Path(text).resolve().name
    table = QuestionTask(
        name,
        f"Questions of {Path(text).name}.",
        text,
        readers=registry.readers,
        reference=TaskReference(reference=text),
    )
    return table.with_arguments(arguments) if arguments else table


def looks_like_table(text: str) -> bool:
    """Whether a reference is that of a table, if no task of its name is installed."""
    return "/" in text or "\\" in text or Path(text).suffix.lower() in _SUFFIXES or Path(text).is_dir()


_SUFFIXES = frozenset((".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet"))
