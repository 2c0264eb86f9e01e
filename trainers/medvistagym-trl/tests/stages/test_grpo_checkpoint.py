"""Checkpoints as others make them: trained with tools and their images, in every way their calls can be written."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from medvistagym_core.environment import step_episodes
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ToolCall
from medvistagym_trl._recipe import load_recipe
from medvistagym_trl.model import IGNORE_INDEX, SUPPORTED_MODELS, ImageFields, encode_for_training, load_model
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.run import load_trained_policy
from medvistagym_trl.stages import BatchedToolGRPOTrainer, SamplingPolicy, train_grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

CALLS = (
    ToolCall(name="mirror", arguments={"image": 0}),
    ToolCall(name="shade", arguments={"image": 0, "box": [250, 250, 500, 500]}),
)


def load_formats() -> Any:
    """The formats of `tests/families.py`, from which the table in the documentation is made."""
    spec = importlib.util.spec_from_file_location("trl_test_families", Path(__file__).parents[1] / "families.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAMILIES = load_formats()
FORMATS = [
    pytest.param(
        (each.family, each.template, each.action_format), id=each.id, marks=[pytest.mark.slow] if each.slow else []
    )
    for each in FAMILIES.TESTED_FORMATS
]


def test_the_documentation_lists_what_is_tested() -> None:
    page = (Path(__file__).parents[4] / "docs" / "training.md").read_text("utf-8")
    assert page == FAMILIES.with_table(page)
    assert {each.family for each in FAMILIES.TESTED_FORMATS} == set(SUPPORTED_MODELS)


def collect(episodes: list[Any]) -> Any:
    """Keeps the finished episodes, and gives no metrics of them."""
    return lambda batch: episodes.extend(batch) or {}


class Setting:
    """A checkpoint loaded for training, with what its policy writes."""

    def __init__(self, make_checkpoint: Any, kind: tuple[str, str, str], task: Any, toolbox: Any) -> None:
        family, template, action_format = kind
        self.path = make_checkpoint(family, template)
        self.recipe = load_recipe("checkpoint").with_overrides(
            {
                "task": "toy",
                "model.path": str(self.path),
                "episode.action_format": action_format,
                "grpo.steps": 1,
                "grpo.completions": 4,
                "grpo.group": 4,
                "grpo.parts": 2,
                "grpo.max_completion": 1024,
            }
        )
        self.context = make_rollout_context(self.recipe, task, toolbox, Registry())
        self.model = load_model(self.path, self.context.schemas, self.recipe.model, action_format)
        self.turns = [self.written(calls=[call]) for call in CALLS]
        self.turns += [self.written(answer=answer) for answer in ("dark", "bright")]

    def written(self, **turn: Any) -> str:
        """What the policy writes for a turn, its end included: what SFT would label."""
        config = self.context.config
        episode = self.context.make_episode(0)
        step_episodes(self.context.executor, [episode], [config.protocol.format_turn(**turn)])
        opening = [message for message in episode.messages if message["role"] != "tool"]
        batch = encode_for_training(
            self.model.processor, [opening], self.context.rendered_schemas, self.model.end_of_turn
        )
        labels = batch["labels"][0]
        return str(self.model.tokenizer.decode(labels[labels != IGNORE_INDEX], skip_special_tokens=False))


@pytest.fixture(scope="module", params=FORMATS)
def setting(request: Any, make_checkpoint: Any, task: Any, toolbox: Any) -> Setting:
    return Setting(make_checkpoint, request.param, task, toolbox)


@pytest.fixture(scope="module")
def trained(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Any]]:
    episodes: list[Any] = []
    trainer_class = type("Scripted", (Scripted,), {"turns": setting.turns})
    trainer: Any = train_grpo(
        setting.model,
        setting.context,
        setting.recipe,
        cases=range(1),
        completion=1024,
        folder=tmp_path_factory.mktemp("grpo"),
        record=collect(episodes),
        trainer_class=trainer_class,
    )
    return trainer, episodes


class Scripted(BatchedToolGRPOTrainer):
    """Writes set turns in place of sampled ones, and keeps what was made of them."""

    turns: tuple[str, ...] = ()

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        super()._write_turns(prompt_ids, *args, **kwargs)
        turns = [self.turns[(row + len(ids)) % len(self.turns)] for row, ids in enumerate(prompt_ids)]
        return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    def _generate(self, prompts: Any) -> Any:
        self.generation_config.max_new_tokens = 4  # none of them is kept
        self.made = super()._generate(prompts)
        return self.made

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


def test_it_is_trained_with_tools_and_their_images(setting: Setting, trained: Any) -> None:
    trainer, episodes = trained
    assert trainer.unbatched_calls == 0
    assert {call.name for e in episodes for step in e.steps for call in step.succeeded} == {"mirror", "shade"}
    assert all(step.turn.error is None for episode in episodes for step in episode.steps)
    _, completions, masks, _, _, _, _, shown = trainer.made
    assert any(shown)
    decode, placeholder = setting.model.tokenizer.decode, setting.model.processor.image_token_id
    for ids, mask in zip(completions, masks, strict=True):
        wrote = [token for token, mine in zip(ids, mask, strict=True) if mine]
        written = decode(wrote)
        read = decode([token for token, mine in zip(ids, mask, strict=True) if not mine])
        assert "tool_response>" not in written.replace("<|tool_response>", "")  # which ends a turn of Gemma 4
        assert placeholder not in wrote
        assert "mean" not in written
        assert "<answer>" not in read
        assert all(turn in setting.turns for turn in split_turns(setting, wrote))


def split_turns(setting: Setting, wrote: list[int]) -> list[str]:
    turns: list[list[int]] = [[]]
    for token in wrote:
        turns[-1].append(token)
        if token in setting.model.end_of_turn:
            turns.append([])
    return [setting.model.tokenizer.decode(turn) for turn in turns if turn]


FIELDS = (
    "pixel_values", "image_grid_thw", "image_position_ids", "spatial_shapes", "pixel_attention_mask", "num_tiles",
    "mm_token_type_ids",
)  # fmt: skip


def logps(trainer: Any, **changed: torch.Tensor) -> torch.Tensor:
    """TRL's batched log-probabilities (rows, tokens)."""
    scored = trainer.scored
    fields = {key: scored[key] for key in FIELDS if key in scored}
    ids = torch.cat([scored["prompt_ids"], scored["completion_ids"]], 1)
    attention = torch.cat([scored["prompt_mask"], scored["completion_mask"]], 1)
    length = scored["completion_ids"].size(1)
    with torch.no_grad():
        computed, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model.eval(), ids, attention, length, batch_size=2, num_images=scored["num_images"],
            **{**fields, **changed},
        )  # fmt: skip
    return computed


