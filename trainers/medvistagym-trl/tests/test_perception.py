"""Looks: what each cell of a picture is said to hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from medvistagym_core import Box, Image
from medvistagym_core.environment import PerceptionItem
from medvistagym_trl.batch import IGNORED
from medvistagym_trl.perception import LookCollator, cell_words, look_accuracy, train_perception

PICTURE = Image(pixels=np.zeros((32, 32), np.uint8))


def test_a_region_names_the_cells_it_covers() -> None:
    look = PerceptionItem(PICTURE, "?", "left", ((Box(0, 0, 500, 1000), "left"),))
    words = cell_words(look, 2, 2, 1.0, random.Random(0))
    assert words == ["left", "unclear", "left", "unclear"]


def test_a_cell_that_is_merely_touched_is_left_out() -> None:
    look = PerceptionItem(PICTURE, "?", "left", ((Box(0, 0, 600, 1000), "left"),))
    words = cell_words(look, 2, 2, 1.0, random.Random(0))
    assert words == ["left", None, "left", None]


def test_a_small_region_counts_where_it_lies() -> None:
    look = PerceptionItem(PICTURE, "?", "dot", ((Box(10, 10, 60, 60), "dot"),))
    assert cell_words(look, 4, 4, 1.0, random.Random(0))[0] == "dot"


def test_most_empty_cells_are_left_out() -> None:
    words = cell_words(PerceptionItem(PICTURE, "?", "x"), 8, 8, 0.2, random.Random(0))
    assert words.count("unclear") == 13
    assert words.count(None) == 51


def test_labels_stand_after_the_cell_they_name(policy: Any, world: Any, task: Any) -> None:
    collate = LookCollator(world, task, policy.processor, 1.0)
    batch = collate([0, 1])
    ids, labels = batch["input_ids"], batch["labels"]
    names = {policy.tokenizer.convert_tokens_to_ids(word) for word in ("dark", "bright", "unclear")}
    for row, target in zip(ids, labels, strict=True):
        cells = (row == policy.processor.image_token_id).nonzero().flatten()
        assert {int(target[cell + 1]) for cell in cells} <= names | {IGNORED}
        assert any(int(target[cell + 1]) != IGNORED for cell in cells)


def test_training_lowers_the_loss(policy: Any, world: Any, task: Any, recipe: Any) -> None:
    lines: list[dict[str, float]] = []
    warm = recipe.perception.model_copy(update={"steps": 50, "batch": 16})
    train_perception(policy.model, policy.processor, world, task, warm, log=lines.append)
    assert [line["step"] for line in lines] == [25, 50]
    assert lines[1]["loss"] < 0.9 * lines[0]["loss"]
    looks = [task.look("test", index) for index in range(8)]
    assert set(look_accuracy(policy.model, policy.processor, world, looks)) == {"Is the square"}
