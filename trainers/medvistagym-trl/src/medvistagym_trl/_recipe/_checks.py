"""Checks of a recipe that is complete: what can be said without loading a model."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core.environment import HasDemonstrations, HasExpert, HasPerceptionItems, Task
from medvistagym_trl._recipe._errors import RecipeError
from medvistagym_trl._recipe._model_section import ModelRecipe
from medvistagym_trl._recipe._recipe import Recipe

_CHECKPOINT_SETTINGS = (
    "gradient_checkpointing",
    "chat_template",
    "max_pixels",
    "min_pixels",
    "attention",
    "quantization",
    "frozen",
    "lora",
)

_LOSSES_OVER_ALL_TOKENS = ("dapo", "cispo", "vespo")
"""TRL's `loss_type` whose loss is a mean over the tokens of the whole step, its default first."""


def check_recipe(recipe: Recipe, tasks: Sequence[Task]) -> None:
    """Refuse what cannot work, before any work is done.

    Args:
        recipe: The recipe, overrides included.
        tasks: Its tasks.

    Raises:
        RecipeError: The first thing that cannot work.
    """
    _check_model(recipe)
    tiny = recipe.model.path is None if recipe.episode.compact is None else recipe.episode.compact
    if recipe.perception.further and not tiny:
        raise RecipeError(
            "the recipe: perception.further warms up a tiny model, and a checkpoint has seen pictures: leave it out"
        )
    if recipe.grpo.exploration and not (tiny and recipe.episode.action_format == "native"):
        raise RecipeError(
            "the recipe: grpo.exploration draws calls for a tiny model in the native format; a checkpoint reads what a tool "
            "says of itself, and tries it at a higher grpo.temperature"
        )
    check_rollouts(recipe)
    if recipe.sft.epochs is not None and not recipe.sft.data:
        raise RecipeError(
            f"the recipe {recipe.name} learns from trajectories (sft.epochs counts passes over them): give them with "
            "--sft-data, as `medvistagym sample` makes them"
        )
    for task in tasks:
        _check_splits(recipe, task)
        _check_source(recipe, task)


def check_rollouts(recipe: Recipe, *, ranks: int = 1) -> None:
    """Refuse ways of sampling and counting rollouts that the engine, the loss or the processes of a training cannot follow.

    Args:
        recipe: The recipe.
        ranks: Processes that train together.

    Raises:
        RecipeError: The first setting of `grpo` that cannot be followed.
    """
    grpo, vllm = recipe.grpo, recipe.trl.grpo.get("use_vllm")
    if not (grpo.steps or grpo.tail.steps):
        return
    if grpo.exploration and vllm:
        raise RecipeError(
            "the recipe: grpo.exploration begins turns that transformers goes on with; the log-probabilities of vLLM lack "
            "the tokens that were drawn: set trl.grpo.use_vllm=false, or grpo.exploration=0"
        )
    if grpo.generation_parts > 1 and vllm:
        raise RecipeError(
            f"the recipe: grpo.generation_parts {grpo.generation_parts} is for transformers, which keep the keys and values "
            "of all rollouts; vLLM (trl.grpo.use_vllm) keeps those that it has room for: set it to 1"
        )
    loss = recipe.trl.grpo.get("loss_type", _LOSSES_OVER_ALL_TOKENS[0])
    if grpo.zero_variance == "skip" and loss not in _LOSSES_OVER_ALL_TOKENS:
        *others, last = _LOSSES_OVER_ALL_TOKENS
        raise RecipeError(
            f"the recipe: grpo.zero_variance skip leaves tokens in the mean over all tokens of a step, and trl.grpo.loss_type "
            f"{loss} takes no such mean ({', '.join(others)} and {last} do): set it to drop"
        )
    if grpo.zero_variance == "redraw" and ranks > 1 and engine_is_shared(recipe):
        raise RecipeError(
            f"the recipe: grpo.zero_variance redraw gives each of {ranks} processes other rows to play again, and one engine "
            "of vLLM takes those of all of them at once, group by group: set it to drop, or give each process an engine of its "
            "own (trl.grpo.vllm_mode=colocate, trl.grpo.vllm_tensor_parallel_size=1)"
        )


def check_batches(recipe: Recipe, *, ranks: int) -> None:
    """Refuse batches whose parts cannot be split evenly over the processes.

    Args:
        recipe: The recipe, complete.
        ranks: Processes that train together.

    Raises:
        RecipeError: The first batch that cannot.
    """
    rows_of_rank(recipe.sft.batch, recipe.sft.parts, "sft.batch", "sft.parts", ranks)
    rows_of_rank(recipe.grpo.completions, recipe.grpo.parts, "grpo.completions", "grpo.parts", ranks)


