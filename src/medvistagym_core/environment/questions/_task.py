"""A question table as a task: it deals out its questions, and says how many there are and where they are from."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, ValidationError

from medvistagym_core.environment._capabilities import AuditCheck, Provenance
from medvistagym_core.environment._task import Case
from medvistagym_core.environment.questions._arguments import TableArguments
from medvistagym_core.environment.questions._pictures import PictureFolder
from medvistagym_core.environment.questions._question import Question
from medvistagym_core.environment.questions._table import QuestionTable, open_source, read_table
from medvistagym_core.imaging import Reader
from medvistagym_core.plugins import SelectionError, TaskReference
from medvistagym_core.tools import closest_match

if TYPE_CHECKING:
    import numpy as np

TableLoader = Callable[[Any], QuestionTable]
"""Reads a table for some arguments."""
_MAX_VOCABULARY: Final = 512


def _no_revision(table: QuestionTable) -> str:
    return ""


def _no_warnings(table: QuestionTable, split: str) -> Sequence[str]:
    return ()


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where published questions are from.

    Attributes:
        licence: Licence of the questions and pictures.
        citation: How its authors want it cited, a line.
        homepage: Where it is published.
        revision: Says of some arguments which revision was found; empty where that is not known.
        warnings: What of the table of a split is not as published, a sentence each.
    """

    licence: str = ""
    citation: str = ""
    homepage: str = ""
    revision: Callable[[QuestionTable], str] = _no_revision
    warnings: Callable[[QuestionTable, str], Sequence[str]] = _no_warnings


class QuestionTask:
    """Questions of a table, dealt out in its order, or with a seed other than 0 in an order drawn by it.

    The table is read when the first question is asked for, its pictures when they are shown.

    Args:
        name: Name of the task.
        description: One line about it.
        source: The table's file or folder (`open_source`), or what reads a table for the arguments.
        splits: Its splits, so that they can be listed before the table is read.
        families: Kinds of questions, in the order of reports, likewise.
        tools: The tools it is meant to be solved with; "*" for all that are installed.
        abstention: The answer that says "I cannot tell"; None when there is none.
        arguments: What it may be told, with their defaults.
        origin: Licence and citation.
        readers: What reads pictures that are no raster images; a registry's where the task is made by one.
        reference: How the task can be made again; by its name unless given.
    """

    def __init__(
        self,
        name: str,
        description: str,
        source: str | Path | TableLoader,
        *,
        splits: Sequence[str] | None = None,
        families: Sequence[str] | None = None,
        tools: Sequence[str] = ("*",),
        abstention: str | None = None,
        arguments: BaseModel | None = None,
        origin: Origin | None = None,
        readers: Sequence[Reader] = (),
        reference: TaskReference | None = None,
    ) -> None:
        self.name, self.description = name, description
        self.tools, self.abstention = tuple(tools), abstention
        self.arguments: BaseModel = TableArguments() if arguments is None else arguments
        self.readers = tuple(readers)
        self.reference = reference or TaskReference(reference=name)
        self.origin = origin or Origin()
        self._source = source
        self._splits, self._families = splits, tuple(families or ()) or None
        self._table: QuestionTable | None = None
        self._lock = threading.Lock()
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    # -- what a task is

    @property
    def table(self) -> QuestionTable:
        """The table, read now if it was not.

        Raises:
            ValueError: It cannot be read.
            TypeError: The task is of a file, and its arguments are not `TableArguments`.
        """
        with self._lock:
            if self._table is None:
                self._table = self._load()
            return self._table

    @property
    def splits(self) -> tuple[str, ...]:
        """Its splits: those of the table once it is read."""
        if self._splits is not None and self._table is None:
            return tuple(self._splits)
        return tuple(self.table.splits)

    @property
    def families(self) -> tuple[str, ...]:
        """Kinds of questions: those it was told, or those of the table, which is read for them."""
        if self._families is not None:
            return self._families
        return tuple(dict.fromkeys(q.family for questions in self.table.splits.values() for q in questions))

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """Question `index` of a split, in the table's order for seed 0, else in an order drawn by the seed.

        Args:
            split: One of `splits`.
            index: Position in the split, 0 to `size(split) - 1`.
            seed: 0 for the table's order.

        Raises:
            ValueError: There is no such split or question, or one of its pictures cannot be read.
        """
        question = self.question(split, index, seed)
        return Case(
            id=question.id,
            task=self.name,
            split=split,
            index=index,
            family=question.family,
            question=question.question,
            images=self.table.open_pictures(question, self.readers),
            answer=question.answer,
            options=question.options,
            facets=question.facets,
            reference=self.reference,
            truth=question.tools,
        )

    def question(self, split: str, index: int, seed: int = 0) -> Question:
        """The question of a case, without its pictures.

        Args:
            split: One of `splits`.
            index: Position in the split, 0 to `size(split) - 1`.
            seed: 0 for the table's order, else draws another.

        Raises:
            ValueError: There is no such split or question, or the table cannot be read.
        """
        questions = self._questions(split)
        if not 0 <= index < len(questions):
            raise ValueError(
                f"{self.name} has {len(questions)} questions in {split}, 0 to {len(questions) - 1}; not {index}"
            )
        return questions[index if seed == 0 else int(self._order(split, seed)[index])]

    def vocabulary(self) -> tuple[str, ...]:
        """Answers and options, where they are few."""
        words: dict[str, None] = {}
        for questions in self.table.splits.values():
            for question in questions:
                words |= dict.fromkeys((*question.options, question.answer.value))
                if len(words) > _MAX_VOCABULARY:
                    return ()
        return tuple(words)

    # -- what it can say beyond that

    def size(self, split: str) -> int:
        """How many questions a split has.

        Raises:
            ValueError: There is no such split, or the table cannot be read.
        """
        return len(self._questions(split))

    def needed(self, case: Case) -> str | None:
        """The tool that a case needs, where the table says one; empty for none, None where it says nothing or several."""
        tools = case.truth
        return None if tools is None or len(tools) > 1 else "".join(tools)

    def provenance(self, split: str) -> Provenance:
        """Where the questions of a split are from.

        Raises:
            ValueError: There is no such split, or the table cannot be read.
        """
        table, origin = self.table, self.origin
        questions = self._questions(split)
        notes = list(origin.warnings(table, split))
        if table.problems:
            examples = "; ".join(map(str, table.problems[:3]))
            count = len(table.problems)
            rows = f"{count} rows of {table.label}" if count > 1 else f"a row of {table.label}"
            notes.append(f"{rows} cannot be used and {'are' if count > 1 else 'is'} left out: {examples}")
        return Provenance(
            label=table.label,
            questions=len(questions),
            checksum=table.checksum(split),
            licence=origin.licence,
            citation=origin.citation,
            homepage=origin.homepage,
            revision=origin.revision(table),
            notes=tuple(notes),
        )

    def with_arguments(self, arguments: Mapping[str, Any]) -> Self:
        """The same task with other arguments.

        Raises:
            SelectionError: There is no such argument, or its value cannot be had.
        """
        values = {**self.arguments.model_dump(exclude_unset=True), **arguments}
        model = type(self.arguments)
        try:
            changed = model.model_validate(values)
        except ValidationError as error:
            raise SelectionError(_argument_error(self.name, model, error)) from None
        reference = TaskReference(
            reference=self.reference.reference, arguments=changed.model_dump(mode="json", exclude_defaults=True)
        )
        return self._copy_with(arguments=changed, reference=reference)

    def with_readers(self, readers: Sequence[Reader]) -> Self:
        """The same task, its pictures read by these."""
        return self._copy_with(readers=tuple(readers), _table=self._table)

    def audit(self, n: int = 400) -> tuple[AuditCheck, ...]:
        """What can be told of the table without a policy: rows, pictures, answers that give themselves away.

        Args:
            n: Questions of each split whose pictures are decoded.
        """
        from medvistagym_core.environment.questions._audit import audit_table

        return tuple(audit_table(self, n))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_table": None, "_lock": None, "_orders": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _questions(self, split: str) -> Sequence[Question]:
        questions = self.table.splits.get(split)
        if questions is None:
            raise ValueError(f"{self.name} has no split {split!r}; it has {', '.join(self.table.splits)}")
        return questions

    def _order(self, split: str, seed: int) -> np.ndarray:
        import numpy as np

        key = split, seed
        if key not in self._orders:
            rng = np.random.default_rng([zlib.crc32(f"{self.name} {split}".encode()), seed])
            self._orders[key] = rng.permutation(len(self._questions(split)))
        return self._orders[key]

    def _load(self) -> QuestionTable:
        if callable(self._source):
            return self._source(self.arguments)
        if not isinstance(self.arguments, TableArguments):
            raise TypeError(f"{self.name}: a task of a file takes TableArguments, not {type(self.arguments).__name__}")
        return load_question_table(self._source, self.arguments)

    def _copy_with(self, **changes: Any) -> Self:
        other = copy.copy(self)  # by `__getstate__`: without table and orders, and with a lock of its own
        for name, value in changes.items():
            setattr(other, name, value)
        if isinstance(other.arguments, TableArguments):
            if other.arguments.tools is not None:
                other.tools = tuple(part.strip() for part in other.arguments.tools.split(","))
            other.abstention = other.arguments.abstention or other.abstention
        return other


