"""What `medvistagym train` and `medvistagym eval` call. Importing it loads neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._ranks import join_ranks, leave_ranks, rank, rank_count, wait_for_ranks

if TYPE_CHECKING:
    from medvistagym_core.environment import EpisodeConfig, Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import LaunchRequest, Policy, TrainingPlan
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import Results
    from medvistagym_trl._recipe import Recipe
    from medvistagym_trl.run import RunFolder

DEFAULT: Final = "scoutvqa-explored"
DEFAULT_OF_OTHERS: Final = "scoutvqa"
"""For a model, a task or trajectories of somebody's own: exploration needs the tiny model, which perception warms up."""
QUICK_OVERRIDES: Final[Mapping[str, Any]] = {
    "perception.steps": 12,
    "sft.epochs": None,
    "sft.steps": 6,
    "sft.batch": 16,
    "sft.parts": 1,
    "sft.self_sampling.cases": 8,
    "sft.self_sampling.steps": 2,
    "grpo.steps": 3,
    "grpo.completions": 32,
    "grpo.parts": 4,
    "grpo.group": 8,
    "grpo.max_turn_tokens": 32,
    "grpo.save_every": 2,
    "grpo.tail.candidates": 8,
    "comparison.no_tools_steps": 4,
    "comparison.untrained_steps": 4,
    "evaluation.n": 16,
}
"""What `--quick` changes: every phase runs, and no figure means anything."""
QUICK_EXPLORATION_OVERRIDES: Final[Mapping[str, Any]] = {
    "sft.exploration.cases": 16,
    "sft.exploration.samples": 2,
    "sft.filter.correct": False,
    "sft.filter.well_formed": False,
}
"""What it changes where trajectories are sampled: a model that was hardly warmed up answers next to nothing right."""
QUICK_CHECKPOINT_OVERRIDES: Final[Mapping[str, Any]] = {
    "sft.steps": 2,
    "sft.batch": 4,
    "sft.self_sampling.cases": 2,
    "sft.self_sampling.samples": 2,
    "grpo.steps": 2,
    "grpo.completions": 8,
    "grpo.parts": 2,
    "grpo.group": 4,
    "grpo.max_turn_tokens": 160,
    "grpo.tail.candidates": 2,
    "comparison.no_tools_steps": 0,
    "comparison.untrained_steps": 0,
    "evaluation.n": 4,
}
"""What it changes beyond that for a checkpoint, whose prompts are a hundred times as long as the tiny model's."""
QUICK_TOOLS: Final = 3
"""Tools of a quick run of a checkpoint, whose trajectories call none and whose tools nobody named."""


