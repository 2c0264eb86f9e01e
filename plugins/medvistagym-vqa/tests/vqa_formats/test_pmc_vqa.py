from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.environment import QuestionTask, make_task
from medvistagym_core.plugins import Registry

from .pictures import picture_bytes, save, write_zip

V1 = ("Figure_path", "Question", "Answer", "Choice A", "Choice B", "Choice C", "Choice D", "Answer_label")
V2 = ("index", "Figure_path", "Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Answer", "split")
FIGURE = "PMC1064097_F1.jpg"
CLEAN = [
    (FIGURE, " Which uptake? ", "Focal uptake", " A:Diffuse uptake ", " B:Focal uptake ", " C:No uptake ", " D:Mixed ", "B"),
    (FIGURE, "How many?", "None", "A:None", "B:NA", "C:One", "D:Two", "A"),  # texts that read as missing values
    # whose label is wrong
    # whose label is wrong:
    (FIGURE, "Which?", "The liver", "A:The\u00a0liver", "B The\u200alung", "C:\"The heart\"", "D:The spleen", "B"),
    (FIGURE, "Broken?", "Something else", "A:One", "B:Two", "C:Three", "D:Four", "A"),  # an answer that is no option
    (FIGURE, "Twice?", "Two", "A:Two", "B:Two", "C:One", "D:None", "A"),  # repeated options
]  # fmt: skip
SECOND = [
    (0, FIGURE, "Uptake, focal.", "What is seen?", " A: Liver", " B: Lung", " C: Heart", " D: Spleen", "C", "test"),
    (
        1,
        FIGURE,
        'With "quotes", commas\nand a line end',
        "And here?",
        "A:One",
        "B:Two",
        "C:Three",
        "D:Four",
        "A",
        "test",
    ),
]


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def task(name: str, path: Path, **arguments: Any) -> QuestionTask:
    found = make_task(Registry.discover("vqa"), name, {"path": str(path), **arguments})
    assert isinstance(found, QuestionTask)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "test_clean.csv", V1, CLEAN)
    write(tmp_path / "test.csv", V1, CLEAN[:1])
    write(
        tmp_path / "train.csv", tuple("Anwser" if name == "Answer" else name for name in V1), CLEAN[:2]
    )  # as older files spell it
    write(tmp_path / "test_2.csv", V2, SECOND)
    write(tmp_path / "train_2.csv", V2, SECOND[:1])
    write_zip(tmp_path / "images.zip", {f"images/{FIGURE}": picture_bytes(0, "RGB", "jpeg")})
    write_zip(tmp_path / "images_2.zip", {f"figures/{FIGURE}": picture_bytes(0, "RGB", "jpeg")})
    return tmp_path


def test_test_is_test_clean_with_letters_taken_off_and_labels_repaired(folder: Path) -> None:
    pmc = task("pmc_vqa", folder)
    assert pmc.splits == ("train", "test", "test_full")
    cases = [pmc.case("test", k) for k in range(pmc.size("test"))]
    assert [(c.options, c.answer.value) for c in cases] == [
        (("Diffuse uptake", "Focal uptake", "No uptake", "Mixed"), "Focal uptake"),
        (("None", "NA", "One", "Two"), "None"),
        (("The liver", "The lung", '"The heart"', "The spleen"), "The liver"),
        (("Two", "Two", "One", "None"), "Two"),
    ]
    assert all(c.answer.kind == "choice" and c.images[0].shape == (12, 20) for c in cases)
    assert [str(p) for p in pmc.table.problems] == [
        "line 5: the answer 'Something else' is none of the options (One; Two; Three; Four)"
    ]
    assert pmc.provenance("test").notes[0] == "PMC-VQA test has 2,000 questions; found 4"


def test_splits_are_read_when_they_are_asked_for(folder: Path) -> None:
    (folder / "train.csv").write_text("Figure_path,Question\n", "utf-8")
    pmc = task("pmc_vqa", folder)
    assert pmc.size("test") == 4
    with pytest.raises(ValueError, match=r"train.csv holds no question"):
        pmc.size("train")


def test_the_second_version_answers_by_letter(folder: Path) -> None:
    pmc = task("pmc_vqa_v2", folder)
    assert pmc.splits == ("train", "test")
    assert [pmc.case("test", k).answer.value for k in (0, 1)] == ["Heart", "One"]
    assert pmc.provenance("test").notes[0] == "PMC-VQA v2 test has 33,430 questions; found 2"


def test_pictures_may_be_unpacked_anywhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("figures")
    save(elsewhere / "figures" / FIGURE, 0)
    for archive in folder.glob("*.zip"):
        archive.unlink()
    with pytest.raises(ValueError, match="no row can be used"):
        task("pmc_vqa_v2", folder).size("test")
    assert task("pmc_vqa_v2", folder, pictures=str(elsewhere)).case("test", 0).images


def test_the_older_spelling_is_read(folder: Path) -> None:
    assert task("pmc_vqa", folder).case("train", 0).answer.value == "Focal uptake"