def load_question_table(path: str | Path, arguments: TableArguments | None = None) -> QuestionTable:
    """Read a table as its arguments say.

    Args:
        path: The table's file or folder.
        arguments: How it is read; `TableArguments()` when None.

    Raises:
        ValueError: It cannot be read, or no row of it can be used.
    """
    arguments = arguments or TableArguments()
    source, folder = open_source(path, arguments.config)
    root = arguments.pictures or folder
    if root is not None and not root.exists():
        raise ValueError(f"{root}: there is no such picture folder")
    table = read_table(
        source,
        columns=arguments.columns,
        pictures=None if root is None else PictureFolder([root]),
        split=arguments.split or "test",
        facets=arguments.facets,
        strict=arguments.strict,
    )
    return table if arguments.test_share is None else _dealt_anew(table, arguments.test_share)


def _dealt_anew(table: QuestionTable, test_share: float) -> QuestionTable:
    """The questions in two new splits; all questions about one picture are in the same one."""
    splits: dict[str, list[Question]] = {"train": [], "test": []}
    for questions in table.splits.values():
        for question in questions:
            key = table.picture_key(question.pictures[0]) if question.pictures else question.id
            draw = int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:6], "big") / 2**48
            name = "test" if draw < test_share else "train"
            splits[name].append(dataclasses.replace(question, split=name))
    empty = [name for name, questions in splits.items() if not questions]
    if empty:
        raise ValueError(f"{table.label} has too few pictures for test_share={test_share:g}: {empty[0]} would be empty")
    return dataclasses.replace(table, splits=splits)


def _argument_error(name: str, model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    location = ".".join(str(part) for part in first["loc"])
    names = list(model.model_fields)
    if first["type"] == "extra_forbidden":
        suggestion = closest_match(location, names)
        hint = f"did you mean {suggestion}?" if suggestion else f"its arguments are {', '.join(names) or 'none'}"
        return f"the task {name} has no argument {location!r}; {hint}"
    message = first["msg"][0].lower() + first["msg"][1:]
    given = "" if first["type"] == "missing" else f", not {str(first['input'])[:60]!r}"
    return f"the task {name}: {location}: {message}{given}"
