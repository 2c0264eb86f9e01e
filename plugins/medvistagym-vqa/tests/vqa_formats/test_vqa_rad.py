from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from medvistagym_core.environment import QuestionTask, make_task
from medvistagym_core.plugins import Registry

from .pictures import embedded, picture, picture_bytes, save, write_parquet, write_zip


def original(
    n: int, phrase: str, question: str, answer: Any, answer_type: str, linked: str, **more: Any
) -> dict[str, Any]:
    return {
        "qid": n, "phrase_type": phrase, "qid_linked_id": linked, "image_case_url": "https://medpix.nlm.nih.gov/case",
        "image_name": f"synpic{n % 2}.jpg", "image_organ": "CHEST", "evaluation": "evaluated", "question": question,
        "question_rephrase": "NULL", "question_relation": "NULL", "question_frame": "NULL", "question_type": "PRES",
        "answer": answer, "answer_type": answer_type, **more,
    }  # fmt: skip


ORIGINAL = [
    original(0, "freeform", "Are the lungs clear?", "Yes", "CLOSED", "a"),
    original(1, "para", "How many lesions are there?", 2, "OPEN", "b"),  # an integer for an answer
    original(2, "freeform", "Is there a fracture?", "no", "CLOSED", "c"),
    original(
        3, "test_freeform", "Which side is it on?", "left ", "CLOSED ", "d"
    ),  # blanks at the ends, closed and not yes/no
    original(4, "test_para", "Is a fracture seen?", "No\t", "CLOSED", "c"),
    original(5, "test_freeform", "What is the finding?", "pleural effusion", "OPEN", "e", image_organ="HEAD"),
]


def task(path: Path, **arguments: Any) -> QuestionTask:
    found = make_task(Registry.discover("vqa"), "vqa_rad", {"path": str(path), **arguments})
    assert isinstance(found, QuestionTask)
    return found


def write_original(folder: Path) -> Path:
    for k in (0, 1):
        save(folder / "VQA_RAD Image Folder" / f"synpic{k}.jpg", k)
    (folder / "VQA_RAD Dataset Public.json").write_text(json.dumps(ORIGINAL), "utf-8")
    return folder


def test_the_original_release_says_which_questions_are_closed(tmp_path: Path) -> None:
    rad = task(write_original(tmp_path))
    assert {split: rad.size(split) for split in rad.splits} == {"train": 3, "test": 3}
    side, fracture, finding = (rad.case("test", k) for k in range(3))
    assert (side.answer.value, side.answer.kind, side.family) == ("left", "exact", "closed")
    assert (fracture.answer.value, fracture.answer.kind, fracture.facets["answer_type"]) == ("No", "yes_no", "closed")
    assert (finding.answer.kind, finding.family, finding.facets["body_part"]) == ("text", "open", "head")
    assert rad.case("train", 1).answer.value == "2"
    assert side.images[0].shape == (12, 20)


def test_paraphrases_of_test_questions_can_be_left_out_of_train(tmp_path: Path) -> None:
    assert task(write_original(tmp_path), unlinked=True).size("train") == 2


def test_counts_that_are_not_the_published_ones_are_said_before_any_work(tmp_path: Path) -> None:
    found = task(write_original(tmp_path)).provenance("test")
    assert found.notes == ("VQA-RAD test has 451 questions: 272 closed, 251 yes/no; found 3: 2 closed, 1 yes/no",)
    assert found.licence == "CC0-1.0"
    assert found.questions == 3


def test_pictures_in_an_archive_beside_the_table(tmp_path: Path) -> None:
    folder = write_original(tmp_path / "loose")
    pictures = {f"VQA_RAD Image Folder/{file.name}": file.read_bytes() for file in folder.rglob("*.jpg")}
    write_zip(tmp_path / "zipped" / "VQA_RAD Image Folder.zip", pictures)
    (tmp_path / "zipped" / "VQA_RAD Dataset Public.json").write_text(json.dumps(ORIGINAL), "utf-8")
    rad = task(tmp_path / "zipped")
    assert rad.table.problems == [] or rad.table.problems == ()
    assert rad.case("test", 0).images[0].shape == (12, 20)


