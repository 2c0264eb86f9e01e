"""PathVQA (He et al. 2020): questions made by rules from captions of pathology pictures."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import QuestionTable, read_table, read_text
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, every, is_yes_no
from medvistagym_vqa._data_folder import DataFolder
from medvistagym_vqa._tables import joined_source, picture_folder, read_columns, split_files
from medvistagym_vqa._vqa_rad import read_conversations, read_hub, read_input_label

_SIZES: Final = {"train": 19_654, "validation": 6_259, "test": 6_719}
_MAX_PICKLE_BYTES: Final = 64 * 2**20
_MAX_OPERATIONS: Final = 1_500_000  # the largest of the release takes some 400,000


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers, and nothing that could run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds a {module_name}.{global_name}, and questions are plain lists and dicts")


def read_pickles(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """The original release: a pickle for each split (`train_qa.pkl`), and folders of pictures."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for split, file in split_files(folder.named(r".*\.pkl")).items():
        found = _unpickle(file)
        if isinstance(found, list) and found and isinstance(found[0], dict) and {"image", "img_id"} & set(found[0]):
            rows[split] = found
    if not rows:
        return None
    pictures = picture_folder(folder, arguments, folder.root)
    source = joined_source(folder.root.name, rows)
    return read_table(source, transform=_read_pickled_row, pictures=pictures, strict=arguments.strict)


def read_with_answer_type(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """AdaptLLM/biomed-VQA-benchmark: image, input, label, answer_type."""
    return read_columns(folder, arguments, {"image", "input", "label"}, read_input_label)


def _unpickle(file: Path) -> Any:
    if file.stat().st_size > _MAX_PICKLE_BYTES:
        raise ValueError(f"{file.name} is larger than {_MAX_PICKLE_BYTES // 2**20} MiB; PathVQA's pickles are not")
    content = file.read_bytes()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > _MAX_OPERATIONS or ("PUT" in opcode.name and int(argument or 0) > _MAX_OPERATIONS):
                raise ValueError(f"it is made of more than {_MAX_OPERATIONS:,} values")
        return _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:
        raise ValueError(f"{file.name} is no pickle of questions: {error}") from error


def _read_pickled_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as published, or of the re-export with `img_id`, `sent` and `label`."""
    label = row.get("label")
    answer = next(iter(label), "") if isinstance(label, dict) else row.get("answer", "")
    answer = read_text(answer)
    yes_no = answer.lower() in ("yes", "no")
    name = read_text(row.get("image", row.get("img_id")))
    return {
        "images": name if "." in name else f"{name}.jpg",
        "question": row.get("question", row.get("sent")),
        "answer": answer,
        "kind": "yes_no" if yes_no else "text",
        "family": "closed" if yes_no else "open",
        "answer_type": "closed" if yes_no else "open",
        "split": row["split"],
    }


def _counts(table: QuestionTable, split: str) -> Sequence[Count]:
    counts = [Count("questions", _SIZES[split], every)] if split in _SIZES else []
    return [*counts, Count("yes/no", 3_362, is_yes_no)] if split == "test" else counts


PATH_VQA: Final[QuestionTask] = Benchmark(
    name="path_vqa",
    title="PathVQA",
    description="PathVQA: questions about pathology pictures of textbooks, made from captions by rules.",
    splits=("train", "validation", "test"),
    families=("closed", "open"),
    licence="MIT",
    citation="He et al., PathVQA: 30000+ Questions for Medical Visual Question Answering, arXiv:2003.10286",
    homepage="https://github.com/UCSD-AI4H/PathVQA",
    download="get it by: hf download flaviagiammarino/path-vqa --repo-type dataset",
    keys=("pathvqa",),
    formats=(read_pickles, read_with_answer_type, read_conversations, read_hub),
    counts=_counts,
).task()
