"""Reinforcement learning through TRL: the prompt, the mask, the log-probabilities, the tool phase."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medvistagym_core.execution import LocalExecutor
from medvistagym_core.rollouts import verify
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl import grpo
from medvistagym_trl.diary import Diary
from medvistagym_trl.grpo import GroupedGRPOTrainer, train_grpo
from medvistagym_trl.metrics import Drift, count
from medvistagym_trl.policy import build_policy

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

TURNS = (
    '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}</tool_call>',
    '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>',
    '<tool_call>{"name": "mirror", "arguments": {"image": 9}}</tool_call>',
    '<tool_call>{"name": "nothing", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "shade", "argum</tool_call>',
    "<answer>bright</answer>",
    "<answer>unclear</answer>",
)


class Told(GroupedGRPOTrainer):
    """Writes set turns in place of sampled ones, and keeps what was made of them."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        super()._generate_single_turn(prompt_ids, *args, **kwargs)
        turns = [TURNS[(row + len(ids)) % len(TURNS)] + "<|im_end|>" for row, ids in enumerate(prompt_ids)]
        return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    def _generate(self, prompts: Any) -> Any:
        self.made = super()._generate(prompts)
        return self.made

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


@pytest.fixture(scope="module")
def told(world: Any, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    seen: list[Any] = []
    settings = recipe.grpo.model_copy(update={"steps": 1, "completions": 16})
    policy = build_policy(recipe.model, world, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo, "GroupedGRPOTrainer", Told)
        folder = tmp_path_factory.mktemp("grpo")
        trainer = train_grpo(policy, world, settings, offset=0, seed=0, folder=folder, record=seen.extend)
    return trainer, seen


def test_no_call_misses_the_tool_phase(told: Any) -> None:
    trainer, seen = told
    assert trainer.missed == 0
    assert len(seen) == 16
    assert any(episode.calls for episode in seen)


def test_the_prompt_carries_the_exact_schemas(told: Any, world: Any) -> None:
    trainer, _ = told
    prompt = trainer.processing_class.tokenizer.decode(trainer.made[0][0], skip_special_tokens=False)
    for schema in world.toolbox.schemas("huggingface"):
        assert json.dumps(schema, ensure_ascii=False) in prompt


def test_what_tools_said_carries_no_loss(told: Any) -> None:
    trainer, _ = told
    tokenizer = trainer.processing_class.tokenizer
    _, completions, masks, *_ = trainer.made
    for ids, mask in zip(completions, masks, strict=True):
        written = tokenizer.decode([t for t, m in zip(ids, mask, strict=True) if m], skip_special_tokens=False)
        told_to = tokenizer.decode([t for t, m in zip(ids, mask, strict=True) if not m], skip_special_tokens=False)
        assert "<|im_start|>tool" not in written
        assert "<|image_pad|>" not in written
        assert "mean" not in written
        assert "<answer>" not in told_to
        assert "<tool_call>" not in told_to


def test_log_probabilities_are_those_of_a_clean_forward(told: Any) -> None:
    trainer, _ = told
    model, processor = trainer.model.eval(), trainer.processing_class
    prompts, completions, _, _, _, _, images, _ = trainer.made
    scored = trainer.scored
    fields = {key: scored[key] for key in ("pixel_values", "image_grid_thw", "mm_token_type_ids") if key in scored}
    ids = torch.cat([scored["prompt_ids"], scored["completion_ids"]], 1)
    attention = torch.cat([scored["prompt_mask"], scored["completion_mask"]], 1)
    with torch.no_grad():
        length = scored["completion_ids"].size(1)
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            model, ids, attention, length, batch_size=4, num_images=scored["num_images"], **fields
        )
        worst = 0.0
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            whole = torch.tensor([prompt + completion])
            pictures = processor.image_processor(images=images[row], return_tensors="pt")
            kinds = (whole == processor.image_token_id).long()
            logits = model(input_ids=whole, mm_token_type_ids=kinds, **pictures).logits[0] / trainer.temperature
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(-1, whole[0, len(prompt) :, None])[:, 0]
            worst = max(worst, float((wanted - found[row, : len(completion)]).abs().max()))
    assert worst < 1e-4


def test_every_turn_ends_as_the_core_says(told: Any) -> None:
    _, seen = told
    for episode in seen:
        assert episode.done
        assert episode.score.total in {1.0, 0.8, 0.6, 0.0, -0.5}


def test_episodes_are_counted_whole_by_family_by_tool_and_by_error(told: Any) -> None:
    _, seen = told
    metrics = count(seen)
    n = len(seen)
    kinds = {"accuracy", "abstained", "calls"}  # the toy task does not know who is informed
    assert {name for name in metrics if "/" not in name} == kinds
    assert {name.split("/")[1] for name in metrics if name.startswith(("hidden/", "plain/"))} == kinds
    assert metrics["accuracy"] == (metrics["hidden/accuracy"] + metrics["plain/accuracy"]) / 2
    calls = [call.name for episode in seen for step in episode.steps for call in step.turn.calls]
    assert metrics["calls"] == len(calls) / n
    assert metrics["tool/mirror"] == calls.count("mirror") / n > 0
    assert metrics["tool/shade"] == calls.count("shade") / n > 0
    assert metrics["error/bad_value"] > 0
    assert metrics["error/timeout"] == 0
    assert count([]) == {}


def test_episodes_of_training_are_kept_once_and_can_be_replayed(told: Any, registry: Any, tmp_path: Path) -> None:
    _, seen = told
    path = tmp_path / "training.jsonl"
    for _ in range(2):  # a run that goes on may come by a step again
        Diary(path, {"temperature": 0.5, "seed": 0}).write(1, seen)
    records = list(TrajectoryReader(path))
    assert [record.sample for record in records] == [0, 1, 2, 3] * 4
    assert len({record.id for record in records}) == len(records) == 16
    assert records[0].policy.sampling == {"temperature": 0.5, "seed": 0, "step": 1}
    assert all(turn.policy_seconds > 0 for record in records for turn in record.turns)
    assert any(call.seconds > 0 and not call.cached for r in records for t in r.turns for call in t.calls)
    report = verify(path, registry, LocalExecutor)
    assert report.same
    assert report.exact > 0


def drifted(lengths: list[float], calls: list[float]) -> list[str]:
    drift = Drift()
    steps = [{"completions/mean_length": a, "calls": b} for a, b in zip(lengths, calls, strict=True)]
    return [sentence for step in steps for sentence in drift.notice(step)]


def test_a_policy_that_learns_to_call_is_no_drift() -> None:
    assert drifted([6.0] * 10 + [10.5] * 40, [0.2] * 10 + [0.75] * 40) == []


def test_turns_that_grow_are_said_once() -> None:
    (said,) = drifted([6.0] * 10 + [14.0] * 40, [0.0] * 50)
    assert "turns have grown from 6 to " in said


def test_tools_that_fall_out_of_use_are_said_once() -> None:
    (said,) = drifted([6.0] * 50, [0.7] * 20 + [0.01] * 30)
    assert "tools fall out of use, from 0.70 calls an episode to " in said
