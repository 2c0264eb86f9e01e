"""The same four questions in every form in which a table may come."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from medvistagym_core.environment import HasAudit, HasProvenance, HasSize, QuestionTask, Task
from medvistagym_core.environment.questions import PictureFolder, open_source, read_table

from .tables import ROWS, base64_text, picture, picture_bytes, write_jsonl, write_parquet, write_pictures, write_table

SEEDS = {"chest.png": 0, "head.png": 1}


def as_jsonl(folder: Path) -> Path:
    return write_jsonl(folder / "questions.jsonl", ROWS)


def as_json(folder: Path) -> Path:
    (folder / "questions.json").write_text(json.dumps(ROWS), "utf-8")
    return folder / "questions.json"


def as_csv(folder: Path) -> Path:
    return write_table(folder / "questions.csv", ROWS)


def as_csv_of_a_spreadsheet(folder: Path) -> Path:
    """With a byte order mark, semicolons, and a line end in a quoted cell."""
    columns = ("image", "question", "answer", "unit", "split", "modality")
    lines = ["\ufeff" + ";".join(columns), *(";".join(f'"{row.get(name, "")}"' for name in columns) for row in ROWS)]
    lines[1] = lines[1].replace("Is there a nodule?", "Is there\r\na nodule?")
    (folder / "questions.csv").write_text("\r\n".join(lines), "utf-8", newline="")
    return folder / "questions.csv"


def as_tsv_with_base64(folder: Path) -> Path:
    rows = [{**row, "image": base64_text(picture_bytes(SEEDS[row["image"]]))} for row in ROWS]
    return write_table(folder / "questions.tsv", rows)


def as_parquet(folder: Path) -> Path:
    return write_parquet(folder / "questions.parquet", ROWS)


def as_parquet_in_row_groups(folder: Path) -> Path:
    return write_parquet(folder / "questions.parquet", ROWS, row_group_size=1)


def as_hub_folder(folder: Path) -> Path:
    """As `snapshot_download` leaves it: a file for each split, which its name says."""
    for split in ("train", "test"):
        rows = [{k: v for k, v in row.items() if k != "split"} for row in ROWS if row["split"] == split]
        write_parquet(folder / "snapshot" / "data" / f"{split}-00000-of-00001.parquet", rows)
    return folder / "snapshot"


def as_saved_dataset(folder: Path) -> Path:
    data = datasets.DatasetDict()
    for split in ("train", "test"):
        rows = [row for row in ROWS if row["split"] == split]
        data[split] = datasets.Dataset.from_dict(
            {
                "image": [{"bytes": picture_bytes(SEEDS[row["image"]]), "path": None} for row in rows],
                **{name: [row.get(name) for row in rows] for name in ("question", "answer", "unit", "modality")},
            }
        ).cast_column("image", datasets.Image())
    data.save_to_disk(str(folder / "saved"))
    return folder / "saved"


@pytest.mark.parametrize(
    "write",
    [as_jsonl, as_json, as_csv, as_csv_of_a_spreadsheet, as_tsv_with_base64, as_parquet, as_parquet_in_row_groups,
     as_hub_folder, as_saved_dataset],
)  # fmt: skip
def test_a_table_in_any_form_is_the_same_task(write: Callable[[Path], Path], tmp_path: Path) -> None:
    write_pictures(tmp_path)
    task = QuestionTask("mine", "My questions.", write(tmp_path))
    assert isinstance(task, Task)
    assert isinstance(task, HasSize)
    assert isinstance(task, HasAudit)
    assert isinstance(task, HasProvenance)
    assert task.splits == ("train", "test")
    assert (task.size("train"), task.size("test")) == (2, 2)
    assert task.table.problems == ()
    nodule, plane = task.case("train", 0), task.case("train", 1)
    width, frontal = task.case("test", 0), task.case("test", 1)
    assert "a nodule?" in nodule.question
    assert (plane.answer.value, plane.answer.kind) == ("axial", "text")
    assert (width.answer.value, width.answer.kind, width.answer.unit) == ("12", "number", "mm")
    assert (frontal.answer.value, frontal.answer.kind, frontal.facets["modality"]) == ("Yes", "yes_no", "X-ray")
    for case, seed in ((nodule, 0), (plane, 1), (width, 1), (frontal, 0)):
        (image,) = case.images
        np.testing.assert_array_equal(image.pixels, np.asarray(picture(seed)))
    assert len({case.id for case in (nodule, plane, width, frontal)}) == 4
    assert all(check.passed for check in task.audit(10))


def test_a_large_row_group_is_copied_aside_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvistagym_core.environment.questions._arrow._MAX_CACHED_GROUP_BYTES", 10)
    task = QuestionTask("mine", "My questions.", as_parquet(tmp_path))
    for split in task.splits:
        for index in range(task.size(split)):
            case = task.case(split, index)
            seed = 0 if case.facets["modality"] == "X-ray" else 1
            np.testing.assert_array_equal(case.images[0].pixels, np.asarray(picture(seed)))


def test_pictures_may_lie_in_a_zip_archive_below_a_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "loose")
    with zipfile.ZipFile(tmp_path / "imgs.zip", "w") as archive:
        for name in SEEDS:
            archive.write(tmp_path / "loose" / name, f"imgs/{name}")
    source, _ = open_source(as_jsonl(tmp_path))
    table = read_table(source, pictures=PictureFolder([tmp_path / "imgs.zip"], search=True))
    (image,) = table.open_pictures(table.splits["train"][1])
    np.testing.assert_array_equal(image.pixels, np.asarray(picture(1)))
    strict = read_table(open_source(as_jsonl(tmp_path))[0], pictures=PictureFolder([tmp_path / "loose"]))
    assert strict.problems == ()


def test_several_pictures_a_question_and_marks_that_name_them(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    rows = [
        {"image_1": "a.png", "image_2": "b.png", "question": "<image 1> Is it as in <image 2>?", "answer": "no"},
        {"image_1": "c.png", "image_2": "", "question": "Which is <image 1>?", "answer": "B",
         "options": "['<image 1>', 'none']"},
    ]  # fmt: skip
    task = QuestionTask("mine", "My questions.", write_table(tmp_path / "q.csv", rows))
    first, second = task.case("test", 0), task.case("test", 1)
    assert (len(first.images), first.question) == (2, "image 0 Is it as in image 1?")
    assert (len(second.images), second.options, second.answer.value) == (1, ("image 0", "none"), "none")
    listed = write_jsonl(tmp_path / "q.jsonl", [{"images": ["a.png", "c.png"], "question": "Same?", "answer": "no"}])
    assert len(QuestionTask("mine", "My questions.", listed).case("test", 0).images) == 2


@pytest.mark.parametrize("cell", ["a.png;b.png", "a.png|b.png", '["a.png", "b.png"]'])
def test_several_pictures_in_one_cell_of_a_csv(cell: str, tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "b.png"])
    table = write_table(tmp_path / "q.csv", [{"image": cell, "question": "Same?", "answer": "no"}])
    assert len(QuestionTask("mine", "My questions.", table).case("test", 0).images) == 2


@pytest.mark.parametrize(("form", "mode", "dtype", "channels"), [
    ("jpeg", "CMYK", np.uint8, 3), ("tiff", "I;16", np.uint16, 1), ("png", "RGB", np.uint8, 3), ("png", "I;16", np.uint16, 1),
])  # fmt: skip
def test_cmyk_and_sixteen_bit_pictures(form: str, mode: str, dtype: Any, channels: int, tmp_path: Path) -> None:
    (tmp_path / f"a.{form}").write_bytes(picture_bytes(0, form, mode))
    table = write_jsonl(tmp_path / "q.jsonl", [{"image": f"a.{form}", "question": "Seen?", "answer": "yes"}])
    (image,) = QuestionTask("mine", "My questions.", table).case("test", 0).images
    assert image.pixels.dtype == dtype
    assert image.shape == (16, 24)
    assert (image.photometric == "RGB") == (channels == 3)
    assert image.view().dtype == np.uint8


def test_dicom_files_and_series_folders_are_read_by_an_installed_reader(tmp_path: Path) -> None:
    import shutil

    import pydicom.data

    from medvistagym_core.environment import make_task
    from medvistagym_core.plugins import Registry

    shutil.copy(str(pydicom.data.get_testdata_file("CT_small.dcm")), tmp_path / "ct.dcm")
    (tmp_path / "series").mkdir()
    shutil.copy(str(pydicom.data.get_testdata_file("CT_small.dcm")), tmp_path / "series" / "1.dcm")
    rows = [{"image": name, "question": "Modality?", "answer": "CT"} for name in ("ct.dcm", "series")]
    task = make_task(Registry.discover(), write_jsonl(tmp_path / "q.jsonl", rows))
    for index in (0, 1):
        (image,) = task.case("test", index).images
        assert (image.unit, image.modality, image.shape) == ("HU", "CT", (128, 128))
    bare = QuestionTask("mine", "My questions.", tmp_path / "q.jsonl")
    with pytest.raises(ValueError, match=r"q\.jsonl, line 1: ct\.dcm: DICOM is read by a plugin, and none is loaded"):
        bare.case("test", 0)
