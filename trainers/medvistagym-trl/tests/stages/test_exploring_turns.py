"""Episodes that begin with a call drawn at random: what is drawn, and what is learnt of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvistagym_core.environment import make_task
from medvistagym_trl._recipe import RecipeError, check_recipe
from medvistagym_trl.rollout import training_cases
from medvistagym_trl.stages import BatchedToolGRPOTrainer, ExploringTurns, forget_worse_stems, train_grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


class KeepsScored(BatchedToolGRPOTrainer):
    """Keeps the batch that is learnt from."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


def test_a_drawn_turn_begins_with_the_call_of_any_tool(context: Any, model: Any) -> None:
    draw = ExploringTurns(context.schemas, model, 0.5, seed=0)
    stems = draw.draw(3, 0, 64)
    assert 16 < len(stems) < 48
    assert draw.draw(3, 0, 64) == stems
    assert draw.draw(4, 0, 64) != stems
    assert {model.tokenizer.decode(stem) for stem in stems.values()} == {
        f'<tool_call>{{"name": "{name}", "arguments": {{"image": ' for name in context.toolbox
    }


def test_only_a_stem_that_did_better_than_its_group_is_learnt_from() -> None:
    output = {
        "advantages": torch.tensor([0.5, -0.5, 0.0]),
        "tool_mask": torch.ones(3, 4),
        "completion_mask": torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]),
    }
    forget_worse_stems(output, {0: 2, 1: 2}, lambda total: total)
    assert output["tool_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert float(output["num_items_in_batch"]) == 4 + 1 + 4


def test_a_policy_that_never_calls_tries_tools(context: Any, make_model: Any, recipe: Any, tmp_path: Any) -> None:
    """Episodes that were begun for it are left out of what is counted; the policy goes on with the turn."""
    seen: list[int] = []
    model = make_model()
    trainer: Any = train_grpo(
        model,
        context,
        recipe.with_overrides({"grpo.exploration": 0.5, "grpo.steps": 1}),
        cases=training_cases(context, 0, 2),
        completion=96,
        folder=tmp_path,
        record=lambda episodes: seen.append(len(episodes)) or {},
        trainer_class=KeepsScored,
    )
    stems = ExploringTurns(context.schemas, model, 0.5, recipe.seed).draw(0, 0, 8)
    for row, stem in stems.items():
        assert trainer.scored["completion_ids"][row, : len(stem)].tolist() == stem
    metrics = [line for line in trainer.state.log_history if "explored" in line]
    explored = metrics[0]["explored"]
    assert 0 < explored == len(stems) / 8 < 1
    assert seen == [round(8 * (1 - explored))]
    assert trainer.unbatched_calls == 0


def test_a_checkpoint_is_not_made_to_explore(recipe: Any, registry: Any) -> None:
    large = recipe.with_overrides({"grpo.exploration": 0.1, "episode.compact": False})
    with pytest.raises(RecipeError, match="draws calls for a tiny model"):
        check_recipe(large, [make_task(registry, "toy", {})])


def test_exploring_needs_the_log_probabilities_of_transformers(recipe: Any, registry: Any) -> None:
    engine = recipe.with_overrides({"grpo.exploration": 0.1, "trl.grpo.use_vllm": True})
    with pytest.raises(RecipeError, match="log-probabilities of vLLM lack the tokens that were drawn"):
        check_recipe(engine, [make_task(registry, "toy", {})])