class TrlTrainer:
    """Trains a vision-language policy on a toolbox: perception, SFT, GRPO, evaluation."""

    name = "trl"
    description = "SFT and GRPO with TRL, for the tiny built-in policy or a local checkpoint (docs/models.md)"

    def recipes(self) -> Mapping[str, str]:
        """Recipes that ship with the trainer, and a line about each."""
        from medvistagym_trl._recipe import load_recipe, recipe_names

        return {name: load_recipe(name).description for name in recipe_names()}

    def reference_runs(self) -> Mapping[str, Path]:
        """Folders with the metrics and results of trainings that were run with shipped recipes, by the recipe's name."""
        folders = sorted((Path(__file__).parent / "reference").glob("*/metrics.jsonl"))
        return {file.parent.name: file.parent for file in folders}

    def tool_schemas(self, toolbox: Toolbox) -> list[Mapping[str, Any]]:
        """The schemas that TRL renders into the prompt for a toolbox, in order; the conformance kit compares them."""
        from medvistagym_trl.rollout import tool_methods

        return [method.__json_schema__ for method in tool_methods(toolbox)]

    def train(
        self,
        registry: Registry,
        *,
        run: Path,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
        resume: bool = False,
    ) -> Results:
        """Train, evaluate, and leave everything in a run folder.

        Args:
            registry: What is installed.
            run: The run folder.
            recipe: Name of a shipped recipe, or a YAML file.
            changes: Settings to change, by dotted name.
            tools: Toolbox selection; the recipe's, or else the task's own, when None.
            model: Folder of a checkpoint to train; None builds the tiny policy.
            quick: A run of about a minute that shows only that everything runs.
            resume: Go on with the run in `run`; its own recipe counts.

        Raises:
            SelectionError: A recipe, setting, task, tool, model or run folder that cannot be had; a sentence says why.
        """
        # What cannot be had is said before torch is loaded, which takes seconds.
        run = Path(run)
        chosen = _choose(run, recipe, changes, tools, model, quick=quick, resume=resume)
        resolved, task = _check(chosen, registry, quick=quick, processes=rank_count())
        configure_libraries()
        from medvistagym_trl.rollout import make_toolbox
        from medvistagym_trl.run import BaselineProcess, TrainingPipeline, check_run

        join_ranks()
        toolbox = make_toolbox(resolved, registry)
        notes = [] if resume else check_run(resolved, task, toolbox, registry)
        folder = _open_folder(run, resolved, toolbox, resume=resume)
        for note in notes:
            folder.print_progress(note)
        pipeline = TrainingPipeline(folder, task, registry)
        try:
            pipeline.warm_up()
            second = resolved.processes > 1 and rank_count() == 1 and pipeline.has_side_stages_left
            with BaselineProcess(run, lambda: pipeline.second_waits) if second else nullcontext() as beside:
                results = pipeline.run(beside)
        finally:
            pipeline.close()
        leave_ranks()
        return results

    def check(
        self,
        registry: Registry,
        *,
        run: Path,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
        resume: bool = False,
        processes: int = 1,
    ) -> None:
        """Refuse what each of several processes would refuse in `train` before it loads weights.

        Args:
            registry: As for `train`, as are the others.
            run: The run folder.
            recipe: Name of a shipped recipe, or a YAML file.
            changes: Settings to change, by dotted name.
            tools: Toolbox selection.
            model: Folder of a checkpoint to train.
            quick: Whether it is a run of about a minute.
            resume: Whether it goes on with the run in `run`.
            processes: How many processes train together.

        Raises:
            SelectionError: A recipe, setting, task, tool, model or run folder that cannot be had; a sentence says why.
        """
        chosen = _choose(run, recipe, changes, tools, model, quick=quick, resume=resume)
        resolved, task = _check(chosen, registry, quick=quick, processes=processes)
        if resume:  # as it was when the run began
            return
        configure_libraries()
        from medvistagym_trl.rollout import make_toolbox
        from medvistagym_trl.run import check_run

        check_run(resolved, task, make_toolbox(resolved, registry), registry)

    def plan(
        self,
        registry: Registry,
        *,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
        launch: LaunchRequest | None = None,
    ) -> TrainingPlan:
        """What `train` would do with the same arguments: tokens, memory and steps. No weights are loaded, nothing is written.

        Args:
            registry: As for `train`, as are the others.
            recipe: Name of a shipped recipe, or a YAML file.
            changes: Settings to change, by dotted name.
            tools: Toolbox selection.
            model: Folder of a checkpoint to train.
            quick: Whether it is a run of about a minute.
            launch: The devices that it would run on; None plans for one process.

        Raises:
            SelectionError: Something cannot be had, or cannot work; a sentence says why.
        """
        resolved, task = _check(_resolve(recipe, changes, tools, model, quick), registry, quick=quick)
        configure_libraries()
        from medvistagym_trl.rollout import make_toolbox
        from medvistagym_trl.run import plan_run

        return plan_run(resolved, task, make_toolbox(resolved, registry), registry, launch)

    def launch_command(self, request: LaunchRequest) -> list[str]:
        """The command that starts the processes of a training on this machine.

        Raises:
            RecipeError: Weights cannot be shared that way.
        """
        from medvistagym_core.execution import module_program
        from medvistagym_core.plugins import scan_environment
        from medvistagym_trl._parallel import SHARDED, check_parallel, launch_command
        from medvistagym_trl._recipe import RecipeError

        parallel = check_parallel(request.parallel or "ddp")
        if parallel in SHARDED:
            import torch

            if torch.cuda.device_count() < request.gpus:  # accelerate would train with ddp on CPUs, without a word
                raise RecipeError(
                    f"--parallel {parallel} shards weights over {request.gpus} CUDA devices, and there are "
                    f"{torch.cuda.device_count()}; leave it away (ddp), or plan it with --dry-run"
                )
        command = launch_command(request.gpus, parallel, ["train", *request.arguments])
        if scan_environment().faults:  # which the import of torch may end at, in a program that is not ours
            python, _, module, *arguments = command
            return module_program(python, module, *arguments)
        return command

    def load_policy(
        self,
        registry: Registry,
        path: str | Path,
        task: Task,
        toolbox: Toolbox,
        *,
        temperature: float | None = None,
        seed: int = 0,
    ) -> tuple[Policy, EpisodeConfig]:
        """Load a trained policy.

        Args:
            registry: What is installed.
            path: A run folder (the policy that its table ends with), or a checkpoint in one, or any supported checkpoint.
            task: The task to play.
            toolbox: The tools it is given, which need not be those it was trained with.
            temperature: Of sampling; 0 is greedy; None is the temperature it was trained with, or 1.
            seed: Of sampling.

        Returns:
            The policy, and how its episodes are played.
        """
        from medvistagym_trl._recipe import policy_checkpoint

        policy_checkpoint(Path(path))  # refused before torch is loaded
        configure_libraries()
        from medvistagym_trl.run import load_trained_policy

        return load_trained_policy(registry, Path(path), task, toolbox, temperature=temperature, seed=seed)


