"""MMMU Health & Medicine (Yue et al. 2024): college questions with several pictures, some of which are the options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import EmbeddedPicture, QuestionTable, read_list, read_text
from medvistagym_core.tools import parse_document
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, every
from medvistagym_vqa._data_folder import DataFolder
from medvistagym_vqa._tables import RowTransform, read_columns

SUBJECTS: Final = (
    "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy", "Public_Health",
)  # fmt: skip
_ID: Final = re.compile(r"(dev|validation|test)_(.+)_(\d+)")
_PICTURES: Final = tuple(f"image_{number}" for number in range(1, 8))
_MARK: Final = re.compile(r"<\s*image\s*(\d)\s*>")
_SIZES: Final = {"dev": 25, "validation": 150, "test": 1_752}
_TEST_SIZES: Final = dict(zip(SUBJECTS, (326, 325, 162, 430, 509), strict=True))


class MmmuArguments(BenchmarkArguments):
    """Arguments of MMMU."""

    answers: Path | None = Field(
        default=None,
        description="JSON file with the answers of the test split by question id; they are not public, harnesses carry a copy.",
    )


def read_hub(folder: DataFolder, arguments: MmmuArguments) -> QuestionTable | None:
    """The Hub's copy: a folder with parquet files, or one that `datasets` saved, for each subject."""
    answers = {} if arguments.answers is None else _answers(arguments.answers)
    columns = {"id", "question", "options", "image_1", "answer", "question_type"}
    return read_columns(folder, arguments, columns, _transform(answers))


def _answers(file: Path) -> dict[str, Any]:
    try:
        found = parse_document(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: the answers cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file}: answers are an object by question id, not a {type(found).__name__}")
    return {
        name: value.get("ground_truth", value.get("answer")) if isinstance(value, dict) else value
        for name, value in found.items()
    }


def _transform(answers: Mapping[str, Any]) -> RowTransform:
    def transform(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        match = _ID.fullmatch(read_text(row["id"]))
        if match is None or match[2] not in SUBJECTS:
            return None  # another subject of MMMU
        answer = row["answer"]
        if read_text(answer) in ("", "?"):
            if row["id"] not in answers:
                return None  # a test question without its answer; said once for all of them
            answer = answers[row["id"]]
        columns = [name for name in _PICTURES if row.get(name) is not None]
        handles = {int(name[-1]): handle for handle, name in enumerate(columns)}
        options = [_name_handles(option, handles) for option in read_list(row["options"])]
        pictures = [_picture(row[name], name) for name in columns]
        base = {
            "id": row["id"],
            "images": pictures,
            "question": _name_handles(str(row["question"]), handles),
            "split": match[1],
            "family": match[2].replace("_", " "),
            "modality": ", ".join(read_list(row.get("img_type"))),
            "category": read_text(row.get("subfield")),
        }
        if read_text(row["question_type"]) == "multiple-choice":
            return {**base, "options": options, "answer": read_text(answer)}
        values = answer if isinstance(answer, list) else read_list(answer) if str(answer).startswith("[") else [answer]
        return {**base, "answer": [read_text(value) for value in values], "answer_type": "open"}

    return transform


def _name_handles(text: str, handles: Mapping[int, int]) -> str:
    """A text whose picture marks name handles: "<image 3>" becomes "image 1" where image 2 is missing."""
    return _MARK.sub(lambda mark: f"image {handles.get(int(mark[1]), int(mark[1]) - 1)}", text)


def _picture(value: Any, column: str) -> Any:
    return value if isinstance(value, EmbeddedPicture) else {"path": value} if isinstance(value, str) else value


def _counts(table: QuestionTable, split: str) -> Sequence[Count]:
    subjects = {question.family.replace(" ", "_") for question in table.splits[split]}
    if split not in _SIZES:
        return ()
    if split == "test":
        return (Count("questions", sum(_TEST_SIZES[subject] for subject in subjects), every),)
    return (Count("questions", _SIZES[split] // len(SUBJECTS) * len(subjects), every),)


def _notes(table: QuestionTable, split: str) -> Sequence[str]:
    subjects = {question.family.replace(" ", "_") for question in table.splits[split]}
    missing = [subject for subject in SUBJECTS if subject not in subjects]
    notes = [f"MMMU Health & Medicine {split}: {', '.join(missing)} were not found"] if missing else []
    if split == "test":
        notes.append(
            "MMMU's test answers are not public; those of the file that was named are taken, whose origin is not known here."
        )
    return notes


MMMU_HEALTH: Final[QuestionTask] = Benchmark(
    name="mmmu_health",
    title="MMMU Health & Medicine",
    description="MMMU Health & Medicine: five college subjects, several pictures a question; test needs answers=FILE.",
    splits=("dev", "validation", "test"),
    families=tuple(subject.replace("_", " ") for subject in SUBJECTS),
    licence="Apache-2.0",
    citation="Yue et al., MMMU: A Massive Multi-discipline Multimodal Understanding and Reasoning Benchmark, CVPR 2024",
    homepage="https://mmmu-benchmark.github.io",
    download="get it by: hf download MMMU/MMMU --repo-type dataset",
    keys=("mmmu",),
    formats=(read_hub,),
    counts=_counts,
    notes=_notes,
    arguments=MmmuArguments(),
).task()
