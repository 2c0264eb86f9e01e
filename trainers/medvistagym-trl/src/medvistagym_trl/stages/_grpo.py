"""Reinforcement learning with TRL's `GRPOTrainer` and its own multi-turn tool loop.

Four things are added to the trainer, none is replaced: tool calls run together over the batch (`BatchedToolCalls`), the
toolbox's exact schemas in place of those TRL would guess from signatures, vision fields as tensors where a PIL image
processor returns lists, and the parity certificate (`CertifiedTrainer`).
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_core.protocol import TEMPLATE_ERRORS
from medvistagym_trl._ranks import rank_count
from medvistagym_trl._recipe import Recipe, check_rollouts, engine_is_shared
from medvistagym_trl.model import (
    ImageFields,
    LoadedModel,
    cast_trained_to_float32,
    encode_equal_images_once,
    read_equal_rows_once,
)
from medvistagym_trl.rollout import BatchedToolCalls, RolloutContext, make_environment_class
from medvistagym_trl.stages._certified_trainer import CertifiedTrainer
from medvistagym_trl.stages._episode_reward import EpisodeRewardFunction, Penalty, Record
from medvistagym_trl.stages._equal_groups import differs_in_group, drop_equal_groups, rows_to_learn, take_rows
from medvistagym_trl.stages._exploring_turns import ExploringTrainer, ExploringTurns
from medvistagym_trl.stages._generation_parts import cut_turn
from medvistagym_trl.stages._guarded_trainer import GuardedTrainer, whole_checkpoints
from medvistagym_trl.stages._interrupt import train_interruptibly
from medvistagym_trl.stages._prompt_content import content_key, prompt_key, without_texts
from medvistagym_trl.stages._redrawn_groups import RedrawnGroupsTrainer
from medvistagym_trl.stages._sampling_engine import SamplingEngine
from medvistagym_trl.stages._shared_engine import SharedEngineTrainer
from medvistagym_trl.stages._trl_config import make_grpo_config
from medvistagym_trl.stages._vision_fields import PIXEL_FIELDS
from medvistagym_trl.stages._vllm import VllmTrainer, bias_logits, generation_settings

_log: Final = logging.getLogger(__name__)


class BatchedToolGRPOTrainer(  # type: ignore[misc]  # TRL's is untyped
    ExploringTrainer,
    SharedEngineTrainer,
    VllmTrainer,
    CertifiedTrainer,
    GuardedTrainer,
    RedrawnGroupsTrainer,
    GRPOTrainer,
):
    """`GRPOTrainer` whose tools run together over the batch, with exact schemas in the prompt.

    Attributes:
        unbatched_calls: Calls that were not run with the others of their turn since the start; more than zero means that
            TRL's loop has changed.
        drops_zero_variance: Whether groups whose episodes all earned the same count nothing in the loss; one process does not
            even compute their loss.
        counts_dropped: Whether the tokens of those groups are among what the mean of the loss is over.
        generation_parts: In how many parts, one after the other, the rows of a step are sampled.

    Args:
        *args: TRL's.
        engine: Samples in place of an engine that TRL would make, of which a process has room for one.
        **kwargs: TRL's.
    """

    drops_zero_variance: bool = False
    counts_dropped: bool = False
    generation_parts: int = 1

    def __init__(self, *args: Any, engine: SamplingEngine | None = None, **kwargs: Any) -> None:
        self.unbatched_calls = 0
        self._tool_calls: BatchedToolCalls | None = None
        self._generation_seconds: list[float] = []
        self._tool_seconds, self._written_tokens = 0.0, 0
        self._rewards: Any = None
        self._unrendered: set[int] = set()
        self._suffixes: dict[Any, list[int]] = {}  # of equal results of a step, which are rendered once
        if engine is None:
            super().__init__(*args, **kwargs)
        else:
            settings: Any = kwargs["args"]
            without_engine: Any = copy.copy(settings)  # else TRL would make one
            without_engine.use_vllm, without_engine.generation_kwargs = False, None
            super().__init__(*args, **{**kwargs, "args": without_engine})
            without_engine.use_vllm, without_engine.generation_kwargs = True, settings.generation_kwargs
            self.use_vllm, self._last_loaded_step = True, -1
            self.vllm_generation = engine.attach(self)
        self._env_tools = {
            name: [getattr(tool, "__json_schema__", tool) for tool in tools] for name, tools in self._env_tools.items()
        }

    def _tool_call_loop(
        self, prompts: Any, prompt_ids: Any, completion_ids: Any, completions: Any, *args: Any, **kwargs: Any
    ) -> Any:
        environments: Any = self.environments
        adapters = [environment.adapter for environment in environments]
        calls = self._tool_calls = BatchedToolCalls(adapters, completions, adapters[0].context.executor.run)
        for adapter in adapters:
            adapter.tool_calls = calls
        start, written = time.perf_counter(), sum(self._generation_seconds)
        try:
            finished = super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *args, **kwargs)
            self._wait_for_writers()
            return finished
        finally:
            self._tool_seconds += time.perf_counter() - start - (sum(self._generation_seconds) - written)
            self.unbatched_calls += calls.unbatched_calls
            self._tool_calls = None
            for adapter in adapters:
                adapter.tool_calls = None

    def _get_tool_suffix_ids(self, tool_messages: Any) -> Any:
        if self._tool_calls is not None:
            self._tool_calls.flush_unserved()
        key = tuple((message["name"], content_key(message["content"])) for message in tool_messages)
        try:
            if key not in self._suffixes:
                self._suffixes[key] = super()._get_tool_suffix_ids(tool_messages)  # type: ignore[no-untyped-call]
            return list(self._suffixes[key])
        except TEMPLATE_ERRORS as error:
            adapter = None if self._tool_calls is None else self._tool_calls.adapter_of(tool_messages[-1])
            if adapter is None:
                raise
            _log.warning("a rollout counts nothing: %s", error)
            adapter.refuse_rendering(str(error))
            # TRL takes back results that do not fit into the completion, and ends their rollout alone.
            room: Any = self.max_completion_length
            return [self._tokenizer.pad_token_id] * (room + 1)

    def _generate(self, prompts: Any) -> Any:
        self._generation_seconds, self._tool_seconds, self._written_tokens = [], 0.0, 0
        environments: Any = self.environments
        for environment in environments:
            environment.adapter.generation_seconds = self._generation_seconds
        self._unrendered.clear()
        self._suffixes.clear()
        rollouts = super()._generate(prompts)
        for row in self._unrendered:
            prompts[row] = without_texts(prompts[row])  # TRL renders them again
        figures = {
            "seconds/generation": sum(self._generation_seconds),
            "seconds/tools": self._tool_seconds,
            "tokens/written": self._written_tokens,
        }
        for name, value in figures.items():
            self._metrics["train"][name].append(float(value))
        return rollouts

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        self._rewards = super()._calculate_rewards(*args, **kwargs)
        return self._rewards

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        if self.drops_zero_variance:
            group: Any = self.num_generations
            first = self.accelerator.process_index * len(output["advantages"])
            differs = differs_in_group(self._rewards, group)
            drop_equal_groups(output, differs, first, self.accelerator.gather, counted=self.counts_dropped)
            if self.accelerator.num_processes == 1:  # several learn from parts of the same size
                settings: Any = self.args
                output = take_rows(output, rows_to_learn(differs, settings.steps_per_generation))
        return output

    def _write_turns(self, prompt_ids: Any, images: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        if self._tool_calls is not None:
            self._tool_calls.begin_turn()
        start = time.perf_counter()
        try:
            with read_equal_rows_once(self.accelerator.unwrap_model(self.model)):
                if self.generation_parts == 1:
                    written = super()._write_turns(prompt_ids, images, fields, *args, **kwargs)
                else:
                    written = self._write_in_parts(prompt_ids, images, fields, *args, **kwargs)
        finally:
            self._generation_seconds.append(time.perf_counter() - start)
        self._written_tokens += sum(map(len, written[0]))
        return written

    def _write_in_parts(
        self, prompt_ids: Any, images: Any, fields: Any, *args: Any, has_tool_images: bool = False, **kwargs: Any
    ) -> Any:
        """One turn of each row, some rows after the others."""
        rows = -(-len(self._batch_environments) // self.generation_parts)
        # Fields of other families than Qwen's are made of a row's images, and need no cutting.
        whole = fields if self.image_fields is None else {}
        ids = []
        for part in cut_turn(prompt_ids, images, whole, rows):
            image_fields = self.turn_fields(part.prompt_ids, part.images, dict(part.fields))
            shows = has_tool_images and any(part.images or ())
            ids += super()._write_turns(
                part.prompt_ids, part.images, image_fields, *args, has_tool_images=shows, **kwargs
            )[0]
        return ids, None

    def _tokenize_prompts(self, prompts: Any) -> Any:
        """Tokenise every different prompt once: those of a group are the same."""
        keys = [prompt_key(prompt) for prompt in prompts]
        rows = {key: row for row, key in reversed(list(enumerate(keys)))}
        environments = self._batch_environments
        tokenized = {}
        for key, row in rows.items():
            self._batch_environments = [environments[row]]
            try:
                tokenized[key] = self._tokenize_once([prompts[row]])
            except TEMPLATE_ERRORS as error:
                tokenized[key] = self._tokenize_once([without_texts(prompts[row])])
                _log.warning("a group of rollouts counts nothing: %s", error)
                own: Any = self.environments
                for place, its in enumerate(keys):
                    if its == key:
                        own[place].adapter.refuse_rendering(str(error))
                        self._unrendered.add(place if self.batch_rows is None else self.batch_rows[place])
        self._batch_environments = environments
        parts = [tokenized[key] for key in keys]
        self.spare_row = min(parts, key=lambda part: (not part[1], len(part[0][0])))
        ids = [part[0][0] for part in parts]
        images = [part[1][0] if part[1] else None for part in parts]
        fields = {name: _join([part[2][name] for part in parts]) for name in parts[0][2]}
        fields = fields if self.image_fields is None else {}  # made when a turn is written
        return ids, images if any(images) else None, fields

    def _tokenize_once(self, prompts: Any) -> Any:
        ids, images, fields = super()._tokenize_prompts(prompts)
        tensors = {
            key: torch.as_tensor(np.asarray(value))
            if key in PIXEL_FIELDS and not isinstance(value, torch.Tensor)
            else value
            for key, value in fields.items()
        }
        return ids, images, tensors


def _join(values: Sequence[Any]) -> Any:
    return (
        torch.cat(list(values)) if isinstance(values[0], torch.Tensor) else [row for value in values for row in value]
    )


def _is_no_unscored_row(record: logging.LogRecord) -> bool:
    """Keeps TRL from printing a whole prompt for each rollout that counts nothing; they are counted as `lost_results`."""
    return not str(record.msg).startswith("All reward functions returned None")


class _PrefetchCallback(TrainerCallback):
    """Deals the cases of the next step while a step is learnt from."""

    def __init__(self, context: RolloutContext, cases: Sequence[int], recipe: Recipe) -> None:
        self._context, self._cases = context, cases
        self._size = recipe.grpo.completions // recipe.grpo.group

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first chunk of a step is learnt from: its rollouts are played."""
        start = (state.global_step + 1) * self._size
        self._context.prefetch(self._cases[start : start + self._size])


