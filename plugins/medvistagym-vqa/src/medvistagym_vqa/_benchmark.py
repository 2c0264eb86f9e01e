"""What every benchmark is: where it is from, how many questions it has, and the formats in which users have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from medvistagym_core.environment import MissingDataError, QuestionTask
from medvistagym_core.environment.questions import Origin, Question, QuestionTable
from medvistagym_vqa._data_folder import DATA_VARIABLE, DataFolder, candidate_folders


class BenchmarkArguments(BaseModel):
    """Arguments of every benchmark."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    path: Path | None = Field(
        default=None,
        description=(
            f"Folder or file of the benchmark; unless given, folders of its name in ${DATA_VARIABLE} and in the Hub's cache."
        ),
    )
    pictures: Path | None = Field(
        default=None, description="Folder or zip archive of its pictures, where they do not lie beside its tables."
    )
    strict: bool = Field(default=False, description="Whether a row that cannot be used is refused, not left out.")


@dataclasses.dataclass(frozen=True)
class Count:
    """How many questions of a kind a split has.

    Attributes:
        label: What they are.
        count: How many the published split has.
        matches: Whether a question is one of them.
    """

    label: str
    count: int
    matches: Callable[[Question], bool]


Format = Callable[[DataFolder, Any], QuestionTable | None]
"""Reads a folder that is in one published format; None for a folder that is not."""
Counts = Callable[[QuestionTable, str], Sequence[Count]]
"""The published counts of a split, as far as they can be told from the table; the first one is of all questions."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: Name of the task.
        title: Its name as its authors write it.
        description: One line.
        splits: Its splits.
        families: Its kinds of questions.
        licence: Of questions and pictures.
        citation: As its authors want it.
        homepage: Where it is published.
        download: How to get it, a command or a place.
        keys: Spellings of its name, in lower case and without punctuation, in names of folders.
        formats: The formats in which it is read, tried in this order.
        counts: The published counts of a split.
        notes: What of a table must be known beside its scores, a sentence each.
        arguments: What it may be told.
    """

    name: str
    title: str
    description: str
    splits: tuple[str, ...]
    families: tuple[str, ...]
    licence: str
    citation: str
    homepage: str
    download: str
    keys: tuple[str, ...]
    formats: tuple[Format, ...]
    counts: Counts
    notes: Callable[[QuestionTable, str], Sequence[str]] = lambda table, split: ()
    arguments: BenchmarkArguments = dataclasses.field(default_factory=BenchmarkArguments)

    def task(self) -> QuestionTask:
        """The benchmark as a task."""
        origin = Origin(self.licence, self.citation, self.homepage, revision_of, self.warnings)
        return QuestionTask(
            self.name, self.description, self.load, splits=self.splits, families=self.families, arguments=self.arguments,
            origin=origin,
        )  # fmt: skip

    def load(self, arguments: BenchmarkArguments) -> QuestionTable:
        """Find the files, and read them in the first format that they are in.

        Raises:
            MissingDataError: They are not there.
            ValueError: They are in no known format, or broken; a sentence says which.
        """
        looked: list[Path] = []
        for folder in candidate_folders(arguments.path, self.keys):
            looked.append(folder.root)
            for read in self.formats:
                table = read(folder, arguments)
                if table is not None:
                    return dataclasses.replace(table, folder=folder.root)
        if looked:
            names = ", ".join(str(folder) for folder in looked)
            raise ValueError(
                f"{self.title} was looked for in {names} and is not there in any form that is known ({self.download})"
            )
        raise MissingDataError(
            f"{self.title} is not on this machine: name its folder with --task-arg path=FOLDER, or put it into a folder of its "
            f"name in ${DATA_VARIABLE}; {self.download}"
        )

    def warnings(self, table: QuestionTable, split: str) -> Sequence[str]:
        """What of a split is not as published, and what must be known of it."""
        return [
            *compare_counts(self.title, split, self.counts(table, split), table.splits[split]),
            *self.notes(table, split),
        ]


def compare_counts(title: str, split: str, expected: Sequence[Count], questions: Sequence[Question]) -> list[str]:
    """One sentence when the counts of a split are not the published ones; none when they are, or are not known."""
    found = [sum(map(count.matches, questions)) for count in expected]
    if found == [count.count for count in expected]:
        return []
    published = _counts(expected, [count.count for count in expected])
    return [f"{title} {split} has {published}; found {_counts(expected, found, short=True)}"]


def every(question: Question) -> bool:
    """Counts all questions."""
    return True


def is_closed(question: Question) -> bool:
    """Counts questions that the benchmark calls closed."""
    return question.facets.get("answer_type") == "closed"


def is_yes_no(question: Question) -> bool:
    """Counts questions whose answer is yes or no."""
    return question.answer.value.strip().lower() in ("yes", "no")


def revision_of(table: QuestionTable) -> str:
    """The Hub's commit of a table, where its place says it."""
    commit = "" if table.folder is None else DataFolder(table.folder).revision
    return f"revision {commit[:12]}" if commit else ""


def answer_of_type(answer: str, answer_type: str) -> Mapping[str, str]:
    """Kind and answer type of an answer, by what the benchmark calls its question, open or closed."""
    closed = answer_type.strip().lower().startswith("close")
    yes_no = answer.strip().lower() in ("yes", "no")
    kind = ("yes_no" if yes_no else "exact") if closed else "text"
    return {"kind": kind, "answer_type": "closed" if closed else "open", "family": "closed" if closed else "open"}


def _counts(expected: Sequence[Count], counts: Sequence[int], *, short: bool = False) -> str:
    total, *parts = (
        f"{count:,}{'' if short and k == 0 else f' {one.label}'}"
        for k, (one, count) in enumerate(zip(expected, counts, strict=True))
    )
    return f"{total}: {', '.join(parts)}" if parts else total
