"""MMMU, OmniMedVQA and MedXpertQA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.environment import QuestionTask, make_task
from medvistagym_core.plugins import Registry

from .pictures import embedded, picture_bytes, save, write_parquet, write_zip


def task(name: str, path: Path, **arguments: Any) -> QuestionTask:
    found = make_task(Registry.discover("vqa"), name, {"path": str(path), **arguments})
    assert isinstance(found, QuestionTask)
    return found


# -- MMMU


def mmmu(
    split: str,
    subject: str,
    n: int,
    question: str,
    options: str,
    answer: str,
    pictures: dict[int, int],
    kind: str = "multiple-choice",
) -> dict[str, Any]:
    row = {
        "id": f"{split}_{subject}_{n}", "question": question, "options": options, "explanation": "", "img_type":
        "['Body Scans: MRI, CT scans, and X-rays']", "answer": answer, "topic_difficulty": "Easy", "question_type": kind,
        "subfield": "Immunology",
    }  # fmt: skip
    return {**row, **{f"image_{k}": embedded(pictures.get(k)) for k in range(1, 8)}}


def write_mmmu(folder: Path) -> Path:
    rows = [
        mmmu(
            "validation", "Pharmacy", 1, "<image 1> What is it?", "['Aspirin', \"Crohn's drug\", 'None']", "C", {1: 0}
        ),
        mmmu(
            "validation", "Pharmacy", 2, "Which of them?", "['<image 1>', '<image 3>']", "B", {1: 1, 3: 2}
        ),  # options that are pictures
        mmmu("validation", "Pharmacy", 3, "What dose in mg is in <image 1>?", "[]", "['40', '40.0']", {1: 0}, "open"),
    ]
    write_parquet(folder / "Pharmacy" / "validation-00000-of-00001.parquet", rows)
    hidden = [mmmu("test", "Pharmacy", n, f"{n}? <image 1>", "['a', 'b']", "?", {1: 0}) for n in (1, 2)]
    write_parquet(folder / "Pharmacy" / "test-00000-of-00001.parquet", hidden)
    other = [mmmu("validation", "Accounting", 1, "<image 1>?", "['a', 'b']", "A", {1: 0})]
    write_parquet(folder / "Accounting" / "validation-00000-of-00001.parquet", other)
    return folder


def test_mmmu_reads_options_in_a_text_and_pictures_that_are_options(tmp_path: Path) -> None:
    found = task("mmmu_health", write_mmmu(tmp_path))
    assert found.size("validation") == 3
    assert found.splits == ("validation",)  # without answers the test split is nothing
    first, second, third = (found.case("validation", k) for k in range(3))
    assert (first.question, first.options, first.answer.value) == (
        "image 0 What is it?",
        ("Aspirin", "Crohn's drug", "None"),
        "None",
    )
    assert (len(second.images), second.options, second.answer.value) == (2, ("image 0", "image 1"), "image 1")
    assert (third.answer.value, third.answer.aliases, third.answer.kind) == ("40", ("40.0",), "number")
    assert third.facets["answer_type"] == "open"
    assert first.family == "Pharmacy"
    notes = found.provenance("validation").notes
    assert notes[0] == "MMMU Health & Medicine validation has 30 questions; found 3"
    assert "Basic_Medical_Science, Clinical_Medicine" in notes[1]


def test_mmmu_test_takes_its_answers_from_a_file(tmp_path: Path) -> None:
    write_mmmu(tmp_path / "mmmu")
    answers = {"test_Pharmacy_1": {"question_type": "multiple-choice", "ground_truth": "B"}, "test_Pharmacy_2": "A"}
    (tmp_path / "answer.json").write_text(json.dumps(answers))
    found = task("mmmu_health", tmp_path / "mmmu", answers=str(tmp_path / "answer.json"))
    assert [found.case("test", k).answer.value for k in (0, 1)] == ["b", "a"]
    assert "whose origin is not known here" in found.provenance("test").notes[-1]
    with pytest.raises(ValueError, match="the answers cannot be read"):
        task("mmmu_health", tmp_path / "mmmu", answers=str(tmp_path / "none.json")).size("validation")


# -- OmniMedVQA


def omni(n: int, gold: str, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "dataset": "ACRIMA", "question_id": f"acrima_{n:04}", "question_type": "Disease Diagnosis", "question": "What is it?",
        "gt_answer": gold, "image_path": "Images/ACRIMA/Im001.png", "modality_type": "Fundus Photography", **options, **more,
    }  # fmt: skip


ACRIMA = [
    omni(0, "Glaucoma", {"option_A": "Healthy", "option_B": "Glaucoma"}),  # C and D are missing
    omni(
        1, "Healthy", {"option_A": "Healthy", "option_B": "Glaucoma", "option_C": "Healthy", "option_D": "None"}
    ),  # repeated
    omni(2, "No", {"option_A": "Yes", "option_B": "No", "option_C": None, "option_D": None}),
]
OTHER = [
    {
        **omni(3, "CT", {"option_A": "CT", "option_B": "MR"}),
        "modality_type": None,
        "modality": "CT",
        "question_type": "Modality Recognition",
    }
]


def test_omnimedvqa_reads_open_access_and_leaves_restricted_access_out(tmp_path: Path) -> None:
    root = tmp_path / "OmniMedVQA"
    for name, rows in (
        ("Open-access/ACRIMA", ACRIMA),
        ("Open-access/AAA", OTHER),
        ("Restricted-access/Secret", ACRIMA),
    ):
        file = root / "QA_information" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows), "utf-8")
    save(root / "Images" / "ACRIMA" / "Im001.png", 0, "RGB")
    found = task("omnimedvqa", tmp_path)
    cases = [found.case("test", k) for k in range(found.size("test"))]
    assert [c.facets["category"] for c in cases] == ["ACRIMA"] * 4
    assert [(c.answer.value, c.options) for c in cases] == [
        ("CT", ("CT", "MR")),  # files come in the order of their names
        ("Glaucoma", ("Healthy", "Glaucoma")),
        ("Healthy", ("Healthy", "Glaucoma", "Healthy", "None")),
        ("No", ("Yes", "No")),
    ]
    assert (cases[0].facets["modality"], cases[1].facets["modality"]) == ("CT", "Fundus Photography")
    assert found.provenance("test").notes == ("OmniMedVQA (open access) test has 88,996 questions; found 4",)


def test_omnimedvqa_inside_of_its_archive(tmp_path: Path) -> None:
    members = {
        "OmniMedVQA/QA_information/Open-access/ACRIMA.json": json.dumps(ACRIMA).encode(),
        "OmniMedVQA/QA_information/Restricted-access/Secret.json": json.dumps(ACRIMA).encode(),
        "OmniMedVQA/Images/ACRIMA/Im001.png": picture_bytes(0, "I;16"),
    }
    write_zip(tmp_path / "OmniMedVQA.zip", members)
    found = task("omnimedvqa", tmp_path)
    assert found.size("test") == 3
    assert found.case("test", 0).images[0].pixels.dtype == "uint16"


# -- MedXpertQA


def xpert(n: int, images: list[str], label: str = "E") -> dict[str, Any]:
    options = {letter: f"Option {letter}" for letter in "ABCDE"}
    shown = " ".join(f"({letter}) {text}" for letter, text in options.items())
    return {
        "id": f"MM-{n}", "question": f"A man is ill. What now?\nAnswer Choices: {shown}", "options": options, "label": label,
        "images": images, "medical_task": "Diagnosis", "body_system": "Skeletal", "question_type": "Reasoning",
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_medxpertqa_shows_its_options_once_and_all_of_its_pictures(zipped: bool, tmp_path: Path) -> None:
    (tmp_path / "MM").mkdir()
    (tmp_path / "Text").mkdir()
    (tmp_path / "MM" / "test.jsonl").write_text(
        "".join(json.dumps(xpert(n, ["MM-0-a.jpeg", "MM-0-b.jpeg"])) + "\n" for n in (0, 1))
    )
    (tmp_path / "MM" / "dev.jsonl").write_text(json.dumps(xpert(9, ["MM-0-a.jpeg"], "A")) + "\n")
    text = {**xpert(5, []), "id": "Text-5"}
    del text["images"]
    (tmp_path / "Text" / "test.jsonl").write_text(json.dumps(text) + "\n")
    for name in ("MM-0-a.jpeg", "MM-0-b.jpeg"):
        if zipped:
            write_zip(tmp_path / f"{name}.zip", {f"images/{name}": picture_bytes(0, form="jpeg")})
        else:
            save(tmp_path / "images" / name, 0)
    found = task("medxpertqa_mm", tmp_path)
    case = found.case("test", 1)
    assert (case.question, case.options[4], case.answer.value) == ("A man is ill. What now?", "Option E", "Option E")
    assert (len(case.images), case.family, case.facets["body_part"]) == (2, "Reasoning", "Skeletal")
    assert found.case("dev", 0).answer.value == "Option A"
    assert found.provenance("test").notes == ("MedXpertQA MM test has 2,000 questions; found 2",)