def test_log_probabilities_are_those_of_each_whole_conversation_alone(setting: Setting, trained: Any) -> None:
    trainer, _ = trained
    prompts, completions, _, _, _, _, images, _ = trainer.made
    computed, model, processor = logps(trainer), trainer.model.eval(), setting.model.processor
    with torch.no_grad():
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            whole = torch.tensor([prompt + completion])
            # What transformers itself makes of the images of a conversation, without this project's.
            text = f" {processor.image_token} " * len(images[row])
            encoded = processor(images=[images[row]], text=[text], return_tensors="pt")
            features = {key: encoded[key] for key in FIELDS if key in encoded and key != "mm_token_type_ids"}
            if "mm_token_type_ids" in trainer.scored:
                features["mm_token_type_ids"] = (whole == processor.image_token_id).long()
            logits = model(input_ids=whole, **features).logits[0] / trainer.temperature
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(-1, whole[0, len(prompt) :, None])[:, 0]
            assert float((wanted - computed[row, : len(completion)]).abs().max()) < 1e-4


def test_a_pixel_of_a_tools_image_changes_its_own_conversation_alone(trained: Any) -> None:
    trainer, _ = trained
    shown, images = trainer.made[-1], trainer.made[6]
    row = next(k for k, tool_images in enumerate(shown) if tool_images)
    fields = ImageFields(trainer.processing_class)
    sizes = [fields.grids(each).prod(-1) for each in images]
    offset = int(sum(size.sum() for size in sizes[:row]) + sizes[row][0])  # behind the case's own image
    pixels = trainer.scored["pixel_values"].clone()
    pixels[offset].view(-1)[:4] += 1.0
    moved = (logps(trainer) - logps(trainer, pixel_values=pixels)).abs().amax(1) > 1e-7
    assert moved.nonzero().flatten().tolist() == [row]


def test_a_turn_is_read_alike_in_training_and_in_sampling(setting: Setting, trained: Any) -> None:
    _, episodes = trained
    read_in_training = {step.turn.text for episode in episodes for step in episode.steps}
    policy = SamplingPolicy(
        setting.model, setting.context.rendered_schemas, setting.context.config.protocol, temperature=None
    )
    tokenizer, processor = setting.model.tokenizer, setting.model.processor
    observation = setting.context.make_episode(0).observation()
    prompt = processor.apply_chat_template(
        [list(observation.messages)], tools=setting.context.rendered_schemas or None, tokenize=True,
        return_dict=True, add_generation_prompt=True,
    )["input_ids"][0]  # fmt: skip
    prompt = list(prompt)
    read_in_sampling = {policy._read(prompt, tokenizer(turn)["input_ids"]) for turn in setting.turns}
    assert read_in_sampling == read_in_training
    protocol = setting.context.config.protocol
    expected = [protocol.format_turn(calls=[call]) for call in CALLS]
    wanted = {*expected, "<answer>dark</answer>", "<answer>bright</answer>"}
    assert set(map(without_order, read_in_sampling)) == set(map(without_order, wanted))


def without_order(turn: str) -> str:
    """A turn with the arguments of its call sorted, as Gemma's template writes them."""
    body = turn.removeprefix("<tool_call>").removesuffix("</tool_call>")
    return json.dumps(json.loads(body), sort_keys=True) if body != turn else turn


def test_the_prompt_asks_for_calls_in_one_way_only(setting: Setting, trained: Any) -> None:
    prompt = setting.model.tokenizer.decode(trained[0].made[0][0])
    if setting.recipe.episode.action_format == "text":
        assert prompt.count("# Tools") == 0  # the template's own section
        assert '"name": "shade", "description"' in prompt
    else:
        assert 'each <tool_call>{"name"' not in setting.context.config.prompt
        assert prompt.count('"name": "shade"') + prompt.count("<|tool>declaration:shade{") == 1


def test_it_is_played_as_a_real_checkpoint_not_as_the_tiny_model(make_checkpoint: Any, task: Any, toolbox: Any) -> None:
    path = make_checkpoint("qwen3_vl", "qwen3_vl")
    policy, settings = load_trained_policy(Registry(), path, task, toolbox, temperature=None, seed=0)
    assert policy.sampling["temperature"] == 1.0
    assert (settings.view_side, settings.compact) == (256, False)
