"""Cases: deterministic, disjoint between splits, and silent about their answers."""

from __future__ import annotations

import collections
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from medvistagym_core.environment.grading import grade
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, ScoutVQA
from medvistagym_scoutvqa._scenes import ANSWERS
from medvistagym_scoutvqa._studies import STUDIES, study_path

TASKS = pytest.mark.parametrize("task", [SCOUTVQA, CHAIN], ids=lambda task: task.name)
DIGESTS = """
import hashlib
from medvistagym_scoutvqa import CHAIN, SCOUTVQA
total = hashlib.sha256()
for task in (SCOUTVQA, CHAIN):
    for split in task.splits:
        for index in {order}:
            case = task.case(split, index, seed=3)
            total.update(f"{{case.id}} {{case.question}} {{case.answer.value}} {{case.images[0].digest}}".encode())
            total.update(task.look(split, index).answer.encode())
print(total.hexdigest())
"""


def test_a_case_is_the_same_in_every_process() -> None:
    def digest(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        code = DIGESTS.format(order=list(range(6)))
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert digest("1") == digest("2")


@TASKS
def test_the_order_in_which_cases_are_asked_for_changes_nothing(task: ScoutVQA) -> None:
    forward = [task.case("test", index).images[0].digest for index in range(8)]
    backward = [task.case("test", index).images[0].digest for index in reversed(range(8))]
    assert forward == backward[::-1]


@TASKS
def test_splits_seeds_and_indices_give_different_cases(task: ScoutVQA) -> None:
    keys = itertools.product(task.splits, (0, 1), range(8))
    digests = [task.case(split, index, seed).images[0].digest for split, seed, index in keys]
    assert len(set(digests)) == len(digests)


@TASKS
def test_perception_items_are_not_the_cases_of_the_same_index(task: ScoutVQA) -> None:
    items = {look.image.digest for look in (task.look("test", i) for i in range(40)) if look.image is not None}
    assert items.isdisjoint(task.case("test", index).images[0].digest for index in range(40))


def test_no_file_is_in_two_splits() -> None:
    names = [name for split in STUDIES.values() for name in split]
    assert len(set(names)) == len(names)
    assert {"train", "validation", "test"} == set(STUDIES)


def test_families_take_turns() -> None:
    families = [SCOUTVQA.case("train", index).family for index in range(8)]
    assert families == ["window", "zoom", "measure", "direct"] * 2


@TASKS
def test_a_case_is_an_overview_in_hu(task: ScoutVQA) -> None:
    for index in range(8):
        (image,) = task.case("test", index).images
        assert image.pixels.shape == (256, 256)
        assert image.pixels.dtype == np.int16
        assert image.unit == "HU"
        assert -1024 <= image.pixels.min() <= image.pixels.max() <= 3071
        assert image.view(64).shape == (64, 64)
        assert not image.attributes


def test_a_scout_shows_16_hu_a_grey_level() -> None:
    image = SCOUTVQA.case("test", 0).images[0]
    blocks = image.pixels.reshape(64, 4, 64, 4).mean((1, 3))
    inside = blocks < 3000
    assert np.abs(blocks - (image.view(64) * 16.0 - 1032))[inside].max() <= 8


@TASKS
def test_nothing_beside_the_answer_says_the_answer(task: ScoutVQA) -> None:
    for index in range(60):
        case = task.case("test", index)
        text = " ".join([case.id, case.question, *case.images[0].attributes.values()])
        assert case.answer.value not in text
        assert case.options == ANSWERS[case.family]
        assert "answer" not in repr(case)
        assert "truth" not in repr(case)


def test_every_answer_comes_about_equally_often() -> None:
    for family, first in zip(SCOUTVQA.families, range(4), strict=True):
        counts = collections.Counter(SCOUTVQA.case("train", first + 4 * k).answer.value for k in range(300))
        assert set(counts) == set(ANSWERS[family])
        assert max(counts.values()) < 1.5 * 300 / len(ANSWERS[family])


def test_answers_are_graded() -> None:
    case = SCOUTVQA.case("test", 2)
    wrong = next(answer for answer in case.options if answer != case.answer.value)
    assert grade(case.answer, case.answer.value, options=case.options, abstention=SCOUTVQA.abstention).correct
    assert not grade(case.answer, wrong, options=case.options, abstention=SCOUTVQA.abstention).correct
    assert grade(case.answer, "unclear", options=case.options, abstention=SCOUTVQA.abstention).abstained


@TASKS
def test_the_vocabulary_holds_answers_and_the_numbers_of_the_grid(task: ScoutVQA) -> None:
    words = task.vocabulary()
    assert len(set(words)) == len(words)
    assert {task.abstention, "0", "125", "1000", "-700"} < set(words)
    assert {answer for family in task.families for answer in ANSWERS[family]} < set(words)


@pytest.mark.parametrize(("split", "index", "seed"), [("dev", 0, 0), ("test", -1, 0), ("test", 0, -1)])
def test_what_does_not_exist_is_refused(split: str, index: int, seed: int) -> None:
    with pytest.raises(ValueError, match=r"no split|start at 0"):
        SCOUTVQA.case(split, index, seed)


def test_a_missing_study_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.dcm.*pip install pydicom-data"):
        study_path("absent.dcm")
