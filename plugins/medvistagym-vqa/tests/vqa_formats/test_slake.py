from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.environment import QuestionTask, make_task
from medvistagym_core.environment.grading import grade
from medvistagym_core.plugins import Registry

from .pictures import embedded, picture_bytes, save, write_parquet, write_zip


def row(qid: int, question: str, answer: str, kind: str, language: str = "en", **more: Any) -> dict[str, Any]:
    keys = {
        "img_id": 102, "img_name": "xmlab102/source.jpg", "question": question, "answer": answer, "q_lang": language,
        "location": "Abdomen", "modality": "MRI", "answer_type": kind, "base_type": "vqa", "content_type": "Modality",
        "triple": ["vhead", "_", "_"], "qid": qid,
    }  # fmt: skip
    return {**keys, **more}


TEST = [
    row(0, "Does the picture contain liver?", "Yes", "CLOSED"),
    row(1, "Which organ is larger, liver or lung?", "Lung", "CLOSED", content_type="Size"),  # closed, and not yes/no
    row(2, "Which organs are seen?", "Liver, Heart, Spleen", "OPEN", content_type="Organ"),
    row(3, "Which plane is it?", "transverse  plane", "OPEN", content_type="Plane"),  # two blanks
    row(4, "这张图片是什么模态?", "核磁共振", "OPEN", "zh"),
    row(5, "图中包含肝脏吗?", "包含", "CLOSED", "zh"),
    row(6, "图像正常吗?", "是", "CLOSED", "zh"),
    dict(
        reversed(list(row(7, "What does the spleen do?", "Filter blood", "OPEN", base_type="kvqa").items()))
    ),  # keys in another order
]
TRAIN = [
    row(1621, "Is it MR?", "Yes", "CLOSED"),
    row(1622, "Does the picture contain liver?", "", "CLOSED"),
]  # an empty answer


def write(folder: Path, *, zipped: bool = True, validation: str = "validation.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train.json", TRAIN), (validation, TRAIN[:1]), ("test.json", TEST)):
        (folder / name).write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    if zipped:
        write_zip(
            folder / "imgs.zip",
            {"imgs/xmlab102/source.jpg": picture_bytes(0, "RGB", "jpeg"), "imgs/xmlab102/mask.png": b"x"},
        )
    else:
        save(folder / "Slake1.0" / "imgs" / "xmlab102" / "source.jpg", 0)
    return folder


def task(path: Path, **arguments: Any) -> QuestionTask:
    found = make_task(Registry.discover("vqa"), "slake", {"path": str(path), **arguments})
    assert isinstance(found, QuestionTask)
    return found


@pytest.mark.parametrize("zipped", [True, False])
def test_english_questions_with_pictures_in_the_archive_or_unpacked(zipped: bool, tmp_path: Path) -> None:
    slake = task(write(tmp_path, zipped=zipped))
    cases = [slake.case("test", k) for k in range(slake.size("test"))]
    assert [(c.answer.value, c.answer.kind, c.facets["answer_type"]) for c in cases] == [
        ("Yes", "yes_no", "closed"),
        ("Lung", "exact", "closed"),
        ("Liver, Heart, Spleen", "text", "open"),
        ("transverse plane", "text", "open"),
        ("Filter blood", "text", "open"),
    ]
    assert {c.family for c in cases} == {"english"}
    assert cases[0].facets["modality"] == "MRI"
    assert cases[0].facets["category"] == "Modality"
    assert cases[0].images[0].shape == (12, 20)
    assert grade(cases[2].answer, "spleen, liver and heart").correct  # their order is arbitrary
    assert not grade(cases[2].answer, "liver and heart").correct


def test_chinese_questions_are_a_family_of_their_own(tmp_path: Path) -> None:
    slake = task(write(tmp_path), language="zh")
    cases = [slake.case("test", k) for k in range(slake.size("test"))]
    assert [(c.family, c.answer.kind, c.facets["language"]) for c in cases] == [
        ("chinese", "exact", "zh"), ("chinese", "exact", "zh"), ("chinese", "yes_no", "zh"),
    ]  # fmt: skip
    assert grade(cases[0].answer, "核磁共振").correct
    assert grade(cases[2].answer, "是的").correct
    both = task(tmp_path, language="both")
    assert both.size("test") == 8
    assert both.families == ("english", "chinese")


def test_questions_that_need_other_knowledge_can_be_left_out(tmp_path: Path) -> None:
    assert task(write(tmp_path), knowledge=False).size("test") == 4


def test_the_empty_answer_of_the_training_split_is_named(tmp_path: Path) -> None:
    slake = task(write(tmp_path, validation="validate.json"))
    assert slake.splits == ("train", "validation", "test")
    assert [str(problem) for problem in slake.table.problems] == ["train, row 2: the answer is empty"]
    assert "train, row 2: the answer is empty" in slake.provenance("train").notes[-1]
    with pytest.raises(ValueError, match="1 of 8 rows cannot be used: train, row 2: the answer is empty"):
        task(tmp_path, strict=True).size("train")


def test_counts_are_those_of_the_languages_that_are_dealt(tmp_path: Path) -> None:
    write(tmp_path)
    assert (
        task(tmp_path).provenance("test").notes[0]
        == "SLAKE test has 1,061 questions: 645 open, 416 closed; found 5: 3 open, 2 closed"
    )
    assert (
        task(tmp_path, language="zh")
        .provenance("test")
        .notes[0]
        .startswith("SLAKE test has 1,033 questions: 613 open, 420 closed;")
    )
    assert (
        task(tmp_path, language="both")
        .provenance("test")
        .notes[0]
        .startswith("SLAKE test has 2,094 questions: 1,258 open, 836 closed;")
    )


def test_copies_with_pictures_inside(tmp_path: Path) -> None:
    full = [{**one, "image": embedded(0), "img_name": None, "triple": None} for one in TEST]
    write_parquet(tmp_path / "full" / "data" / "test-00000-of-00001.parquet", full)
    assert task(tmp_path / "full", language="both").size("test") == 8
    short = [{"image": embedded(0), "question": one["question"], "answer": one["answer"]} for one in TEST[:4]]
    write_parquet(tmp_path / "short" / "data" / "test-00000-of-00001.parquet", short)
    slake = task(tmp_path / "short")
    assert [slake.case("test", k).facets["answer_type"] for k in range(4)] == ["closed", "open", "open", "open"]
