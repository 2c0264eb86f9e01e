"""What is refused before any work is done: settings, data and models that cannot work together."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from medvistagym_core.environment import Task
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._recipe import Recipe, RecipeError
from medvistagym_trl.model import base_checkpoint, load_processor, referenced
from medvistagym_trl.rollout import RolloutContext, make_rollout_context
from medvistagym_trl.run._supervised import open_data
from medvistagym_trl.stages import TokenBudget, check_trl_settings, check_vllm, measure_tokens


def check_run(
    recipe: Recipe, task: Task, toolbox: Toolbox, registry: Registry, *, elsewhere: bool = False
) -> list[str]:
    """Look at everything that a run will need, short of weights.

    Args:
        recipe: The recipe, complete.
        task: Its task, or the mix of its tasks.
        toolbox: Its tools.
        registry: What is installed.
        elsewhere: Whether it is to run on another machine, which may have a vLLM that this one lacks.

    Returns:
        What is worth knowing before the run begins, a sentence each.

    Raises:
        SelectionError: The first thing that cannot work; a sentence says why.
    """
    _check_packages(recipe)
    notes: list[str] = []
    try:
        check_vllm(recipe)
    except RecipeError as error:
        if not elsewhere:
            raise
        notes.append(str(error))
    check_trl_settings(recipe)
    context = make_rollout_context(recipe, task, toolbox, registry)
    try:
        if recipe.model.path is not None:
            processor, _ = load_processor(
                recipe.model.path, context.schemas, recipe.model, recipe.episode.action_format
            )
            notes += _check_lengths(recipe, context, measure_tokens(context, processor))
        if recipe.sft.data:
            notes.append(str(open_data(context, recipe.sft, recipe.sft.data).report))
    finally:
        context.close()
    return notes


def _check_packages(recipe: Recipe) -> None:
    if recipe.model.quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError(
            f"the recipe: model.quantization {recipe.model.quantization} needs bitsandbytes: "
            "pip install 'medvistagym-trl[qlora]'"
        )


def _check_lengths(recipe: Recipe, context: RolloutContext, budget: TokenBudget) -> list[str]:
    """Refuse limits under which no result would reach the policy: TRL drops a result that does not fit, without a word.

    Raises:
        RecipeError: A result does not fit, or an episode is longer than the model reads.
    """
    notes = [str(budget)]
    grpo, calls = recipe.grpo, recipe.episode.max_calls
    if not grpo.steps:
        return notes
    whole = budget.completion(calls, grpo.max_turn_tokens)
    if grpo.max_completion is None:
        notes.append(f"a completion may take {whole} tokens, which an episode with {calls} calls can take")
    elif calls and budget.result + _LEAST_TURN > grpo.max_completion:
        tool = max(budget.results, key=lambda name: budget.results[name])
        raise RecipeError(
            f"grpo.max_completion {grpo.max_completion} is too little: a result of {tool} takes {budget.result} tokens (images "
            f"of {recipe.model.view_side or 'their own'} pixels), so every look would be dropped and the answer with it; set "
            f"it to {whole} or to null, or show smaller images (model.view_side, model.max_pixels)"
        )
    elif whole > grpo.max_completion:
        notes.append(
            f"warning: an episode with {calls} calls can take {whole} tokens after the prompt, and grpo.max_completion is "
            f"{grpo.max_completion}: what does not fit is dropped, and such episodes do not count"
        )
    longest = _context_length(recipe)
    total = budget.prompt + (grpo.max_completion or whole)
    if longest is not None and total > longest:
        raise RecipeError(
            f"the prompt of {budget.prompt} tokens and a completion of {grpo.max_completion or whole} are more than the "
            f"{longest} that the model reads: fewer tools, smaller images or a smaller grpo.max_completion fit"
        )
    return notes


_LEAST_TURN = 8
"""Tokens of the shortest turn that still answers."""


def _context_length(recipe: Recipe) -> int | None:
    from transformers import AutoConfig

    folder = base_checkpoint(referenced(Path(recipe.model.path or "")))
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return longest if isinstance(longest, int) else None
