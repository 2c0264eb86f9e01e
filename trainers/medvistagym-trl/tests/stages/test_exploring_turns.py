"""Episodes that begin with a call drawn at random: what is drawn, and what is learnt of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvistagym_core.environment import make_task
from medvistagym_trl._recipe import RecipeError, check_recipe
from medvistagym_trl.rollout import training_cases
from medvistagym_trl.stages import ExploringTurns, forget_worse_turns, train_grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_a_drawn_turn_is_a_valid_call_of_any_tool(context: Any, model: Any) -> None:
    draw = ExploringTurns(context, model, 0.5, seed=0)
    turns = draw.draw(3, 0, [1] * 64)
    assert 16 < len(turns) < 48
    assert draw.draw(3, 0, [1] * 64) == turns
    assert draw.draw(4, 0, [1] * 64) != turns
    called = set()
    for turn in turns.values():
        assert turn[-1] == model.tokenizer.eos_token_id
        (call,) = context.config.protocol.parse(model.tokenizer.decode(turn[:-1])).calls
        context.toolbox[call.name].validate(call.arguments)
        called.add(call.name)
    assert called == set(context.toolbox)


def test_only_a_turn_that_did_better_than_its_group_is_learnt_from() -> None:
    output = {
        "advantages": torch.tensor([0.5, -0.5, 0.0]),
        "tool_mask": torch.ones(3, 4),
        "completion_mask": torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]),
    }
    forget_worse_turns(output, {0: 2, 1: 2}, lambda total: total)
    assert output["tool_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert float(output["num_items_in_batch"]) == 4 + 1 + 4


def test_a_policy_that_never_calls_tries_tools(context: Any, make_model: Any, recipe: Any, tmp_path: Any) -> None:
    """An untrained model writes no call that can be read; those that are drawn are run, and left out of what is counted."""
    seen: list[int] = []
    trainer = train_grpo(
        make_model(),
        context,
        recipe.with_overrides({"grpo.exploration": 0.5, "grpo.steps": 1}),
        cases=training_cases(context, 0, 2),
        completion=96,
        folder=tmp_path,
        record=lambda episodes: seen.append(len(episodes)) or {},
        callbacks=[],
    )
    metrics = [line for line in trainer.state.log_history if "explored" in line]
    explored = metrics[0]["explored"]
    assert 0 < explored < 1
    assert seen == [round(8 * (1 - explored))]
    assert metrics[0]["tools/call_frequency"] >= explored


def test_a_checkpoint_is_not_made_to_explore(recipe: Any, registry: Any) -> None:
    large = recipe.with_overrides({"grpo.exploration": 0.1, "episode.compact": False})
    with pytest.raises(RecipeError, match="draws calls for a tiny model"):
        check_recipe(large, [make_task(registry, "toy", {})])