def rows_of_rank(batch: int, parts: int, batch_name: str, parts_name: str, ranks: int) -> int:
    """Rows of a part of a batch that one of `ranks` processes learns from: the batch is the same however many there are.

    Args:
        batch: Rows of a step, over all processes.
        parts: Parts that each process learns from one after another.
        batch_name: Dotted name of the setting `batch`, for the error.
        parts_name: Dotted name of the setting `parts`, for the error.
        ranks: Processes that train together.

    Raises:
        RecipeError: The parts cannot be split evenly.
    """
    if batch % (parts * ranks):
        near = max(1, batch // (parts * ranks)) * parts * ranks
        raise RecipeError(
            f"the recipe: {batch_name} {batch} cannot be split evenly over {ranks} processes of {parts} parts ({parts_name}); "
            f"{near} can"
        )
    return batch // parts // ranks


def engine_is_shared(recipe: Recipe) -> bool:
    """Whether all processes of a training ask one engine of vLLM at once: a server, or one that is split over devices."""
    settings = recipe.trl.grpo
    split = int(settings.get("vllm_tensor_parallel_size", 1)) > 1
    return bool(settings.get("use_vllm")) and (settings.get("vllm_mode") == "server" or split)


def _check_model(recipe: Recipe) -> None:
    model = recipe.model
    if model.path is not None:
        if recipe.sft.optimizer == "muon" and not recipe.warms_up:
            raise RecipeError(
                "the recipe: sft.optimizer: muon is for the tiny model; on a checkpoint its float32 copies take several times "
                "the weights: use adamw"
            )
        return
    fields = ModelRecipe.model_fields
    for name in _CHECKPOINT_SETTINGS:
        if getattr(model, name) != fields[name].default:
            raise RecipeError(
                f"the recipe {recipe.name} trains a checkpoint (it sets model.{name}): give its folder with --model"
            )
    cell = model.patch * model.merge
    if model.view_side is None or model.view_side % cell:
        raise RecipeError(
            f"the recipe: model.view_side: a view of {model.view_side} pixels is not a whole number of {cell}-pixel cells of "
            f"the tiny model (patch {model.patch} x merge {model.merge})"
        )


def _check_splits(recipe: Recipe, task: Task) -> None:
    wanted = {"evaluation.split": recipe.evaluation.split if recipe.evaluation.policies else None}
    for name, validation in (("sft", recipe.sft.validation), ("grpo", recipe.grpo.validation)):
        wanted[f"{name}.validation.split"] = validation.split if validation.every else None
    for name, split in wanted.items():
        if split is not None and split not in task.splits:
            raise RecipeError(
                f"the recipe: {name}: the task {task.name} has no split {split!r}; its splits are {', '.join(task.splits)}"
            )


def _check_source(recipe: Recipe, task: Task) -> None:
    """An SFT without data needs a task that shows how it is solved: else it would teach to answer without a look."""
    sft = recipe.sft
    if sft.data or sft.steps == 0 or sft.source == "call_format":
        return
    if sft.source == "exploration":
        if not (recipe.warms_up and isinstance(task, HasPerceptionItems) and recipe.perception.steps):
            raise RecipeError(
                "the recipe: sft.source: exploration needs a tiny model that perception items have warmed up: it reads what "
                "tools return; give trajectories with --sft-data instead (`medvistagym sample` makes them)"
            )
        if sft.exploration.while_unclear and task.abstention is None:
            raise RecipeError(
                "the recipe: sft.exploration.while_unclear goes on while the model answers that it cannot tell, and the task "
                f"{task.name} has no such answer: set it to false"
            )
        return
    able = isinstance(task, HasDemonstrations if sft.source == "demonstrations" else HasExpert)
    if not able:
        other = (
            "expert"
            if isinstance(task, HasExpert)
            else "demonstrations"
            if isinstance(task, HasDemonstrations)
            else None
        )
        hint = f", or set sft.source={other}" if other else ""
        what = "demonstrations" if sft.source == "demonstrations" else "scripted expert"
        raise RecipeError(
            f"the task {task.name} has no {what} to learn from: give trajectories with --sft-data (`medvistagym sample` makes "
            f"them){hint}, or skip SFT with --set sft.steps=0"
        )
