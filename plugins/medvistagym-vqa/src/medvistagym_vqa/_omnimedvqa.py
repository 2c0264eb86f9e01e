"""OmniMedVQA (Hu et al. 2024): questions with two to four options about classification data sets of many modalities."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import QuestionTable, read_table, read_text, rows_source
from medvistagym_core.tools import parse_document
from medvistagym_vqa._benchmark import Benchmark, BenchmarkArguments, Count, every
from medvistagym_vqa._data_folder import DataFolder
from medvistagym_vqa._tables import picture_folder

_OPEN_ACCESS: Final = 88_996
_MAX_TABLE_BYTES: Final = 64 * 2**20
_FAMILIES: Final = (
    "Modality Recognition", "Anatomy Identification", "Disease Diagnosis", "Lesion Grading", "Other Biological Attributes",
)  # fmt: skip
_KEYS: Final = {  # spellings of keys that differ in a few files
    "gt_answer": ("gt_answer", "answer", "gt"),
    "image_path": ("image_path", "image", "img_path"),
    "modality_type": ("modality_type", "modality"),
    "question_id": ("question_id", "id"),
    "question_type": ("question_type", "type"),
}


def read_open_access(folder: DataFolder, arguments: BenchmarkArguments) -> QuestionTable | None:
    """QA_information/Open-access/*.json with Images/, unpacked or inside of the archive; in the order of the files' names."""
    rows: list[Mapping[str, Any]] = []
    places: list[str] = []
    for name, found in sorted(_files(folder)):
        rows += found
        places += [f"{PurePosixPath(name).name}, row {number + 1}" for number in range(len(found))]
    if not rows:
        return None
    pictures = picture_folder(folder, arguments, folder.root)
    return read_table(
        rows_source("Open-access", rows, places), transform=_transform, pictures=pictures, strict=arguments.strict
    )


def _files(folder: DataFolder) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The tables of open-access data sets, by name; those of restricted ones have no pictures and are left out."""
    for file in folder.named(r".*\.json"):
        if _is_open_access(file.as_posix()):
            yield file.as_posix(), _rows(file.read_bytes(), file.name)
    for archive in folder.archives():
        with zipfile.ZipFile(archive) as members:
            for name in members.namelist():
                if name.endswith(".json") and _is_open_access(name):
                    yield name, _rows(_inflate(members, name), name)


def _inflate(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.file_size > _MAX_TABLE_BYTES:
        raise ValueError(f"{name} has {entry.file_size / 2**20:,.0f} MiB; a table of OmniMedVQA has some 10 MiB")
    try:
        with archive.open(entry) as member:
            return member.read(entry.file_size)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{name} in the archive is damaged: {error}") from None


def _is_open_access(path: str) -> bool:
    parts = [part.lower().replace("_", "-") for part in Path(path).parts]
    return "open-access" in parts and "restricted-access" not in parts


def _rows(data: bytes, name: str) -> list[Mapping[str, Any]]:
    try:
        found = parse_document(data)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON file ({error})") from None
    return found if isinstance(found, list) else []


def _transform(row: Mapping[str, Any]) -> Mapping[str, Any]:
    cells = {
        part: next((row[name] for name in names if row.get(name) is not None), None) for part, names in _KEYS.items()
    }
    options = [read_text(row.get(f"option_{letter}")) for letter in "ABCD"]
    while options and not options[-1]:
        options.pop()
    return {
        "id": read_text(cells["question_id"]),
        "images": read_text(cells["image_path"]),
        "question": row.get("question"),
        "options": options,
        "answer": read_text(cells["gt_answer"]),
        "family": read_text(cells["question_type"]),
        "modality": read_text(cells["modality_type"]),
        "category": read_text(row.get("dataset")),
        "split": "test",
    }


def _counts(table: QuestionTable, split: str) -> Sequence[Count]:
    return (Count("questions", _OPEN_ACCESS, every),)


OMNIMEDVQA: Final[QuestionTask] = Benchmark(
    name="omnimedvqa",
    title="OmniMedVQA (open access)",
    description="OmniMedVQA, open access: two to four options about pictures of many modalities.",
    splits=("test",),
    families=_FAMILIES,
    licence="that of each of its data sets",
    citation="Hu et al., OmniMedVQA: A New Large-Scale Comprehensive Evaluation Benchmark for Medical LVLM, CVPR 2024",
    homepage="https://github.com/OpenGVLab/Multi-Modality-Arena",
    download="get OmniMedVQA.zip by: hf download foreverbeliever/OmniMedVQA --repo-type dataset",
    keys=("omnimedvqa", "omnimed"),
    formats=(read_open_access,),
    counts=_counts,
).task()
