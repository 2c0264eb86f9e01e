"""Options that name a task, an installed one or a question table, and give it arguments."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError

if TYPE_CHECKING:
    from medvistagym_core.environment import Provenance, Task
    from medvistagym_core.plugins import Registry

__all__ = ["add_task_options", "case_range", "choose_split", "find_tasks", "print_provenance", "task_arguments"]


def add_task_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the options that name a task and tell it things."""
    names = "NAME[,NAME...]" if several else "NAME"
    parser.add_argument("--task", metavar=names, help="the task, by its name" + (", or several" if several else ""))
    add_table_options(parser)


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a question table, and tell a task things."""
    parser.add_argument(
        "--task-file",
        metavar="FILE",
        help="a question table as the task: .jsonl, .csv, .tsv, .parquet, a folder, or a data set on the Hub",
    )
    parser.add_argument(
        "--task-arg",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an argument of the task, such as path=FOLDER (`tasks show` lists them); TASK.NAME=VALUE tells one of several "
        "tasks alone; may be given again",
    )
    parser.add_argument(
        "--column",
        metavar="PART=COLUMN",
        action="append",
        default=[],
        help="which column of the table is the question, answer, images, options, ...; may be given again",
    )
    parser.add_argument("--strict", action="store_true", help="refuse a table with rows that cannot be used")


def task_arguments(
    options: argparse.Namespace, reference: str | None = None, references: Sequence[str] = ()
) -> dict[str, Any]:
    """The arguments that `--task-arg`, `--column` and `--strict` give.

    Args:
        options: With those of `add_task_options`.
        reference: The task that is told them.
        references: All tasks that were named: an argument that begins with the name of one is for it alone.

    Raises:
        UsageError: One is not NAME=VALUE.
    """
    arguments: dict[str, Any] = {}
    for text in options.task_arg:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--task-arg takes NAME=VALUE such as path=data/slake, not {text!r}")
        for each in references:
            if name.startswith(f"{each}."):
                name = name.removeprefix(f"{each}.") if each == reference else ""
                break
        if name:
            _set(arguments, name, _parse_value(value))
    for text in options.column:
        part, equals, column = text.partition("=")
        if not equals or not part or not column:
            raise UsageError(f"--column takes PART=COLUMN such as question=prompt, not {text!r}")
        _set(arguments, f"columns.{part}", column)
    if options.strict:
        arguments["strict"] = True
    return arguments


def find_tasks(options: argparse.Namespace, registry: Registry, *, name: str | None = None) -> list[Task]:
    """The tasks that were named.

    Args:
        options: With those of `add_task_options`.
        registry: What is installed.
        name: A task or table named without an option, in place of `--task`.

    Raises:
        UsageError: None was, or both kinds were.
        SelectionError: There is none of a name.
    """
    from medvistagym_core.environment import looks_like_table, make_task

    named = name if name is not None else getattr(options, "task", None)
    if (named is None) == (options.task_file is None):
        given = "one of them, not both" if named is not None else "one of them"
        raise UsageError(f"name a task with --task NAME, or a question table with --task-file FILE: {given}")
    references = [options.task_file] if named is None else [part.strip() for part in named.split(",") if part.strip()]
    if options.task_file in registry.tasks or (named is None and not looks_like_table(options.task_file)):
        references = [f"./{options.task_file}"]
    if not references:
        raise UsageError("--task names no task")
    if len(set(references)) < len(references):
        raise UsageError(f"--task names a task twice: {named}")
    try:
        return [make_task(registry, each, task_arguments(options, each, references)) for each in references]
    except ValueError as error:
        raise UsageError(str(error)) from error


def choose_split(task: Task, wanted: str | None, default: str) -> str:
    """The split that was asked for; unless one was, `default`, or the task's only one.

    Raises:
        UsageError: The task has no such split.
    """
    splits = _splits(task)
    if wanted is None:
        if default in splits:
            return default
        if len(splits) == 1:
            return splits[0]
    elif wanted in splits:
        return wanted
    problem = f"has no split {wanted!r}" if wanted is not None else f"has no split {default!r}, and more than one other"
    raise UsageError(f"{task.name} {problem}; its splits are {', '.join(splits)}" + ("" if wanted else " (--split)"))


def case_range(task: Task, split: str, cases: int | None, default: int | None, first: int = 0) -> range:
    """Positions of the cases to play: as many as were asked for, and no more than there are.

    Args:
        task: The task.
        split: The split.
        cases: How many were asked for; None for `default`.
        default: How many unless asked; None for all, or 512 of a task without an end.
        first: Position of the first.

    Raises:
        UsageError: A number is out of range.
    """
    from medvistagym_core.environment import count_cases

    if cases is not None and cases < 1:
        raise UsageError(f"--cases must be at least 1, not {cases}")
    if first < 0:
        raise UsageError(f"--first must be at least 0, not {first}")
    size = count_cases(task, split)
    if size is None:
        return range(first, first + (cases or default or 512))
    if first >= size:
        raise UsageError(f"--first {first}: {task.name} has {size} cases in {split}, 0 to {size - 1}")
    wanted = cases if cases is not None else default if default is not None else size
    end = min(first + wanted, size)
    if cases is not None and first + cases > size:
        print_stderr(f"medvistagym: {task.name} has {size} cases in {split}; all from {first} on are played")
    return range(first, end)


def print_provenance(task: Task, split: str) -> Provenance | None:
    """Say on stderr where the cases are from, and what of them is not as published, before any work."""
    from medvistagym_core.environment import HasProvenance

    if not isinstance(task, HasProvenance):
        return None
    found = task.provenance(split)
    facts = [f"{found.questions} question{'s' * (found.questions != 1)}", f"sha256 {found.checksum[:12]}"]
    facts += [fact for fact in (found.revision, found.licence) if fact]
    print_stderr(f"{task.name} {split}: {', '.join(facts)}; {found.label}")
    if found.citation:
        print_stderr(f"cite: {found.citation}")
    for note in found.notes:
        print_stderr(f"medvistagym: {task.name}: {note}")
    return found


def _splits(task: Task) -> Sequence[str]:
    """The splits; a table is read for them."""
    from medvistagym_core.environment import QuestionTask

    try:
        return tuple(task.table.splits) if isinstance(task, QuestionTask) else task.splits
    except ValueError as error:
        raise UsageError(str(error)) from error


def _set(arguments: dict[str, Any], name: str, value: Any) -> None:
    parts = name.split(".")
    for part in parts[:-1]:
        arguments = arguments.setdefault(part, {})
        if not isinstance(arguments, dict):
            raise UsageError(f"--task-arg {name}: {part} has a value already")
    arguments[parts[-1]] = value


def _parse_value(text: str) -> Any:
    """A list or dict written as JSON; anything else is text, which the argument's model reads."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"--task-arg: {text!r} is no JSON ({error})") from error
    return text
