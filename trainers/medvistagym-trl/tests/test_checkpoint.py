"""A checkpoint as others make them: Qwen3-VL with random weights, its own template and tokenizer, patches of two frames."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from medvistagym_trl import grpo
from medvistagym_trl.families import load_policy
from medvistagym_trl.grpo import GroupedGRPOTrainer, train_grpo
from medvistagym_trl.opening import open_policy
from medvistagym_trl.recipe import load_recipe
from medvistagym_trl.world import make_world

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

PLAIN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TURNS = (
    '<tool_call>\n{"name": "mirror", "arguments": {"image": 0}}\n</tool_call>',
    '<tool_call>\n{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}\n</tool_call>',
    "<answer>dark</answer>",
    "<answer>bright</answer>",
)


@pytest.fixture(scope="module")
def checkpoint(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the model's makers publish it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    bytes_.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    learner = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(PLAIN),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bytes_.train_from_iterator([world.settings.prompt, *map(json.dumps, world.schemas), *TURNS] * 3, learner)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "<think>", "</think>"])
    tokenizer.chat_template = (files("trl") / "chat_templates" / "qwen3_vl.jinja").read_text("utf-8")
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 64 * 64, "longest_edge": 64 * 64}
    ).save_pretrained(folder)
    number = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 16,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192, "rope_parameters": rope,
        },
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "out_hidden_size": 64, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=number("<|image_pad|>"), video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"), vision_end_token_id=number("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    return folder


class Told(GroupedGRPOTrainer):
    """Writes set turns in place of sampled ones, and keeps what was made of them."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        super()._generate_single_turn(prompt_ids, *args, **kwargs)
        turns = [TURNS[(row + len(ids)) % len(TURNS)] + "<|im_end|>" for row, ids in enumerate(prompt_ids)]
        return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    def _generate(self, prompts: Any) -> Any:
        self.generation_config.max_new_tokens = 4  # none of them is kept
        self.made = super()._generate(prompts)
        return self.made

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.scored = super()._generate_and_score_completions(inputs)
        return self.scored


def test_it_is_trained_with_tools_and_their_images(
    checkpoint: Path, task: Any, toolbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("checkpoint").overridden(
        {"task": "toy", "model.path": str(checkpoint), "grpo.steps": 1, "grpo.completions": 8, "grpo.parts": 4}
    )
    world = make_world(recipe, task, toolbox)
    policy = load_policy(checkpoint, world.schemas)
    episodes: list[Any] = []
    monkeypatch.setattr(grpo, "GroupedGRPOTrainer", Told)
    trainer: Any = train_grpo(policy, world, recipe.grpo, offset=0, seed=0, folder=tmp_path, record=episodes.extend)
    assert trainer.missed == 0
    assert {call.name for e in episodes for step in e.steps for call in step.succeeded} == {"mirror", "shade"}
    prompts, completions, masks, _, _, _, images, shown = trainer.made
    assert any(shown)
    for ids, mask in zip(completions, masks, strict=True):
        written = policy.tokenizer.decode([token for token, mine in zip(ids, mask, strict=True) if mine])
        assert "<tool_response>" not in written
        assert "<|image_pad|>" not in written

    # TRL's batched log-probabilities are those of each whole conversation alone: its pictures are where they belong.
    scored, model = trainer.scored, trainer.model.eval()
    fields = {key: scored[key] for key in ("pixel_values", "image_grid_thw", "mm_token_type_ids") if key in scored}
    ids = torch.cat([scored["prompt_ids"], scored["completion_ids"]], 1)
    attention = torch.cat([scored["prompt_mask"], scored["completion_mask"]], 1)
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            model,
            ids,
            attention,
            scored["completion_ids"].size(1),
            batch_size=2,
            num_images=scored["num_images"],
            **fields,
        )
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            whole = torch.tensor([prompt + completion])
            pictures = policy.processor.image_processor(images=images[row], return_tensors="pt")
            kinds = (whole == policy.processor.image_token_id).long()
            logits = model(input_ids=whole, mm_token_type_ids=kinds, **pictures).logits[0] / trainer.temperature
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(-1, whole[0, len(prompt) :, None])[:, 0]
            assert float((wanted - found[row, : len(completion)]).abs().max()) < 1e-4


def test_it_is_played_as_a_real_checkpoint_not_as_the_tiny_policy(checkpoint: Path, task: Any, toolbox: Any) -> None:
    policy, settings = open_policy(checkpoint, task, toolbox, temperature=None, seed=0)
    assert policy.sampling["temperature"] == 1.0
    assert (settings.view_side, settings.compact) == (256, False)