def _open_folder(run: Path, recipe: Recipe, toolbox: Toolbox, *, resume: bool) -> RunFolder:
    """The run folder: rank 0 begins or resumes it, the others attach to it."""
    from medvistagym_trl.run import RunFolder

    folder = None
    if rank() == 0:
        folder = RunFolder.resume(run, toolbox) if resume else RunFolder.begin(run, recipe, toolbox)
    wait_for_ranks()
    return folder or RunFolder.attach(run, toolbox)


def _resolve(
    recipe: str | Path | None,
    changes: Mapping[str, Any] | None,
    tools: str | None,
    model: str | Path | None,
    quick: bool,
) -> Recipe:
    """The recipe of a new run, every change made."""
    from medvistagym_trl._recipe import RecipeError, load_recipe

    resolved = load_recipe(recipe or DEFAULT)
    given = changes or {}
    brings_own = model is not None or not {"model.path", "sft.data"}.isdisjoint(given)
    if recipe is None and (brings_own or given.get("task", resolved.task) != resolved.task):
        resolved = load_recipe(DEFAULT_OF_OTHERS)
    checkpoint = model is not None or resolved.model.path is not None
    resolved = resolved.with_overrides({**(_quick(resolved, checkpoint) if quick else {}), **(changes or {})})
    if tools is not None:
        resolved = resolved.with_overrides({"tools": tools.split(",")})
    if model is not None:
        resolved = resolved.with_overrides({"model.path": str(model)})
    path = resolved.model.path
    if path is not None and not Path(path).is_dir():
        raise RecipeError(f"{path} holds no config.json; give the folder of a checkpoint saved with save_pretrained")
    return _as_trained(_with_absolute_paths(resolved))


def _choose(
    run: Path,
    recipe: str | Path | None,
    changes: Mapping[str, Any] | None,
    tools: str | None,
    model: str | Path | None,
    *,
    quick: bool,
    resume: bool,
) -> Recipe:
    """The recipe of a new run, or that of the one to go on with."""
    from medvistagym_trl._recipe import RecipeError, load_recipe

    if not resume:
        return _resolve(recipe, changes, tools, model, quick)
    if recipe is not None or changes or tools is not None or model is not None or quick:
        raise RecipeError("a resumed run keeps its own recipe, tools and model: give --run and --resume alone")
    for name in ("recipe.yaml", "toolbox.lock.json"):  # a study's folder holds a recipe, too
        if not (run / name).is_file():
            raise RecipeError(f"{run} is no run folder: it holds no {name}")
    return load_recipe(run / "recipe.yaml")


