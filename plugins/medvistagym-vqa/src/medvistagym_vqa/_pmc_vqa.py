"""PMC-VQA (Zhang et al. 2023): questions with four options about figures of PubMed Central, written by a language model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import (
    QuestionTable,
    find_option,
    open_source,
    read_table,
    read_text,
    strip_letters,
)
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, every
from medvistagym_vqa._data_folder import DataFolder, first_match
from medvistagym_vqa._tables import SplitTables, picture_folder, read_columns

_LETTERS: Final = "ABCD"
_V1: Final = {"train": r"train\.csv", "test": r"test_clean\.csv", "test_full": r"test\.csv"}
_V2: Final = {"train": r"train_?2\.csv", "test": r"test_?2\.csv"}
_SIZES: Final = {("pmc_vqa", "test"): 2_000, ("pmc_vqa_v2", "test"): 33_430}


def read_v1(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """train.csv, test.csv, test_clean.csv and images.zip, or a folder of pictures."""
    return _read(folder, arguments, _V1)


def read_v2(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """train_2.csv, test_2.csv and images_2.zip, or a folder of pictures."""
    return _read(folder, arguments, _V2)


def read_input_label(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """AdaptLLM/biomed-VQA-benchmark: image, input, label and the options A to D."""
    return read_columns(folder, arguments, {"image", "input", "label", "A", "B"}, _input_label)


def _read(folder: DataFolder, arguments: BenchmarkArguments, names: Mapping[str, str]) -> QuestionTable | None:
    files = {split: found for split, name in names.items() if (found := first_match(folder.named(name), _is_table))}
    if not files:
        return None
    pictures = picture_folder(folder, arguments, next(iter(files.values())))

    def read(split: str) -> QuestionTable:
        source, _ = open_source(files[split])
        return read_table(source, transform=_transform, pictures=pictures, split=split, strict=arguments.strict)

    splits = SplitTables({split: functools.partial(read, split) for split in files})
    label = ", ".join(file.name for file in files.values())
    return QuestionTable(label, splits, splits.problems, pictures)


def _is_table(file: Path) -> bool:
    return "Figure_path" in open_source(file)[0].columns


def _transform(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of either version; the answer is a text with its letter beside it, or a letter."""
    texts = [read_text(row.get(f"Choice {letter}")) for letter in _LETTERS]
    answer = read_text(row.get("Answer", row.get("Anwser")))
    letter = read_text(row.get("Answer_label"))
    return _choice(row["Figure_path"], row["Question"], texts, answer, letter)


def _input_label(row: Mapping[str, Any]) -> Mapping[str, Any]:
    texts = [read_text(row.get(letter)) for letter in _LETTERS]
    question = str(row["input"]).partition("\nA")[0]
    return _choice(row["image"], question, texts, read_text(row["label"]), "")


def _choice(picture: Any, question: Any, texts: list[str], answer: str, letter: str) -> Mapping[str, Any]:
    while texts and not texts[-1]:
        texts.pop()
    options = strip_letters(texts)
    right = options[find_option(answer, letter, options)]
    return {"images": picture, "question": question, "options": list(options), "answer": right, "family": "choice"}


def _counts(name: str) -> Any:
    def counts(table: QuestionTable, split: str) -> Sequence[Count]:
        return (Count("questions", _SIZES[name, split], every),) if (name, split) in _SIZES else ()

    return counts


_COMMON: Final[Mapping[str, Any]] = {
    "families": ("choice",),
    "licence": "CC-BY-SA (figures of PubMed Central whose licence allows commercial use)",
    "citation": "Zhang et al., PMC-VQA: Visual Instruction Tuning for Medical Visual Question Answering, arXiv:2305.10415",
    "homepage": "https://huggingface.co/datasets/RadGenome/PMC-VQA",
    "keys": ("pmcvqa",),
}
PMC_VQA: Final[QuestionTask] = Benchmark(
    name="pmc_vqa",
    title="PMC-VQA",
    description="PMC-VQA, first version: four options about figures of PubMed Central; test is test_clean.csv.",
    splits=("train", "test", "test_full"),
    download="get train.csv, test.csv, test_clean.csv and images.zip by: hf download RadGenome/PMC-VQA --repo-type dataset",
    formats=(read_v1, read_input_label),
    counts=_counts("pmc_vqa"),
    **_COMMON,
).task()
PMC_VQA_V2: Final[QuestionTask] = Benchmark(
    name="pmc_vqa_v2",
    title="PMC-VQA v2",
    description="PMC-VQA, second version: four options about figures that are not compound (test_2.csv).",
    splits=("train", "test"),
    download="get train_2.csv, test_2.csv and images_2.zip by: hf download RadGenome/PMC-VQA --repo-type dataset",
    formats=(read_v2,),
    counts=_counts("pmc_vqa_v2"),
    **_COMMON,
).task()
