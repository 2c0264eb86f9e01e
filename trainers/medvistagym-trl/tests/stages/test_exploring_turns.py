"""Episodes that begin with a call drawn at random: what is drawn, and what is learnt of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medvistagym_core.environment import make_task
from medvistagym_trl._recipe import GrpoRecipe, RecipeError, check_recipe
from medvistagym_trl.rollout import training_cases
from medvistagym_trl.stages import (
    BatchedToolGRPOTrainer,
    EpisodeRewardFunction,
    ExploringTurns,
    forget_worse_openings,
    train_grpo,
)
from medvistagym_trl.stages._exploring_turns import ExploringTrainer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


class KeepsScored(BatchedToolGRPOTrainer):
    """Keeps the batch that is learnt from."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


def make_turns(context: Any, model: Any, **settings: Any) -> ExploringTurns:
    return ExploringTurns(context.toolbox.specs, context.schemas, model, GrpoRecipe(**settings), seed=0)


def test_a_drawn_turn_begins_with_the_call_of_any_tool(context: Any, model: Any) -> None:
    draw = make_turns(context, model, exploration=0.5)
    openings = draw.draw(3, 0, 64)
    assert 16 < len(openings) < 48
    assert draw.draw(3, 0, 64) == openings
    assert draw.draw(4, 0, 64) != openings
    assert {model.tokenizer.decode(opening) for opening in openings.values()} == {
        '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [',
        '<tool_call>{"name": "mirror", "arguments": {"image": ',
    }


def test_exploration_falls_to_nothing_over_its_steps(context: Any, model: Any) -> None:
    draw = make_turns(context, model, exploration=0.8, exploration_steps=20)
    counts = [len(draw.draw(step, 0, 400)) for step in (0, 10, 19, 20, 30)]
    assert 280 < counts[0] < 360
    assert 120 < counts[1] < 200
    assert 0 < counts[2] < 40
    assert counts[3:] == [0, 0]


def test_only_an_opening_that_did_better_than_its_group_is_learnt_from() -> None:
    output = {
        "advantages": torch.tensor([0.5, -0.5, 0.0]),
        "tool_mask": torch.ones(3, 4),
        "completion_mask": torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]),
    }
    forget_worse_openings(output, {0: 2, 1: 2}, lambda total: total)
    assert output["tool_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert float(output["num_items_in_batch"]) == 4 + 1 + 4


def test_a_process_without_openings_tells_its_tokens_as_the_others_do(context: Any, model: Any) -> None:
    """Else the others would wait for it."""
    told: list[int] = []
    scored = {"advantages": torch.ones(2), "completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}

    class Scores:
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            return dict(scored)

    class Explores(ExploringTrainer, Scores):
        accelerator = SimpleNamespace(gather=lambda total: told.append(int(total)) or total)

    trainer: Any = Explores()
    trainer.exploring = make_turns(context, model, exploration=0.5)
    assert int(trainer._generate_and_score_completions(None)["num_items_in_batch"]) == 5
    assert told == [5]
    trainer.exploring = None
    assert trainer._generate_and_score_completions(None) == scored
    assert told == [5]


@pytest.mark.parametrize("other", [True, False])
def test_what_is_counted_of_explored_episodes_is_decided_by_all_processes(
    other: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of this process's episodes are explored, and those of another are as well, or are not."""
    monkeypatch.setattr(
        "medvistagym_trl.stages._episode_reward.gather_from_ranks", lambda values: [*values, other, other]
    )
    episode = SimpleNamespace(score=SimpleNamespace(total=1.0))
    adapter = SimpleNamespace(explored=True, episode=episode, lost_result=False, finish=lambda chat: episode)
    recorded: list[int] = []
    logged: dict[str, float] = {}
    reward = EpisodeRewardFunction(lambda episodes: recorded.append(len(episodes)) or {})
    environments: Any = [SimpleNamespace(adapter=adapter)] * 2
    assert reward([[], []], environments, logged.__setitem__) == [1.0, 1.0]
    assert recorded == [2 if other else 0]
    assert logged == {"explored": 1.0 if other else 0.5}


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
    openings = make_turns(context, model, exploration=0.5).draw(0, 0, 8)
    for row, opening in openings.items():
        assert trainer.scored["completion_ids"][row, : len(opening)].tolist() == opening
    metrics = [line for line in trainer.state.log_history if "explored" in line]
    explored = metrics[0]["explored"]
    assert 0 < explored == len(openings) / 8 < 1
    assert seen == [round(8 * (1 - explored))]
    assert trainer.unbatched_calls == 0


def test_an_opening_and_a_turn_that_never_ends_fit_into_the_completion(
    context: Any, make_model: Any, recipe: Any, tmp_path: Any
) -> None:
    trainer: Any = train_grpo(
        make_model(),
        context,
        recipe.with_overrides({"grpo.exploration": 0.9, "grpo.steps": 1}),
        cases=training_cases(context, 0, 2),
        completion=24,
        folder=tmp_path,
        record=lambda episodes: {},
        trainer_class=KeepsScored,
    )
    assert trainer.scored["completion_mask"].sum(1).max() == 24


def test_a_checkpoint_is_not_made_to_explore(recipe: Any, registry: Any) -> None:
    large = recipe.with_overrides({"grpo.exploration": 0.1, "episode.compact": False})
    with pytest.raises(RecipeError, match="draws calls for a tiny model"):
        check_recipe(large, [make_task(registry, "toy", {})])


def test_exploring_needs_the_log_probabilities_of_transformers(recipe: Any, registry: Any) -> None:
    engine = recipe.with_overrides({"grpo.exploration": 0.1, "trl.grpo.use_vllm": True})
    with pytest.raises(RecipeError, match="log-probabilities of vLLM lack the tokens that were drawn"):
        check_recipe(engine, [make_task(registry, "toy", {})])
