"""VQA-RAD (Lau et al. 2018): questions of clinicians about radiology pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import QuestionTable, read_table, read_text, with_questions
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, answer_of_type, every, is_closed, is_yes_no
from medvistagym_vqa._data_folder import DataFolder
from medvistagym_vqa._tables import joined_source, json_rows, picture_folder, read_columns, split_files

_BODY_PARTS: Final = {"HEAD": "head", "CHEST": "chest", "ABD": "abdomen"}


class VqaRadArguments(BenchmarkArguments):
    """Arguments of VQA-RAD."""

    unlinked: bool = Field(
        default=False,
        description=(
            "Leave out of train what is a paraphrase of a test question (by qid_linked_id; the original release alone has it)."
        ),
    )


def read_original(folder: DataFolder, arguments: VqaRadArguments) -> QuestionTable | None:
    """The original release: `VQA_RAD Dataset Public.json` and a folder of pictures."""
    for file in folder.named(r".*\.json"):
        rows = json_rows(file)
        if rows is None or not {"phrase_type", "image_name", "answer_type"} <= set(rows[0]):
            continue
        test = [row for row in rows if str(row.get("phrase_type", "")).strip().startswith("test_")]
        linked = {str(row.get("qid_linked_id")) for row in test}
        train = [
            row for row in rows
            if not str(row.get("phrase_type", "")).strip().startswith("test_")
            and not (arguments.unlinked and str(row.get("qid_linked_id")) in linked)
        ]  # fmt: skip
        source = joined_source(file.name, {"train": train, "test": test})
        pictures = picture_folder(folder, arguments, file)
        return read_table(source, transform=_original, pictures=pictures, strict=arguments.strict)
    return None


def read_with_answer_type(folder: DataFolder, arguments: VqaRadArguments) -> QuestionTable | None:
    """AdaptLLM/biomed-VQA-benchmark: image, input, label, answer_type."""
    return read_columns(folder, arguments, {"image", "input", "label", "answer_type"}, read_input_label)


def read_conversations(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """LLaVA-Med's files: train.json and test.json with conversations, the picture's name, and the answer type."""
    rows = {
        split: found for split, file in split_files(folder.named(r".*\.json")).items() if (found := json_rows(file))
    }
    rows = {split: found for split, found in rows.items() if {"conversations", "conversatons"} & set(found[0])}
    if not rows:
        return None
    pictures = picture_folder(folder, arguments, folder.root)
    source = with_questions(joined_source(folder.root.name, rows))
    return read_table(source, transform=_conversation, pictures=pictures, strict=arguments.strict)


def read_hub(folder: DataFolder, arguments: VqaRadArguments) -> QuestionTable | None:
    """The Hub's copy: image, question and answer, and nothing that says whether a question is closed."""
    return read_columns(folder, arguments, {"image", "question", "answer"}, read_image_question_answer)


def read_image_question_answer(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a copy without answer types: closed when its answer is yes or no."""
    answer = read_text(row["answer"])
    answer_type = row.get("answer_type") or ("closed" if answer.lower() in ("yes", "no") else "open")
    base = {"images": row["image"], "question": row["question"], "answer": answer}
    metadata = {name: row[name] for name in ("modality", "body_part", "split") if row.get(name)}
    return {**base, **metadata, **answer_of_type(answer, str(answer_type))}


def read_input_label(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of AdaptLLM/biomed-VQA-benchmark."""
    return read_image_question_answer({**row, "question": row["input"], "answer": row["label"]})


def _conversation(row: Mapping[str, Any]) -> Mapping[str, Any]:
    question = str(row["question"]).replace("<image>", " ")
    changed = read_image_question_answer({**row, "question": question})
    return {**changed, "id": f"{row['split']}-{read_text(row['id'])}" if row.get("id") else None, "split": row["split"]}


def _original(row: Mapping[str, Any]) -> Mapping[str, Any]:
    answer = read_text(row["answer"])
    part = read_text(row.get("image_organ")).upper()
    return {
        "id": read_text(row.get("qid")),
        "images": read_text(row["image_name"]),
        "question": row["question"],
        "answer": answer,
        "split": row["split"],
        "body_part": _BODY_PARTS.get(part, part.lower()),
        "category": read_text(row.get("question_type")).lower(),
        **answer_of_type(answer, read_text(row.get("answer_type"))),
    }


def _counts(table: QuestionTable, split: str) -> Sequence[Count]:
    if split != "test":
        return ()
    if _knows_closed(table, split):
        return (Count("questions", 451, every), Count("closed", 272, is_closed), Count("yes/no", 251, is_yes_no))
    return (Count("questions", 451, every), Count("yes/no", 251, is_yes_no))


def _knows_closed(table: QuestionTable, split: str) -> bool:
    """Whether the copy says which questions are closed: then some of those are not yes or no."""
    return any(is_closed(question) and not is_yes_no(question) for question in table.splits[split])


def _notes(table: QuestionTable, split: str) -> Sequence[str]:
    if split != "test" or _knows_closed(table, split):
        return ()
    return (
        (
            "VQA-RAD: this copy does not say which questions are closed: those with yes or no are taken for closed (251), "
            "the 21 other closed ones of the original release (272 and 179) for open."
        ),
    )


VQA_RAD: Final[QuestionTask] = Benchmark(
    name="vqa_rad",
    title="VQA-RAD",
    description="VQA-RAD: clinicians' questions about radiology pictures of head, chest and abdomen.",
    splits=("train", "test"),
    families=("closed", "open"),
    licence="CC0-1.0",
    citation="Lau et al., A dataset of clinically generated visual questions and answers about radiology images, Sci Data 2018",
    homepage="https://osf.io/89kps",
    download="get it from osf.io/89kps, or: hf download flaviagiammarino/vqa-rad --repo-type dataset",
    keys=("vqarad",),
    formats=(read_original, read_with_answer_type, read_conversations, read_hub),
    counts=_counts,
    notes=_notes,
    arguments=VqaRadArguments(),
).task()
