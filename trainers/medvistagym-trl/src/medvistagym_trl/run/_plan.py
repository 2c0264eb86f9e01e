"""What a run would be, without running it: tokens, memory, steps, and what cannot work."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import torch

from medvistagym_core.environment import Task
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import LaunchRequest, TrainingPlan
from medvistagym_core.tools import Toolbox
from medvistagym_trl._parallel import check_parallel
from medvistagym_trl._recipe import Recipe, RecipeError
from medvistagym_trl.model import (
    ModelSize,
    count_activations,
    count_activations_of,
    load_processor,
    measure_model_size,
    model_size,
)
from medvistagym_trl.rollout import RolloutContext, make_rollout_context
from medvistagym_trl.run._fit import nearest_fit, render_fit
from medvistagym_trl.run._launch_plan import CONTEXT, DEVICE_GIB, USABLE, plan_launch, read_rates, render_launch
from medvistagym_trl.run._memory import MemoryEstimate, estimate_memory
from medvistagym_trl.run._preflight import check_run
from medvistagym_trl.run._supervised import data_steps, open_data
from medvistagym_trl.stages import TokenBudget, build_untrained_model, measure_tokens, vllm_mode

_GPU_PARAMETERS: Final = 1_000_000_000
_DEVICE_COUNTS: Final = (2, 4, 8, 16, 32, 64)


def plan_run(
    recipe: Recipe, task: Task, toolbox: Toolbox, registry: Registry, launch: LaunchRequest | None = None
) -> TrainingPlan:
    """Plan a run: real episodes are played and counted, and no weights are loaded.

    Args:
        recipe: The recipe, complete.
        task: Its task, or the mix of its tasks.
        toolbox: Its tools.
        registry: What is installed.
        launch: On which devices it would be launched; None plans one device alone.

    Raises:
        SelectionError: The first thing that cannot work; a sentence says why, and what does.
    """
    parallel = None if launch is None or launch.parallel is None else check_parallel(launch.parallel)
    rates = {} if launch is None else read_rates(launch.rates)
    notes = check_run(recipe, task, toolbox, registry, elsewhere=launch is not None)
    context = make_rollout_context(recipe, task, toolbox, registry)
    try:
        size, budget, config = _measure(recipe, context)
        data_count = len(open_data(context, recipe.sft, recipe.sft.data)) if recipe.sft.data else None
    finally:
        context.close()
    # A model of that size is trained on a GPU, wherever it is planned.
    half = torch.cuda.is_available() or launch is not None or size.all >= _GPU_PARAMETERS
    tokens = _count_tokens(recipe, budget)
    memory_model = _MemoryModel(recipe, size, config, tokens, budget.images(recipe.episode.max_calls), half)
    memory = memory_model.estimate(recipe)
    document = _describe_run(recipe, toolbox, size, tokens, data_count, memory, notes)
    texts = [_render(document)]
    device_gib = (launch.device_gib if launch else None) or _device_gib()
    usable = USABLE * device_gib * 2**30 - CONTEXT
    if memory.peak > usable and vllm_mode(recipe) is None and (launch is None or launch.gpus == 1):
        document["fit"], lines = _plan_fit(recipe, memory_model, memory, device_gib, usable)
        texts += lines
    if launch is not None:
        document["launch"] = plan_launch(
            recipe,
            size,
            memory,
            tokens,
            gpus=launch.gpus,
            parallel=parallel,
            device_gib=device_gib,
            rates=rates,
            arguments=launch.arguments,
        )
        texts.append(render_launch(document["launch"], _size))
    return TrainingPlan("\n".join(texts), document)


@dataclasses.dataclass(frozen=True)
class _MemoryModel:
    """What the memory of a run is estimated from, whatever its recipe is changed to.

    Attributes:
        recipe: The recipe that was measured.
        size: Of its model.
        config: Of a model that is built for the run; None of one that is loaded.
        tokens: Of its episodes.
        image_tokens: Of an episode.
        half: Whether layers compute in bfloat16.
    """

    recipe: Recipe
    size: ModelSize
    config: Any
    tokens: Mapping[str, Any]
    image_tokens: int
    half: bool

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        """The memory that a recipe takes."""
        is_measured = recipe.model == self.recipe.model or recipe.model.path is None
        conversation = self.tokens["longest_episode"]
        return estimate_memory(
            self.size if is_measured else measure_model_size(str(recipe.model.path), recipe.model),
            recipe,
            conversation=conversation,
            completion=self.tokens["completion"],
            image_tokens=min(conversation, self.image_tokens),
            half=self.half,
            activations=count_activations_of(self.config, recipe.model, half=self.half)
            if recipe.model.path is None
            else count_activations(recipe.model.path, recipe.model, half=self.half),
        )


def _count_tokens(recipe: Recipe, budget: TokenBudget) -> dict[str, Any]:
    """Tokens of an episode's parts, and of the longest episodes of training and evaluation."""
    grpo, max_calls = recipe.grpo, recipe.episode.max_calls
    completion = grpo.max_completion or budget.completion(max_calls, grpo.max_turn_tokens)
    return {
        "prompt": budget.prompt,
        "prompt_tools": budget.tools,
        "prompt_images": budget.prompt_images,
        "results": budget.results,
        "result_images": budget.result_images,
        "turn": grpo.max_turn_tokens,
        "completion": completion,
        "longest_episode": budget.prompt + completion,
        "longest_evaluation": budget.prompt + budget.completion(max_calls, recipe.evaluation.max_tokens),
    }