def _turn_limit(recipe: Recipe) -> dict[str, Any]:
    """The most tokens of one turn, where a completion has room for several; TRL lets one turn fill the whole completion."""
    grpo = recipe.grpo
    if grpo.max_completion is not None or recipe.trl.grpo.get("use_vllm"):
        return {}
    return {"max_new_tokens": grpo.max_turn_tokens}


def train_grpo(
    model: LoadedModel,
    context: RolloutContext,
    recipe: Recipe,
    *,
    cases: Sequence[int],
    completion: int,
    folder: Path,
    record: Record,
    penalty: Penalty = lambda _: 0.0,
    redraw_cases: Sequence[int] = (),
    callbacks: Sequence[TrainerCallback] = (),
    engine: SamplingEngine | None = None,
    trainer_class: Callable[..., BatchedToolGRPOTrainer] = BatchedToolGRPOTrainer,
) -> BatchedToolGRPOTrainer:
    """Train a model by GRPO, in place.

    Args:
        model: The model.
        context: Tools and rules.
        recipe: Group size, rate, temperature, and fields of TRL's own.
        cases: The training cases, in the order in which they are played; as many as the steps take.
        completion: Most tokens of a completion: turns, and what tools returned.
        folder: For checkpoints; a whole one that it holds is gone on from.
        record: Takes the finished episodes of every batch.
        penalty: What an episode loses of its reward.
        redraw_cases: Cases that replace those of groups that are drawn again, in order.
        callbacks: Told of every logged step.
        engine: The engine of the recipe, where it is used outside of GRPO too; else TRL makes one.
        trainer_class: Makes the trainer.

    Raises:
        NonFiniteError: A loss or gradient was no number.
        RecipeError: The engine or the processes cannot sample rollouts as the recipe says (`check_rollouts`).
        ParityError: What is trained on is not what the policy read.
        KeyboardInterrupt: SIGINT or SIGTERM came; the last step is saved.
    """
    config = make_grpo_config(
        recipe,
        steps=len(cases) * recipe.grpo.group // recipe.grpo.completions,
        max_turns=context.config.limits.max_turns,
        completion=completion,
        folder=folder,
        generation_kwargs=generation_settings(model.suppressed_tokens, recipe) | _turn_limit(recipe),
    )
    trainer = trainer_class(
        model=model.model,
        args=config,
        train_dataset=_case_rows(context, cases),
        processing_class=model.processor,
        environment_factory=make_environment_class(context),
        reward_funcs=[EpisodeRewardFunction(record, penalty)],
        callbacks=list(callbacks),
        **({} if engine is None else {"engine": engine}),
    )
    cast_trained_to_float32(model.model)  # TRL brings adapters of a quantised model to bfloat16
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    check_rollouts(recipe, ranks=rank_count())
    _set_group_rules(trainer, recipe, redraw_cases or cases)
    _set_sampling(trainer, recipe, model, context, sharded=sharded)
    trainer.parity = recipe.grpo.parity
    trainer.add_callback(_PrefetchCallback(context, cases, recipe))
    trainer.remove_callback(PrinterCallback)
    logging.getLogger("trl.trainer.grpo_trainer").addFilter(_is_no_unscored_row)
    # Sharding replaces the parameters of the head after this point: the bias would stay whole, and the head's would not.
    biased = trainer.use_vllm and not sharded
    bias = bias_logits(model.model, model.suppressed_tokens) if biased else nullcontext()
    whole = whole_checkpoints(folder)
    with bias, encode_equal_images_once(model.model):
        train_interruptibly(trainer, str(whole[-1]) if whole else None)
    return trainer


