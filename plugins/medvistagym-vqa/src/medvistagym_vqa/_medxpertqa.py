"""MedXpertQA MM (Zuo et al. 2025): expert questions with five options, a patient's story and several pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import QuestionTable, open_source, read_table, read_text, split_of_name
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, every
from medvistagym_vqa._data_folder import DataFolder
from medvistagym_vqa._tables import joined_source, picture_folder, read_columns

_OPTIONS: Final = re.compile(r"\s*\n?\s*Answer Choices:\s*\(A\).*\Z", re.DOTALL)
_SIZES: Final = {"dev": 5, "test": 2_000}


def read_json_lines(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """MM/dev.jsonl and MM/test.jsonl, with images.zip or a folder of pictures; those of Text have no pictures."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for file in folder.named(r"(dev|test)\.jsonl"):
        source, _ = open_source(file)
        if {"question", "options", "label", "images"} <= set(source.columns):
            rows.setdefault(split_of_name(file.name) or "test", [row.values for row in source.rows()])
    if not rows:
        return None
    pictures = picture_folder(folder, arguments, folder.root)
    source = joined_source("MM", rows)
    return read_table(source, transform=_transform, pictures=pictures, strict=arguments.strict)


def read_copy(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """A copy in parquet, or saved by `datasets`, with the same columns and the pictures inside."""
    return read_columns(folder, arguments, {"question", "options", "label", "images"}, _transform)


def _transform(row: Mapping[str, Any]) -> Mapping[str, Any]:
    options = row["options"]
    if isinstance(options, list):  # as `datasets` writes a dict whose keys differ: a list of letters and contents
        options = {read_text(one.get("letter")): one.get("content") for one in options if isinstance(one, dict)}
    texts = {letter: read_text(text) for letter, text in sorted(dict(options).items()) if read_text(text)}
    return {
        "id": read_text(row.get("id")),
        "images": row["images"],
        "question": _OPTIONS.sub("", str(row["question"])),
        "options": list(texts.values()),
        "answer": texts.get(read_text(row["label"]).upper(), ""),
        "family": read_text(row.get("question_type")),
        "category": read_text(row.get("medical_task")),
        "body_part": read_text(row.get("body_system")),
        "split": row.get("split"),
    }


def _counts(table: QuestionTable, split: str) -> Sequence[Count]:
    return (Count("questions", _SIZES[split], every),) if split in _SIZES else ()


MEDXPERTQA_MM: Final[QuestionTask] = Benchmark(
    name="medxpertqa_mm",
    title="MedXpertQA MM",
    description="MedXpertQA MM: expert questions with five options, a patient's story and several pictures.",
    splits=("dev", "test"),
    families=("Reasoning", "Understanding"),
    licence="MIT",
    citation="Zuo et al., MedXpertQA: Benchmarking Expert-Level Medical Reasoning and Understanding, ICML 2025",
    homepage="https://medxpertqa.github.io",
    download="get it by: hf download TsinghuaC3I/MedXpertQA --repo-type dataset",
    keys=("medxpertqa",),
    formats=(read_json_lines, read_copy),
    counts=_counts,
).task()
