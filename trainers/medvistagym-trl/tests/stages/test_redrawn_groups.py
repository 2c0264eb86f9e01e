"""Groups whose episodes all earned the same are played again with other cases, or count nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvistagym_trl.run import episode_metrics
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

CALL = '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>'
ANSWERS = ("<answer>dark</answer>", "<answer>bright</answer>")
GAVE_UP = "<answer>unclear</answer>"


class Scripted(BatchedToolGRPOTrainer):
    """The first group calls a tool and gives up, in every row, until it was drawn again `stubborn` times."""

    stubborn = 1
    again = 0
    equal = True

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.generation_config.max_new_tokens = 4  # none of them is kept
        super()._write_turns(prompt_ids, *args, **kwargs)
        if self._completions is None:  # no tool was called yet
            self.again += self.batch_rows is not None
            self.equal = self.again < self.stubborn
            rows = self.batch_rows or range(8)
            turns = [CALL if row == 0 or (row < 4 and self.equal) else ANSWERS[row % 2] for row in rows]
        else:
            turns = [GAVE_UP if self.equal else ANSWERS[0]] * len(prompt_ids)
        return [self.processing_class.tokenizer(turn + "<|im_end|>")["input_ids"] for turn in turns], None

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


def train(
    recipe: Any, context: Any, folder: Path, stubborn: int, **changes: Any
) -> tuple[Any, list[Any], dict[str, float]]:
    settings = recipe.with_overrides(
        {"grpo.steps": 1, "grpo.zero_variance": "redraw", "grpo.parity.logprobs_every": 1, **changes}
    )
    episodes: list[Any] = []
    trainer: Any = train_grpo(
        build_untrained_model(settings.model, context, 0), context, settings, cases=[0, 1], completion=128,
        folder=folder, record=lambda batch: episodes.extend(batch) or episode_metrics(batch), redraw_cases=[40, 41, 42, 43],
        trainer_class=type("Stubborn", (Scripted,), {"stubborn": stubborn}),
    )  # fmt: skip
    (log,) = [line for line in trainer.state.log_history if "loss" in line]
    return trainer, episodes, log


def test_other_cases_take_the_rows_of_a_group_that_earned_the_same(recipe: Any, context: Any, tmp_path: Path) -> None:
    trainer, episodes, log = train(recipe, context, tmp_path, 1)
    assert [each.case.index for each in episodes] == [40] * 4 + [1] * 4
    assert log["groups/redrawn"] == 0.5
    assert log["groups/zero_variance"] == 0.0
    # The certificate has compared what was drawn again, its images included.
    assert log["parity/rows"] == 8
    assert log["parity/logprob_difference"] < 1e-4
    assert trainer.scored["advantages"].abs().sum() > 0
    # So are TRL's metrics: of the rows that are learnt from, one of which calls a tool.
    written = (trainer.scored["tool_mask"] * trainer.scored["completion_mask"]).sum(1).float()
    for name, value in (("mean", written.mean()), ("min", written.min()), ("max", written.max())):
        assert log[f"completions/{name}_length"] == float(value)
        assert log[f"completions/{name}_terminated_length"] == float(value)
    assert log["completions/clipped_ratio"] == 0.0
    assert log["tools/call_frequency"] == 1 / 8
    assert log["tools/failure_frequency"] == 0.0
    prompts = [trainer.processing_class.tokenizer.decode(ids) for ids in trainer.scored["prompt_ids"]]
    assert len(set(prompts)) == 1  # the question is the same in all cases; its picture is not
    assert trainer.unbatched_calls == 0


@pytest.mark.slow
def test_a_group_that_stays_equal_counts_nothing(recipe: Any, context: Any, tmp_path: Path) -> None:
    trainer, episodes, log = train(recipe, context, tmp_path, 9)
    assert [each.case.index for each in episodes] == [41] * 4 + [1] * 4
    assert log["groups/zero_variance"] == 0.5
    mask = trainer.scored["tool_mask"]
    assert mask.any(1).tolist() == [True] * 4  # those of the other group are not learnt from


def test_metrics_of_replaced_rollouts_are_those_of_trl(recipe: Any, context: Any, tmp_path: Path) -> None:
    class Compares(Scripted):
        equal = False

        def _write_turns(self, *args: Any, **kwargs: Any) -> Any:
            turns, rest = super()._write_turns(*args, **kwargs)
            if self._completions is None:
                # A tool that there is not, and a turn that does not end.
                write = self.processing_class.tokenizer
                turns[1] = write(CALL.replace("mirror", "nothing") + "<|im_end|>")["input_ids"]
                turns[2] = write("<answer>dark")["input_ids"]
            return turns, rest

        def _generate(self, prompts: Any) -> Any:
            rollouts = super()._generate(prompts)
            self.computed = self._completion_metrics(rollouts)
            return rollouts

    settings = recipe.with_overrides({"grpo.steps": 1})
    trainer: Any = train_grpo(
        build_untrained_model(settings.model, context, 0), context, settings, cases=[0, 1], completion=128,
        folder=tmp_path, record=lambda _: {}, trainer_class=type("Unequal", (Compares,), {"stubborn": 0}),
    )  # fmt: skip
    (log,) = [line for line in trainer.state.log_history if "loss" in line]
    names = {name for name in log if name.startswith(("completions/", "tools/"))}
    assert trainer.computed == pytest.approx({name: log[name] for name in names})
    assert log["tools/failure_frequency"] == 0.5
    assert log["completions/clipped_ratio"] == 1 / 8