def _describe_run(
    recipe: Recipe,
    toolbox: Toolbox,
    size: ModelSize,
    tokens: dict[str, Any],
    data_count: int | None,
    memory: MemoryEstimate,
    notes: list[str],
) -> dict[str, Any]:
    """The plan of a run on one device, as a document."""
    return {
        "recipe": recipe.name,
        "tasks": list(recipe.tasks),
        "tools": list(toolbox),
        "model": {
            "family": size.family,
            "parameters": size.all,
            "trained": size.trained,
            "towers": dict(size.parameters),
            "context_length": size.context_length,
        },
        "tokens": tokens,
        "steps": _steps(recipe, data_count),
        "memory_bytes": _memory(memory),
        "assumptions": list(memory.assumptions),
        "notes": notes,
    }


def _plan_fit(
    recipe: Recipe, memory_model: _MemoryModel, memory: MemoryEstimate, device_gib: float, usable: float
) -> tuple[dict[str, Any], list[str]]:
    """What a run that does not fit a device could be changed to, and how many devices it fits, as a document and as lines."""
    fit = nearest_fit(recipe, memory_model.estimate, usable)
    gpus = _devices_for(recipe, memory_model.size, memory, memory_model.tokens, device_gib)
    lines = render_fit(recipe, memory, fit, device_gib, usable, _size)
    if gpus:
        lines.append(f"as it is, it fits {gpus} such devices: --gpus {gpus}")
    document = {
        "device_gib": device_gib,
        "changes": None if fit is None else dict(fit.changes),
        "peak": None if fit is None else fit.memory.peak,
        "same": None if fit is None else fit.same,
        "gpus": gpus,
    }
    return document, lines


def _devices_for(
    recipe: Recipe, size: ModelSize, memory: MemoryEstimate, tokens: Mapping[str, Any], device_gib: float
) -> int | None:
    """The fewest devices, of some numbers of them, that train a recipe unchanged; None where none of these numbers does."""
    for count in _DEVICE_COUNTS:
        with contextlib.suppress(RecipeError):  # its batch or its rollouts cannot be split over so many
            launch = plan_launch(recipe, size, memory, tokens, gpus=count, device_gib=device_gib)
            if launch["fits"] and launch["trainers"] == count:
                return count
    return None


def _device_gib() -> float:
    return torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else DEVICE_GIB


def _measure(recipe: Recipe, context: RolloutContext) -> tuple[ModelSize, TokenBudget, Any]:
    """Sizes of the model, tokens of its episodes, and the configuration of one that is built for the run."""
    if recipe.model.path is None:
        tiny = build_untrained_model(recipe.model, context, recipe.seed)
        return model_size(tiny.model, recipe.model), measure_tokens(context, tiny.processor), tiny.model.config
    size = measure_model_size(recipe.model.path, recipe.model)
    processor, _ = load_processor(recipe.model.path, context.schemas, recipe.model, recipe.episode.action_format)
    return size, measure_tokens(context, processor), None


def _steps(recipe: Recipe, data_count: int | None) -> dict[str, dict[str, int]]:
    """Optimiser steps of each stage, and the episodes that it learns from."""
    sft, grpo = recipe.sft, recipe.grpo
    steps = data_steps(sft, data_count) if data_count is not None else sft.steps or 0
    stages = {"sft": {"steps": steps, "episodes": steps * sft.batch}}
    if sft.self_sampling.rounds:
        rounds = sft.self_sampling
        stages["self_sampling"] = {
            "steps": rounds.rounds * rounds.steps,
            "episodes": rounds.rounds * rounds.cases * rounds.samples,
        }
    stages["grpo"] = {"steps": grpo.steps, "episodes": grpo.steps * grpo.completions}
    if grpo.tail.steps:
        stages["grpo_tail"] = {"steps": grpo.tail.steps, "episodes": grpo.tail.steps * grpo.completions}
    return stages


def _memory(memory: MemoryEstimate) -> dict[str, int]:
    return {
        "weights": memory.weights,
        "masters": memory.masters,
        "gradients": memory.gradients,
        "optimiser": memory.optimiser,
        "reference": memory.reference,
        "activations": memory.activations,
        "pictures": memory.pictures,
        "generation": memory.generation,
        "peak": memory.peak,
        "disk": memory.disk,
    }


def _render(plan: dict[str, Any]) -> str:
    """The plan for a terminal."""
    model, tokens, memory = plan["model"], plan["tokens"], plan["memory_bytes"]
    trained = f"{_count(model['trained'])} ({100 * model['trained'] / model['parameters']:.3g} %)"
    limit = f", of {model['context_length']} that the model reads" if model["context_length"] else ""
    lines = [
        f"recipe {plan['recipe']} on {', '.join(plan['tasks'])} with {len(plan['tools'])} tools",
        f"model      {model['family']}, {_count(model['parameters'])} parameters, {trained} trained",
        f"prompt     {tokens['prompt']} tokens: {tokens['prompt_tools']} of tools, {tokens['prompt_images']} of images",
        *(
            f"  result   {name}: {count} tokens, {tokens['result_images'].get(name, 0)} of them images"
            for name, count in tokens["results"].items()
        ),
        f"episode    {tokens['longest_episode']} tokens at most{limit}; {tokens['completion']} of them after the prompt",
        *(
            f"{stage:<10} {numbers['steps']} steps, {numbers['episodes']} episodes"
            for stage, numbers in plan["steps"].items()
        ),
        f"memory     {_size(memory['peak'])} at the most",
        *(
            f"  {part:<12} {_size(memory[part])}"
            for part in ("weights", "gradients", "optimiser", "reference", "activations", "pictures", "generation")
            if memory[part]
        ),
        f"disk       {_size(memory['disk'])}",
        *(f"assumed: {text}" for text in plan["assumptions"]),
        *plan["notes"],
    ]
    return "\n".join(lines)


def _count(number: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)


def _size(number: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number / 1024:.1f} KiB"
