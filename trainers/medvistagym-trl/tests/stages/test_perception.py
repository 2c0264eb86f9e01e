"""Looks: what each cell of a picture is said to hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from medvistagym_core import Box, Image
from medvistagym_core.environment import PerceptionItem
from medvistagym_trl._recipe import PerceptionRecipe
from medvistagym_trl.model import IGNORE_INDEX
from medvistagym_trl.stages import PerceptionCollator, patch_labels, perception_accuracy, train_perception

PICTURE = Image(pixels=np.zeros((32, 32), np.uint8))


def test_a_region_names_the_cells_it_covers() -> None:
    look = PerceptionItem(PICTURE, "?", "left", ((Box(0, 0, 500, 1000), "left"),))
    words = patch_labels(look, 2, 2, 1.0, random.Random(0))
    assert words == ["left", "unclear", "left", "unclear"]


def test_a_cell_that_is_merely_touched_is_left_out() -> None:
    look = PerceptionItem(PICTURE, "?", "left", ((Box(0, 0, 600, 1000), "left"),))
    words = patch_labels(look, 2, 2, 1.0, random.Random(0))
    assert words == ["left", None, "left", None]


def test_a_small_region_counts_where_it_lies() -> None:
    look = PerceptionItem(PICTURE, "?", "dot", ((Box(10, 10, 60, 60), "dot"),))
    assert patch_labels(look, 4, 4, 1.0, random.Random(0))[0] == "dot"


def test_most_empty_cells_are_left_out() -> None:
    words = patch_labels(PerceptionItem(PICTURE, "?", "x"), 8, 8, 0.2, random.Random(0))
    assert words.count("unclear") == 13
    assert words.count(None) == 51


def test_labels_stand_after_the_cell_they_name(model: Any, context: Any, task: Any) -> None:
    collate = PerceptionCollator(context, task, model.processor, 1.0, model.end_of_turn)
    batch = collate([0, 1])
    ids, labels = batch["input_ids"], batch["labels"]
    names = {model.tokenizer.convert_tokens_to_ids(word) for word in ("dark", "bright", "unclear")}
    for row, target in zip(ids, labels, strict=True):
        cells = (row == model.processor.image_token_id).nonzero().flatten()
        assert {int(target[cell + 1]) for cell in cells} <= names | {IGNORE_INDEX}
        assert any(int(target[cell + 1]) != IGNORE_INDEX for cell in cells)


def test_an_item_read_as_a_result_stands_after_the_picture_of_the_item_before(
    model: Any, context: Any, task: Any
) -> None:
    collate = PerceptionCollator(context, task, model.processor, 1.0, model.end_of_turn, as_results=1.0)
    first, second = collate.chats([0, 1])
    assert second.pictured == (first.pictured[1], second.pictured[1])
    question, result, answer = second.conversation[-3:]
    assert [message["role"] for message in (question, result, answer)] == ["user", "tool", "assistant"]
    assert [block["type"] for block in question["content"]] == ["image", "text"]
    assert [block["type"] for block in result["content"]] == ["image"]
    assert result["content"][0]["image"].tobytes() == task.look("train", 1).image.to_pil(32).convert("RGB").tobytes()
    assert not any("tool_call" in str(message) for message in (question, result, answer))


def test_both_pictures_of_a_result_are_labelled(model: Any, context: Any, task: Any) -> None:
    plain = PerceptionCollator(context, task, model.processor, 1.0, model.end_of_turn)([0, 1])
    twice = PerceptionCollator(context, task, model.processor, 1.0, model.end_of_turn, as_results=1.0)([0, 1])

    def words(batch: Any, row: int) -> list[int]:
        cells = (batch["input_ids"][row] == model.processor.image_token_id).nonzero().flatten()
        return [int(batch["labels"][row, cell + 1]) for cell in cells]

    assert words(twice, 1) == words(plain, 0) + words(plain, 1)
    with pytest.raises(ValueError, match="less than or equal to 1"):
        PerceptionRecipe(as_results=1.5)


def test_training_lowers_the_loss(model: Any, context: Any, task: Any, recipe: Any) -> None:
    lines: list[dict[str, float]] = []
    warm = recipe.perception.model_copy(update={"steps": 50, "batch": 4})
    train_perception(model, context, task, warm, log=lines.append)
    assert [line["step"] for line in lines] == [25, 50]
    assert lines[1]["loss"] < 0.9 * lines[0]["loss"]
    looks = [task.look("test", index) for index in range(8)]
    alone = perception_accuracy(model, context, looks)
    behind = perception_accuracy(model, context, looks, as_results=True)
    assert set(alone) == set(behind) == {"Is the square"}


def test_items_are_read_as_results_in_further_steps(model: Any, context: Any, task: Any, recipe: Any) -> None:
    lines: list[dict[str, float]] = []
    warm = recipe.perception.model_copy(update={"steps": 2, "result_steps": 3, "batch": 4, "as_results": 1.0})
    train_perception(model, context, task, warm, log=lines.append)
    assert [line["step"] for line in lines] == [2, 5]


def test_the_warm_up_computes_with_threads_of_its_own(model: Any, context: Any, task: Any, recipe: Any) -> None:
    before, counts = torch.get_num_threads(), []
    warm = recipe.perception.model_copy(update={"steps": 1, "batch": 4, "threads": before + 1})
    train_perception(model, context, task, warm, log=lambda _: counts.append(torch.get_num_threads()))
    assert counts == [before + 1]
    assert torch.get_num_threads() == before