def _check(
    recipe: Recipe, registry: Registry, *, quick: bool = False, processes: int | None = None
) -> tuple[Recipe, Task]:
    """The recipe with its toolbox named, and its task; what can be refused without torch is refused."""
    from medvistagym_core.environment import HasSize, make_task
    from medvistagym_trl._recipe import check_batches, check_recipe, check_rollouts
    from medvistagym_trl.rollout import find_trajectory_files, mix_tasks, parse_reward, tools_called

    tasks: list[Task] = [make_task(registry, name, recipe.task_arguments) for name in recipe.tasks]
    task = mix_tasks(tasks)
    if recipe.tools is None:
        tools = list(task.tools)
        if quick and recipe.model.path is not None:  # the schemas of all make a prompt of thousands of tokens
            names, called = list(registry.toolbox(tools)), tools_called(recipe.sft.data)
            tools = [name for name in names if name in called] or names[:QUICK_TOOLS]
        recipe = recipe.with_overrides({"tools": tools})
    registry.toolbox(recipe.tools or ())
    registry.executor(recipe.executor)
    parse_reward(recipe.episode, registry.rewards)
    check_recipe(recipe, tasks)
    find_trajectory_files(recipe.sft.data)
    for each in tasks:
        if isinstance(each, HasSize):  # whose data may not be there
            each.size("train")
    if processes is not None:
        check_batches(recipe, ranks=processes)
        check_rollouts(recipe, ranks=processes)
    return recipe, task


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    """A recipe whose files are found from any folder, so that its run can be resumed from another one."""
    paths = {"model.path": recipe.model.path, "model.chat_template": recipe.model.chat_template}
    changes: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in paths.items() if path is not None}
    if recipe.sft.data:
        changes["sft.data"] = [str(Path(path).resolve()) for path in recipe.sft.data]
    return recipe.with_overrides(changes) if changes else recipe


def _as_trained(recipe: Recipe) -> Recipe:
    """A recipe that shows a tiny model given by its folder what it was trained to read, and no other words."""
    from medvistagym_trl._recipe import read_conversation_format

    if recipe.model.path is None or recipe.episode.compact is not None:
        return recipe
    conversation = read_conversation_format(Path(recipe.model.path))
    if conversation is None or not conversation.compact:
        return recipe.with_overrides({"episode.compact": False})
    return recipe.with_overrides(
        {
            "episode.compact": True,
            "episode.action_format": conversation.action_format,
            "model.view_side": conversation.view_side,
        }
    )


def _quick(recipe: Recipe, checkpoint: bool) -> dict[str, Any]:
    """What `--quick` changes of a recipe: no more steps, tokens and cases than show that everything runs."""
    explores = recipe.sft.source == "exploration"
    expert = recipe.sft.source == "expert" and not recipe.sft.data
    return {
        **QUICK_OVERRIDES,
        **(QUICK_EXPLORATION_OVERRIDES if explores else {}),
        **(QUICK_CHECKPOINT_OVERRIDES if checkpoint else {}),
        # An expert makes as many calls as a question takes, and is to show its answer.
        "episode.max_calls": recipe.episode.max_calls if expert else min(2, recipe.episode.max_calls),
        "perception.result_steps": min(6, recipe.perception.result_steps),
        "grpo.tail.steps": min(1, recipe.grpo.tail.steps),
        "sft.validation.n": min(16, recipe.sft.validation.n),
        "grpo.validation.n": min(16, recipe.grpo.validation.n),
        "evaluation.max_tokens": min(160 if checkpoint else 48, recipe.evaluation.max_tokens),
        "evaluation.batch": min(16, recipe.evaluation.batch),
    }
