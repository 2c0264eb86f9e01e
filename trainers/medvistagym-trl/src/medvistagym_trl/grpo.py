"""Reinforcement learning with TRL's `GRPOTrainer` and its own multi-turn tool loop.

Three things are added to the trainer, none is replaced: the tool phase (see `phase`), the toolbox's exact schemas in
place of those TRL would guess from signatures, and vision fields as tensors where a PIL image processor hands back
lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_core.environment import Episode
from medvistagym_trl.environment import ToolEnvironment, World, environment_class
from medvistagym_trl.families import Policy
from medvistagym_trl.phase import ToolPhase
from medvistagym_trl.recipe import GrpoRecipe
from medvistagym_trl.sample import suppressed_tokens
from medvistagym_trl.sft import quietly

_VISION_FIELDS = ("pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes")


class GroupedGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` whose tools run grouped over the batch, with exact schemas in the prompt.

    Attributes:
        missed: Calls that did not go through the tool phase since the start; more than zero means that TRL's loop has
            changed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.missed = 0
        self._phase: ToolPhase | None = None
        self._paces: list[float] = []
        super().__init__(*args, **kwargs)
        self._env_tools = {
            name: [getattr(tool, "__json_schema__", tool) for tool in tools] for name, tools in self._env_tools.items()
        }

    def _tool_call_loop(
        self, prompts: Any, prompt_ids: Any, completion_ids: Any, completions: Any, *args: Any, **kwargs: Any
    ) -> Any:
        environments: Any = self.environments
        rollouts = [environment.rollout for environment in environments]
        phase = self._phase = ToolPhase(rollouts, completions, rollouts[0].world.executor.run)
        for rollout in rollouts:
            rollout.phase = phase
        try:
            return super()._tool_call_loop(  # type: ignore[no-untyped-call]
                prompts, prompt_ids, completion_ids, completions, *args, **kwargs
            )
        finally:
            self.missed += phase.missed
            self._phase = None
            for rollout in rollouts:
                rollout.phase = None

    def _get_tool_suffix_ids(self, tool_messages: Any) -> Any:
        if self._phase is not None:
            self._phase.settle()
        return super()._get_tool_suffix_ids(tool_messages)  # type: ignore[no-untyped-call]

    def _generate(self, prompts: Any) -> Any:
        self._paces = []
        environments: Any = self.environments
        for environment in environments:
            environment.rollout.paces = self._paces
        return super()._generate(prompts)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        if self._phase is not None:
            self._phase.begin_turn()
        begun = time.perf_counter()
        try:
            return super()._generate_single_turn(*args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            self._paces.append(time.perf_counter() - begun)

    def _tokenize_prompts(self, prompts: Any) -> Any:
        ids, images, fields = super()._tokenize_prompts(prompts)
        tensors = {
            key: torch.as_tensor(np.asarray(value))
            if key in _VISION_FIELDS and not isinstance(value, torch.Tensor)
            else value
            for key, value in fields.items()
        }
        return ids, images, tensors


class EpisodeReward:
    """The reward of finished episodes, as TRL asks for it; the episodes are handed on to be counted."""

    __name__ = "reward"

    def __init__(self, record: Callable[[Sequence[Episode]], None]) -> None:
        self._record = record

    def __call__(self, completions: Sequence[Any], environments: Sequence[ToolEnvironment], **_: Any) -> list[float]:
        """Total reward of each rollout."""
        finished = [
            each.rollout.close(chat[-1] if chat else {}) for chat, each in zip(completions, environments, strict=True)
        ]
        self._record(finished)
        return [float(episode.score.total) for episode in finished]


def train_grpo(
    policy: Policy,
    world: World,
    recipe: GrpoRecipe,
    *,
    offset: int,
    seed: int,
    folder: Path,
    record: Callable[[Sequence[Episode]], None],
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
) -> GroupedGRPOTrainer:
    """Train a policy by GRPO, in place.

    Args:
        policy: The policy.
        world: Cases, tools and rules.
        recipe: Steps, group size, rate, temperature.
        offset: Index of the first training case.
        seed: Of sampling and order.
        folder: For checkpoints.
        record: Is handed the finished episodes of every batch.
        callbacks: Told of every logged step.
        resume: Go on from the last checkpoint in `folder`.
    """
    cases = recipe.steps * recipe.completions // recipe.group
    opening = [{"role": "system", "content": world.settings.prompt}] if world.settings.prompt else []
    prompt = [*opening, {"role": "user", "content": ""}]
    rows = Dataset.from_dict({"prompt": [prompt] * cases, "index": list(range(offset, offset + cases))})
    config = quietly(
        GRPOConfig,
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.completions // recipe.parts,
        num_generations=recipe.group,
        gradient_accumulation_steps=recipe.parts,
        learning_rate=recipe.lr,
        lr_scheduler_type="linear",
        warmup_steps=min(5, recipe.steps),
        max_completion_length=recipe.max_completion,
        max_tool_calling_iterations=world.settings.limits.max_turns - 1,
        temperature=recipe.temperature,
        beta=recipe.beta,
        scale_rewards=recipe.scale,
        logging_steps=1,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=1,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=False,
        disable_tqdm=True,
        shuffle_dataset=False,  # cases come in turn, so every batch has its share of each family
        seed=seed,
        generation_kwargs={"suppress_tokens": suppressed_tokens(policy)},
    )
    trainer = GroupedGRPOTrainer(
        model=policy.model,
        args=config,
        train_dataset=rows,
        processing_class=policy.processor,
        environment_factory=environment_class(world),
        reward_funcs=[EpisodeReward(record)],
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer
