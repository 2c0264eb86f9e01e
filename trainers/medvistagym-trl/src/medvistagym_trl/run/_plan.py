"""What a run would be, without running it: tokens, memory, steps, and what cannot work."""

from __future__ import annotations

import contextlib
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
        kept = len(open_data(context, recipe.sft, recipe.sft.data)) if recipe.sft.data else None
    finally:
        context.close()
    grpo = recipe.grpo
    completion = grpo.max_completion or budget.completion(recipe.episode.max_calls, grpo.max_turn_tokens)
    conversation = budget.prompt + completion

    # A model of that size is trained on a GPU, wherever it is planned.
    half = torch.cuda.is_available() or launch is not None or size.all >= _GPU_PARAMETERS

    def estimate(of: Recipe) -> MemoryEstimate:
        same = of.model == recipe.model or of.model.path is None
        return estimate_memory(
            size if same else measure_model_size(str(of.model.path), of.model),
            of,
            conversation=conversation,
            completion=completion,
            image_tokens=min(conversation, budget.images(recipe.episode.max_calls)),
            half=half,
            activations=count_activations_of(config, of.model, half=half)
            if of.model.path is None
            else count_activations(of.model.path, of.model, half=half),
        )

    memory = estimate(recipe)
    document: dict[str, Any] = {
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
        "tokens": {
            "prompt": budget.prompt,
            "prompt_tools": budget.tools,
            "prompt_images": budget.prompt_images,
            "results": budget.results,
            "result_images": budget.result_images,
            "turn": grpo.max_turn_tokens,
            "completion": completion,
            "longest_episode": conversation,
            "longest_evaluation": budget.prompt
            + budget.completion(recipe.episode.max_calls, recipe.evaluation.max_tokens),
        },
        "steps": _steps(recipe, kept),
        "memory_bytes": _memory(memory),
        "assumptions": list(memory.assumptions),
        "notes": notes,
    }
    text = _render(document)
    device_gib = (launch.device_gib if launch else None) or _device_gib()
    usable = USABLE * device_gib * 2**30 - CONTEXT
    if memory.peak > usable and vllm_mode(recipe) is None and (launch is None or launch.gpus == 1):
        fit = nearest_fit(recipe, estimate, usable)
        document["fit"] = {
            "device_gib": device_gib,
            "changes": None if fit is None else dict(fit.changes),
            "peak": None if fit is None else fit.memory.peak,
            "same": None if fit is None else fit.same,
            "gpus": _devices_for(recipe, size, memory, document["tokens"], device_gib),
        }
        lines = render_fit(recipe, memory, fit, device_gib, usable, _size)
        if document["fit"]["gpus"]:
            lines.append(f"as it is, it fits {document['fit']['gpus']} such devices: --gpus {document['fit']['gpus']}")
        text += "\n" + "\n".join(lines)
    if launch is not None:
        document["launch"] = plan_launch(
            recipe,
            size,
            memory,
            document["tokens"],
            gpus=launch.gpus,
            parallel=parallel,
            device_gib=device_gib,
            rates=rates,
            arguments=launch.arguments,
        )
        text += "\n" + render_launch(document["launch"], _size)
    return TrainingPlan(text, document)


def _devices_for(
    recipe: Recipe, size: ModelSize, memory: MemoryEstimate, tokens: dict[str, Any], device_gib: float
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


def _steps(recipe: Recipe, kept: int | None) -> dict[str, dict[str, int]]:
    """Optimiser steps of each stage, and the episodes that it learns from."""
    sft, grpo = recipe.sft, recipe.grpo
    steps = data_steps(sft, kept) if kept is not None else sft.steps or 0
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
