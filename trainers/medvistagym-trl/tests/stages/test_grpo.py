"""Reinforcement learning through TRL: the prompt, the mask, the log-probabilities, batched tool calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_trl.stages import BatchedToolGRPOTrainer, train_grpo
from medvistagym_trl.stages._equal_groups import differs_in_group, drop_equal_groups, rows_to_learn

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


def collect(episodes: list[Any]) -> Any:
    """Keeps the finished episodes, and gives no metrics of them."""
    return lambda batch: episodes.extend(batch) or {}


class Scripted(BatchedToolGRPOTrainer):
    """Writes set turns in place of sampled ones, and keeps what was made of them."""

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        super()._write_turns(prompt_ids, *args, **kwargs)
        turns = [TURNS[(row + len(ids)) % len(TURNS)] + "<|im_end|>" for row, ids in enumerate(prompt_ids)]
        return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    def _generate(self, prompts: Any) -> Any:
        self.generation_config.max_new_tokens = 2  # none of them is kept
        self.made = super()._generate(prompts)
        return self.made

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


@pytest.fixture(scope="module")
def trained(make_model: Any, context: Any, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    seen: list[Any] = []
    settings = recipe.with_overrides({"grpo.completions": 16})
    model = make_model()
    folder = tmp_path_factory.mktemp("grpo")
    trainer = train_grpo(
        model,
        context,
        settings,
        cases=range(4),
        completion=128,
        folder=folder,
        record=collect(seen),
        trainer_class=Scripted,
    )
    return trainer, seen


def test_no_call_is_run_alone(trained: Any) -> None:
    trainer, seen = trained
    assert trainer.unbatched_calls == 0
    assert len(seen) == 16
    assert any(episode.calls for episode in seen)


def test_the_prompt_carries_the_exact_schemas(trained: Any, context: Any) -> None:
    trainer, _ = trained
    prompt = trainer.processing_class.tokenizer.decode(trainer.made[0][0], skip_special_tokens=False)
    for schema in context.toolbox.schemas("huggingface"):
        assert json.dumps(schema, ensure_ascii=False) in prompt


def test_what_tools_said_carries_no_loss(trained: Any) -> None:
    trainer, _ = trained
    tokenizer = trainer.processing_class.tokenizer
    _, completions, masks, *_ = trainer.made
    for ids, mask in zip(completions, masks, strict=True):
        written = tokenizer.decode([t for t, m in zip(ids, mask, strict=True) if m], skip_special_tokens=False)
        read = tokenizer.decode([t for t, m in zip(ids, mask, strict=True) if not m], skip_special_tokens=False)
        assert "<|im_start|>tool" not in written
        assert "<|image_pad|>" not in written
        assert "mean" not in written
        assert "<answer>" not in read
        assert "<tool_call>" not in read


def test_log_probabilities_are_those_of_a_clean_forward(trained: Any) -> None:
    trainer, _ = trained
    model, processor = trainer.model.eval(), trainer.processing_class
    prompts, completions, _, _, _, _, images, _ = trainer.made
    scored = trainer.scored
    fields = {key: scored[key] for key in ("pixel_values", "image_grid_thw", "mm_token_type_ids") if key in scored}
    ids = torch.cat([scored["prompt_ids"], scored["completion_ids"]], 1)
    attention = torch.cat([scored["prompt_mask"], scored["completion_mask"]], 1)
    with torch.no_grad():
        length = scored["completion_ids"].size(1)
        computed, _, _ = trainer._get_per_token_logps_and_entropies(
            model, ids, attention, length, batch_size=4, num_images=scored["num_images"], **fields
        )
        worst = 0.0
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            whole = torch.tensor([prompt + completion])
            pictures = processor.image_processor(images=images[row], return_tensors="pt")
            kinds = (whole == processor.image_token_id).long()
            logits = model(input_ids=whole, mm_token_type_ids=kinds, **pictures).logits[0] / trainer.temperature
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(-1, whole[0, len(prompt) :, None])[:, 0]
            worst = max(worst, float((wanted - computed[row, : len(completion)]).abs().max()))
    assert worst < 1e-4


def test_every_turn_ends_as_the_core_says(trained: Any) -> None:
    _, seen = trained
    for episode in seen:
        assert episode.done
        assert episode.score.total in {1.0, 0.8, 0.6, 0.0, -0.5}


def test_prompts_of_a_group_are_tokenised_once_to_the_same(trained: Any, context: Any) -> None:
    trainer, _ = trained
    episodes = [context.make_episode(index) for index in (0, 0, 1, 0, 1)]
    prompts = [
        [{"role": m["role"], "content": [dict(block) for block in m["content"]]} for m in episode.messages]
        for episode in episodes
    ]
    trainer._batch_environments = [None] * len(prompts)
    whole = trainer._tokenize_once(prompts)
    calls: list[int] = []
    once = trainer._tokenize_once
    trainer._tokenize_once = lambda batch: calls.append(len(batch)) or once(batch)
    try:
        ids, images, fields = trainer._tokenize_prompts(prompts)
    finally:
        del trainer._tokenize_once
    assert calls == [1, 1]
    assert ids == whole[0]
    assert [[image.tobytes() for image in row] for row in images] == [
        [image.tobytes() for image in row] for row in whole[1]
    ]
    assert set(fields) == set(whole[2])
    for name, value in whole[2].items():
        same = torch.equal(fields[name], value) if isinstance(value, torch.Tensor) else fields[name] == value
        assert same, name


def test_the_cases_of_a_group_are_dealt_once(context: Any, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    dealt: list[int] = []
    deal = task.case
    monkeypatch.setattr(
        type(task), "case", lambda self, split, index, seed=0: dealt.append(index) or deal(split, index, seed)
    )
    fresh = dataclasses.replace(context)
    episodes = [fresh.make_episode(index) for index in (0, 0, 1, 1, 0)]
    assert dealt == [0, 1]
    assert episodes[0].rendered(0).pil is episodes[1].rendered(0).pil
    fresh.prefetch([2, 3])
    fresh.close()
    assert set(dealt) <= {0, 1, 2, 3}


@pytest.mark.parametrize("group", [4, 6])
def test_groups_without_a_difference_in_reward_can_be_dropped(
    group: int, make_model: Any, context: Any, recipe: Any, tmp_path: Path
) -> None:
    """Of six equal rewards of 0.9 the mean is another number, so that their advantages are not 0."""
    settings = recipe.with_overrides(
        {
            "grpo.zero_variance": "drop",
            "grpo.steps": 1,
            "grpo.parts": 1,
            "grpo.group": group,
            "grpo.completions": 2 * group,
        }
    )
    model = make_model()

    class OneGroupAlike(Scripted):
        def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            BatchedToolGRPOTrainer._write_turns(self, prompt_ids, *args, **kwargs)
            answers = ["unclear"] * group + ["bright", "unclear"] * (group // 2)
            turns = [f"<answer>{answer}</answer><|im_end|>" for answer in answers]
            return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    trainer: Any = train_grpo(
        model,
        context,
        settings,
        cases=range(2),
        completion=64,
        folder=tmp_path,
        record=collect([]),
        penalty=lambda episode: 0.0 if episode.score.total else -0.9,  # "unclear" earns 0.9
        trainer_class=OneGroupAlike,
    )
    scored = trainer.scored  # of the rows that are learnt from
    assert scored["advantages"].abs().gt(1e-3).tolist() == [True] * group
    counted = scored["completion_mask"] * scored["tool_mask"]
    assert counted.any(1).tolist() == [True] * group
    assert int(scored["num_items_in_batch"]) == int(counted.sum())
    assert len(scored["num_images"]) == group
    assert len(scored["image_grid_thw"]) == sum(scored["num_images"])
    assert len(scored["pixel_values"]) == int(scored["image_grid_thw"].prod(-1).sum())


@pytest.mark.parametrize("way", ["drop", "skip"])
def test_what_is_learnt_without_dropped_rows_is_what_is_learnt_with_them(
    way: str, make_model: Any, context: Any, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe.with_overrides({"grpo.zero_variance": way, "grpo.parts": 2, "grpo.warmup_steps": 0})

    def train(folder: str) -> dict[str, torch.Tensor]:
        model = make_model()

        class OneGroupAlike(Scripted):
            def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
                BatchedToolGRPOTrainer._write_turns(self, prompt_ids, *args, **kwargs)
                answers = ["bright", "unclear"] * 2 + ["unclear"] * 4
                turns = [f"<answer>{answer}</answer><|im_end|>" for answer in answers]
                return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

        train_grpo(
            model, context, settings, cases=range(2), completion=64, folder=tmp_path / folder, record=collect([]),
            trainer_class=OneGroupAlike,
        )  # fmt: skip
        return {name: weight.detach().clone() for name, weight in model.model.named_parameters()}

    short = train("short")
    if way == "skip":
        settings = settings.with_overrides({"grpo.zero_variance": "keep"})
    monkeypatch.setattr("medvistagym_trl.stages._grpo.take_rows", lambda output, rows: output)
    whole = train("whole")
    before = dict(make_model().model.named_parameters())
    assert any(not torch.equal(short[name], before[name]) for name in short)
    for name, weight in whole.items():
        torch.testing.assert_close(short[name], weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", ["dapo", "cispo", "vespo"])
def test_what_is_skipped_counts_in_the_mean_of_the_loss_as_if_it_had_been_computed(
    loss: str, make_model: Any, context: Any, recipe: Any, tmp_path: Path
) -> None:
    class OneGroupAlike(Scripted):
        def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            BatchedToolGRPOTrainer._write_turns(self, prompt_ids, *args, **kwargs)
            turns = [
                f"<answer>{answer}</answer><|im_end|>" for answer in ["bright bright", "unclear"] * 2 + ["unclear"] * 4
            ]
            return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    class Gradients(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            named = kwargs["model"].named_parameters()
            self.kept = {name: weight.grad.clone() for name, weight in named if weight.grad is not None}

    def train(way: str) -> tuple[Any, float, dict[str, torch.Tensor]]:
        changes = {"grpo.zero_variance": way, "grpo.steps": 1, "grpo.parts": 2, "trl.grpo.loss_type": loss}
        gradients, model = Gradients(), make_model()
        trainer: Any = train_grpo(
            model, context, recipe.with_overrides({**changes, "trl.grpo.max_grad_norm": 0.0}), cases=range(2), completion=64,
            folder=tmp_path / way, record=collect([]), callbacks=[gradients], trainer_class=OneGroupAlike,
        )  # fmt: skip
        (log,) = [line for line in trainer.state.log_history if "loss" in line]
        return trainer, log["loss"], gradients.kept

    computed, loss_of_all, wanted = train("keep")
    skipped, loss_of_some, found = train("skip")
    dropped, loss_without, other = train("drop")
    assert [len(each.scored["advantages"]) for each in (computed, skipped, dropped)] == [8, 4, 4]
    tokens = [sum(map(len, each.made[1])) for each in (computed, skipped, dropped)]
    counted = [int(each.scored["num_items_in_batch"]) for each in (computed, skipped, dropped)]
    assert counted == [tokens[0], tokens[1], sum(map(len, dropped.made[1][:4]))]
    assert abs(loss_of_all) > 1e-3
    assert loss_of_some == pytest.approx(loss_of_all, rel=1e-4)
    assert loss_without == pytest.approx(loss_of_all * tokens[0] / counted[2], rel=1e-4)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(other[name], gradient * tokens[0] / counted[2], rtol=1e-3, atol=1e-6)
    assert max(float(gradient.abs().max()) for gradient in wanted.values()) > 1e-3


def test_equal_results_of_a_step_are_rendered_once(
    make_model: Any, context: Any, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Any] = []
    turns = {"mirror": TURNS[1], "shade": TURNS[0]}

    class Calls(Scripted):
        def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            BatchedToolGRPOTrainer._write_turns(self, prompt_ids, *args, **kwargs)
            first = self._completions is None
            names = ["mirror", "mirror", "shade", "shade"] * 2 if first else [None] * len(prompt_ids)
            written = [turns.get(name, "<answer>bright</answer>") + "<|im_end|>" for name in names]
            return [self.processing_class.tokenizer(turn)["input_ids"] for turn in written], None

    render = GRPOTrainer._get_tool_suffix_ids
    monkeypatch.setattr(
        GRPOTrainer,
        "_get_tool_suffix_ids",
        lambda self, messages: rendered.append(messages[0]["name"]) or render(self, messages),
    )
    model = make_model()
    episodes: list[Any] = []
    trainer: Any = train_grpo(
        model, context, recipe.with_overrides({"grpo.steps": 1, "grpo.parity.logprobs_every": 0}), cases=[0, 4],
        completion=128, folder=tmp_path, record=collect(episodes), trainer_class=Calls,
    )  # fmt: skip
    # A bright and a dark case: a picture of each, and what either tool makes of it.
    assert sorted(rendered) == ["mirror", "mirror", "shade", "shade"]
    shown = [episode.rendered(1).pil for episode in episodes if len(episode.store.images) > 1]
    assert len(shown) == 4
    assert len({id(picture) for picture in shown}) == 2
    tokenizer = trainer.processing_class.tokenizer
    texts = [episode.steps[0].results[0].text for episode in episodes]
    assert len({text for text in texts if text.startswith("mean")}) == 2
    for text, ids in zip(texts, trainer.made[1], strict=True):
        assert text in tokenizer.decode(ids)


def test_parts_of_what_is_learnt_from_have_the_same_size() -> None:
    differs = torch.tensor([False, True, False, True, True, False])
    assert rows_to_learn(differs, 1) == [1, 3, 4]
    assert rows_to_learn(differs, 2) == [0, 1, 3, 4]
    assert rows_to_learn(differs & False, 2) == [0, 1]


def test_a_group_may_be_spread_over_processes() -> None:
    rewards = torch.tensor([[0.9]] * 6 + [[1.0], [0.0], [torch.nan], [1.0], [1.0], [1.0]] + [[torch.nan]] * 6)
    differs = differs_in_group(rewards, 6)
    assert differs.tolist() == [False] * 6 + [True] * 6 + [False] * 6
    counted = []
    for first in range(0, 18, 9):
        output = {"advantages": torch.ones(9), "completion_mask": torch.ones(9, 2, dtype=torch.int)}
        drop_equal_groups(output, differs, first, lambda total: total[None])
        counted += output["completion_mask"].any(1).tolist()
        assert int(output["num_items_in_batch"]) == int(output["completion_mask"].sum())
    assert counted == differs.tolist()