def _case_rows(context: RolloutContext, cases: Sequence[int]) -> Dataset:
    """The trainer's rows: each stands for a case, whose question and pictures its environment puts in."""
    opening = [{"role": "system", "content": context.config.prompt}] if context.config.prompt else []
    prompt = [*opening, {"role": "user", "content": ""}]
    return Dataset.from_dict({"prompt": [prompt] * len(cases), "index": list(cases)})


def _set_group_rules(trainer: BatchedToolGRPOTrainer, recipe: Recipe, redraw_cases: Sequence[int]) -> None:
    """What becomes of groups whose episodes all earned the same."""
    trainer.drops_zero_variance = recipe.grpo.zero_variance != "keep"
    trainer.counts_dropped = recipe.grpo.zero_variance == "skip"
    if recipe.grpo.zero_variance == "redraw":
        trainer.redraws, trainer.redraw_cases = recipe.grpo.redraws, redraw_cases


def _set_sampling(
    trainer: BatchedToolGRPOTrainer, recipe: Recipe, model: LoadedModel, context: RolloutContext, *, sharded: bool
) -> None:
    """How turns are sampled, and what the images of a turn are handed over as."""
    trainer.generation_parts = recipe.grpo.generation_parts
    trainer.shares_engine = rank_count() > 1 and (sharded or engine_is_shared(recipe))
    if recipe.grpo.exploration:
        trainer.exploring = ExploringTurns(context.toolbox.specs, context.schemas, model, recipe.grpo, recipe.seed)
    fields = ImageFields(model.processor)
    trainer.image_fields = None if fields.is_grid else fields