HUB = [
    {"image": 0, "question": "are the lungs clear?", "answer": "yes"},
    {"image": 0, "question": "which side?", "answer": "left"},
    {"image": 1, "question": "what is seen?", "answer": "effusion "},
]


def test_the_hubs_copy_takes_yes_and_no_for_closed_and_says_so(tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "datasets--flaviagiammarino--vqa-rad" / "snapshots" / revision
    for split in ("train", "test"):
        rows = [{**row, "image": embedded(row["image"], form="jpeg")} for row in HUB]
        write_parquet(folder / "data" / f"{split}-00000-of-00001-abc.parquet", rows)
    rad = task(folder)
    assert [rad.case("test", k).family for k in range(3)] == ["closed", "open", "open"]
    assert rad.case("test", 2).answer.value == "effusion"
    found = rad.provenance("test")
    assert found.revision == "revision 0123456789ab"
    assert found.notes[0] == "VQA-RAD test has 451 questions: 251 yes/no; found 3: 1 yes/no"
    assert "does not say which questions are closed" in found.notes[1]


def test_the_hubs_cache_and_the_data_folder_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = make_task(Registry.discover("vqa"), "vqa_rad")
    with pytest.raises(
        ValueError, match=r"VQA-RAD is not on this machine: name its folder with --task-arg path=FOLDER"
    ):
        bare.case("test", 0)
    write_original(tmp_path / "data" / "VQA_RAD")
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(tmp_path / "data"))
    assert make_task(Registry.discover("vqa"), "vqa_rad").case("test", 0).id == "3"
    (tmp_path / "data" / "VQA_RAD" / "VQA_RAD Dataset Public.json").write_text("[]")
    with pytest.raises(ValueError, match="is not there in any form that is known"):
        make_task(Registry.discover("vqa"), "vqa_rad").case("test", 0)


def test_a_saved_folder_of_datasets(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list([{**row, "image": embedded(row["image"])} for row in HUB]).cast_column(
        "image", datasets.Image()
    )
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "saved"))
    rad = task(tmp_path / "saved")
    assert (rad.size("test"), rad.splits) == (3, ("test",))
    np.testing.assert_array_equal(rad.case("test", 0).images[0].pixels, np.asarray(picture(0)))


def test_the_copy_with_answer_types(tmp_path: Path) -> None:
    rows = [
        {"image": embedded(0), "input": "Which side?", "label": "left", "answer_type": "CLOSED"},
        {"image": embedded(1), "input": "What is seen?", "label": "effusion", "answer_type": "OPEN"},
    ]
    write_parquet(tmp_path / "VQA_RAD" / "test-00000-of-00001.parquet", rows)
    rad = task(tmp_path)
    assert [(rad.case("test", k).question, rad.case("test", k).family) for k in (0, 1)] == [
        ("Which side?", "closed"),
        ("What is seen?", "open"),
    ]


@pytest.mark.parametrize("key", ["conversations", "conversatons"])
def test_the_files_of_llava_med(key: str, tmp_path: Path) -> None:
    def row(n: int, question: str, answer: str, kind: str) -> dict[str, Any]:
        messages = [{"from": "human", "value": f"{question}\n<image>"}, {"from": "gpt", "value": answer}]
        return {
            "id": str(n),
            "image": "synpic0.jpg",
            key: messages,
            "answer_type": kind,
            "domain": {"chest_xray": True},
        }

    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "synpic0.jpg").write_bytes(picture_bytes(0, form="jpeg"))
    (tmp_path / "test.json").write_text(
        json.dumps([row(1, "Clear?", "Yes", "CLOSED"), row(2, "Which?", "left", "CLOSED")])
    )
    (tmp_path / "train.json").write_text(json.dumps([row(1, "Seen?", "lung", "OPEN")]))
    rad = task(tmp_path)
    assert [rad.case("test", k).answer.kind for k in (0, 1)] == ["yes_no", "exact"]
    assert rad.case("train", 0).question == "Seen?"


def test_a_test_split_of_the_published_size_has_nothing_to_say(tmp_path: Path) -> None:
    rows = [{"image": embedded(0), "question": f"{k}?", "answer": "yes" if k < 251 else "lung"} for k in range(451)]
    write_parquet(tmp_path / "test-00000-of-00001.parquet", rows)
    (note,) = task(tmp_path).provenance("test").notes
    assert "has 451 questions" not in note
