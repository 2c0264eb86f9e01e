"""SLAKE (Liu et al. 2021): questions in English and Chinese about CT, MR and X-ray pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.grading import parse_yes_no
from medvistagym_core.environment.questions import QuestionTable, read_table, read_text
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, every, is_closed
from medvistagym_vqa._data_folder import DataFolder
from medvistagym_vqa._tables import RowTransform, joined_source, json_rows, picture_folder, read_columns, split_files

_FAMILIES: Final = {"en": "english", "zh": "chinese"}
_SIZES: Final = {  # questions and open ones, by split and language
    ("test", "en"): (1_061, 645), ("test", "zh"): (1_033, 613), ("train", "en"): (4_919, None), ("train", "zh"): (4_916, None),
    ("validation", "en"): (1_053, None), ("validation", "zh"): (1_046, None),
}  # fmt: skip


class SlakeArguments(BenchmarkArguments):
    """Arguments of SLAKE."""

    language: Literal["en", "zh", "both"] = Field(
        default="en", description="Questions in English, in Chinese, or both."
    )
    knowledge: bool = Field(
        default=True,
        description="Whether questions that need knowledge from outside of the picture are dealt (base_type kvqa).",
    )


def read_json(folder: DataFolder, arguments: SlakeArguments) -> QuestionTable | None:
    """The original release and the Hub's: train.json, validation.json, test.json, and imgs.zip or the folder imgs."""
    files = split_files(folder.named(r".*\.json"))
    rows = {split: found for split, file in files.items() if (found := json_rows(file)) and "img_name" in found[0]}
    if not rows:
        return None
    source = joined_source(folder.root.name, rows)
    pictures = picture_folder(folder, arguments, next(iter(files.values())))
    return read_table(source, transform=_transform(arguments), pictures=pictures, strict=arguments.strict)


def read_full_copy(folder: DataFolder, arguments: SlakeArguments) -> QuestionTable | None:
    """A copy with pictures and all keys, such as OctoMed/SLAKE."""
    columns = {"image", "question", "answer", "answer_type", "q_lang"}
    return read_columns(folder, arguments, columns, _transform(arguments))


def read_short_copy(folder: DataFolder, arguments: SlakeArguments) -> QuestionTable | None:
    """An English copy with picture, question and answer alone, such as mdwiratathya/SLAKE-vqa-english."""
    return read_columns(folder, arguments, {"image", "question", "answer"}, _transform(arguments))


def read_with_answer_type(folder: DataFolder, arguments: SlakeArguments) -> QuestionTable | None:
    """AdaptLLM/biomed-VQA-benchmark: image, input, label, answer_type."""
    transform = _transform(arguments)
    return read_columns(
        folder,
        arguments,
        {"image", "input", "label"},
        lambda row: transform({**row, "question": row["input"], "answer": row["label"]}),
    )


def _transform(arguments: SlakeArguments) -> RowTransform:
    def transform(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        language = read_text(row.get("q_lang")).lower() or "en"
        if arguments.language not in (language, "both"):
            return None
        if not arguments.knowledge and read_text(row.get("base_type")).lower() == "kvqa":
            return None
        answer = read_text(row["answer"])
        answer_type = read_text(row.get("answer_type")).lower()
        closed = answer_type.startswith("close") if answer_type else answer.lower() in ("yes", "no")
        kind = "text" if language == "en" else "exact"
        if closed:
            kind = "exact" if parse_yes_no(answer) is None else "yes_no"
        return {
            "id": f"{row.get('split') or 'row'}-{read_text(row['qid'])}" if row.get("qid") not in (None, "") else None,
            "images": row.get("image") or read_text(row.get("img_name")),
            "question": row["question"],
            "answer": answer,
            "kind": kind,
            "family": _FAMILIES.get(language, language),
            "split": row.get("split"),
            "language": language,
            "answer_type": "closed" if closed else "open",
            "modality": read_text(row.get("modality")),
            "body_part": read_text(row.get("location")),
            "category": read_text(row.get("content_type")),
        }

    return transform


def _counts(table: QuestionTable, split: str) -> Sequence[Count]:
    languages = {question.facets["language"] for question in table.splits[split]}
    sizes = [_SIZES[split, language] for language in sorted(languages) if (split, language) in _SIZES]
    if not sizes or len(sizes) < len(languages):
        return ()
    total = sum(size for size, _ in sizes)
    opens = [size for _, size in sizes if size is not None]
    counts = [Count("questions", total, every)]
    if len(opens) == len(sizes):
        counts += [Count("open", sum(opens), _is_open), Count("closed", total - sum(opens), is_closed)]
    return counts


def _is_open(question: Any) -> bool:
    return not is_closed(question)


SLAKE: Final[QuestionTask] = Benchmark(
    name="slake",
    title="SLAKE",
    description="SLAKE: questions about CT, MR and X-ray pictures, in English (Chinese with language=zh or both).",
    splits=("train", "validation", "test"),
    families=("english", "chinese"),
    licence="CC-BY-4.0",
    citation="Liu et al., SLAKE: A Semantically-Labeled Knowledge-Enhanced Dataset for Medical VQA, ISBI 2021",
    homepage="https://www.med-vqa.com/slake",
    download="get it by: hf download BoKelvin/SLAKE --repo-type dataset",
    keys=("slake",),
    formats=(read_json, read_full_copy, read_with_answer_type, read_short_copy),
    counts=_counts,
    arguments=SlakeArguments(),
).task()
