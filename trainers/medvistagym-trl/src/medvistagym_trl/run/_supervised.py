"""The supervised stages of a run: SFT, rounds of rejection sampling, and the policies to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from medvistagym_core.environment import Task
from medvistagym_core.rollouts import rollout
from medvistagym_core.trajectories import Trajectory, TrajectoryWriter
from medvistagym_trl._ranks import on_first_rank
from medvistagym_trl._recipe import Recipe, SftRecipe, ValidationRecipe
from medvistagym_trl.model import LoadedModel, TokenCounter, replace_prompt
from medvistagym_trl.rollout import (
    ConversationSource,
    DemonstrationFactory,
    DemonstrationSource,
    PictureLoader,
    RecordedSource,
    RolloutContext,
    TrajectoryData,
    conversation_of,
    find_trajectory_files,
    locate_case,
    refusal_of,
    write_demonstrations,
)
from medvistagym_trl.run._callbacks import RunLogCallback
from medvistagym_trl.run._folder import write_text_atomically
from medvistagym_trl.run._scripts import answer_at_once, demonstration_factory, random_call_factory
from medvistagym_trl.run._setup import (
    EXPLORATION_CASES,
    PLAIN_CASES,
    SELF_SAMPLING_CASES,
    SFT_CASES,
    RunSetup,
    perception_collator,
)
from medvistagym_trl.run._validation import keep_best, validation_callbacks
from medvistagym_trl.stages import (
    ConversationCollator,
    ExploringPolicy,
    SamplingPolicy,
    preview_examples,
    train_sft,
)

SAVED_DEMONSTRATIONS: Final = 32
"""Demonstrations of each supervised stage that are kept as trajectories."""
_BASELINES: Final = ("no_tools", "untrained")
_LABELS: Final = {"no_tools": "no tools", "untrained": "call format only", "sft": "SFT"}


def run_sft(setup: RunSetup) -> None:
    """Supervised fine-tuning on the trajectories given, or on the task's demonstrations or its expert's."""
    recipe, context = setup.recipe.sft, setup.context
    paths = (str(_exploration_file(setup)),) if explores(setup.recipe) else recipe.data
    if paths:
        model = setup.load_to_train("perception")
        data = open_data(context, recipe, paths, model)
        setup.folder.print_progress(str(data.report))
        setup.folder.log("sft-data", {"step": 0, "trajectories": len(data), "questions": data.report.questions})
        steps = data_steps(recipe, len(data))
        _train_on_data(setup, "sft", model, data, steps)
        return
    if recipe.source == "call_format":
        factory = random_call_factory(setup.task, setup.folder.toolbox)
    else:
        factory = demonstration_factory(recipe, setup.task, setup.folder.toolbox)
    _train_on_demonstrations(setup, "sft", context, factory, recipe.steps or 0, SFT_CASES, recipe.looks)


def explores(recipe: Recipe) -> bool:
    """Whether a run samples the trajectories of its SFT itself, before it."""
    return recipe.sft.source == "exploration" and not recipe.sft.data and recipe.sft.steps != 0


def run_exploration(setup: RunSetup) -> None:
    """Trajectory sampling: tools are tried on training cases; episodes that end right are kept for SFT."""
    on_first_rank(lambda: _explore(setup))


def _explore(setup: RunSetup) -> None:
    recipe, context, path = setup.recipe, setup.context, _exploration_file(setup)
    rules = recipe.sft.exploration
    model = SamplingPolicy(
        setup.load("perception"),
        context.rendered_schemas,
        context.config.protocol,
        temperature=rules.temperature,
        max_tokens=recipe.evaluation.max_tokens,
        seed=recipe.seed,
        engine=setup.engine,
    )
    path.unlink(missing_ok=True)
    played = kept = cases = 0
    with TrajectoryWriter(path, context.toolbox) as writer:
        for task in context.tasks:
            positions = _training_positions(context, task, EXPLORATION_CASES, rules.cases)
            policy = ExploringPolicy(
                model, context, task, seed=recipe.seed, spread=rules.spread, while_unclear=rules.while_unclear
            )
            episodes = rollout(
                policy,
                task,
                context.toolbox,
                "train",
                positions,
                context.config,
                seed=context.seed,
                samples=rules.samples,
                batch=recipe.evaluation.batch,
                keep="correct" if recipe.sft.filter.correct else "all",
                writer=writer,
                executor=context.executor,
            )
            kept += sum(1 for _ in episodes)
            cases += len(positions)
            played += len(positions) * rules.samples
    setup.folder.log("exploration", {"step": 0, "played": played, "kept": kept})
    setup.folder.print_progress(f"exploration: {kept} of {played} episodes on {cases} cases are kept")


def _exploration_file(setup: RunSetup) -> Path:
    return setup.trajectories("exploration.jsonl")


def run_no_tools(setup: RunSetup) -> None:
    """The same model, trained to answer at once."""
    steps = setup.recipe.comparison.no_tools_steps
    _train_on_demonstrations(setup, "no_tools", setup.context_without_tools, answer_at_once, steps, PLAIN_CASES)


def run_syntax_only_baseline(setup: RunSetup) -> None:
    """The same model, taught the syntax of calls and nothing of their use."""
    factory = random_call_factory(setup.task, setup.folder.toolbox)
    steps = setup.recipe.comparison.untrained_steps
    _train_on_demonstrations(setup, "untrained", setup.context, factory, steps, SFT_CASES)


def run_self_sampling(setup: RunSetup, number: int, before: str) -> None:
    """One round of rejection sampling: the policy plays training cases and learns from its right answers.

    Args:
        setup: The run.
        number: Of the round, from 1.
        before: The stage whose policy plays.
    """
    recipe, context = setup.recipe.sft, setup.context
    rules, model = recipe.self_sampling, setup.load_to_train(before)
    phase = f"self_sampling_{number}"
    path = setup.trajectories(f"{phase}.jsonl")
    if setup.engine is not None:
        setup.engine.prepare(model)
    on_first_rank(lambda: _play(setup, number, phase, model, path))
    data = open_data(context, recipe, (str(path),), model)
    setup.folder.print_progress(str(data.report))
    _train_on_data(setup, phase, model, data, rules.steps)


def _training_positions(context: RolloutContext, task: Task, first: int, count: int) -> list[int]:
    """Where the training cases from `first` on of a mixture of tasks lie in one of them, each once."""
    located = [locate_case(context.task, "train", index) for index in range(first, first + count)]
    return list(dict.fromkeys(position for part, position in located if part is task))


def _play(setup: RunSetup, number: int, phase: str, model: LoadedModel, path: Path) -> None:
    """Let the policy play the training cases of a round, into a trajectory file."""
    context, rules = setup.context, setup.recipe.sft.self_sampling
    policy = SamplingPolicy(
        model,
        context.rendered_schemas,
        context.config.protocol,
        temperature=rules.temperature,
        max_tokens=setup.recipe.evaluation.max_tokens,
        seed=setup.recipe.seed + number,
        name=phase,
        engine=setup.engine,
    )
    first = SELF_SAMPLING_CASES + (number - 1) * rules.cases
    with TrajectoryWriter(path, context.toolbox) as writer:
        for task in context.tasks:
            positions = _training_positions(context, task, first, rules.cases)
            episodes = rollout(
                policy,
                task,
                context.toolbox,
                "train",
                positions,
                context.config,
                seed=context.seed,
                samples=rules.samples,
                batch=setup.recipe.evaluation.batch,
                writer=writer,
                executor=context.executor,
            )
            for _ in episodes:
                pass


def open_data(
    context: RolloutContext, recipe: SftRecipe, paths: tuple[str, ...], model: LoadedModel | None = None
) -> TrajectoryData:
    """The trajectories of some files that pass the recipe's filter.

    Args:
        context: Prompt, rules and tools.
        recipe: The filter, and in what form trajectories are read.
        paths: The files and folders.
        model: Counts tokens, where the filter limits them; without it, length is not looked at.

    Raises:
        RecipeError: A file cannot be read, or nothing is left.
    """
    length = None if model is None else _conversation_length(context, model)
    return TrajectoryData(
        find_trajectory_files(paths),
        recipe.filter,
        refusal=lambda trajectory: refusal_of(
            context, trajectory, recipe.observations, well_formed=recipe.filter.well_formed
        ),
        length=length,
    )


def data_steps(recipe: SftRecipe, count: int) -> int:
    """Optimiser steps of SFT on so many trajectories."""
    if recipe.steps is not None:
        return recipe.steps
    assert recipe.epochs is not None, "a recipe has either steps or epochs"
    return max(1, round(recipe.epochs * count / recipe.batch))


def _conversation_length(context: RolloutContext, model: LoadedModel) -> Any:
    counter = TokenCounter(model.processor, context.rendered_schemas)

    def length(trajectory: Trajectory, load: PictureLoader) -> int:
        sizes = {image.picture: (image.width, image.height) for image in trajectory.images}
        messages = conversation_of(context, trajectory, lambda sha256: sizes[sha256], "recorded")
        return counter.count(messages)

    return length


def _train_on_data(setup: RunSetup, phase: str, model: LoadedModel, data: TrajectoryData, steps: int) -> None:
    recipe, context = setup.recipe, setup.context
    source = RecordedSource(context, data, recipe.sft.observations)
    order = data.draw(steps * recipe.sft.batch, recipe.seed)
    collator = ConversationCollator(
        source,
        model.processor,
        context.rendered_schemas,
        model.end_of_turn,
        order=order,
        **_perception(setup, context, model, recipe.sft.looks),
        offset=SFT_CASES,
    )
    _train(setup, phase, model, collator, steps)


def _train_on_demonstrations(
    setup: RunSetup,
    phase: str,
    context: RolloutContext,
    factory: DemonstrationFactory,
    steps: int,
    offset: int,
    perception_share: float = 0.0,
) -> None:
    recipe = setup.recipe
    if not steps:
        setup.pass_on("perception", phase)
        return
    model = setup.load_to_train("perception")
    if context.config.prompt and setup.context.config.prompt:  # without tools it is another one
        replace_prompt(model, context.config.prompt, setup.context.config.prompt)
    saved = range(offset, offset + min(SAVED_DEMONSTRATIONS, steps * recipe.sft.batch))
    path: Path = setup.trajectories(f"lessons-{phase}.jsonl")
    teacher = f"lessons of {_LABELS[phase]}"
    on_first_rank(lambda: write_demonstrations(context, factory, teacher, saved, recipe.seed, path))
    source: ConversationSource = DemonstrationSource(context, factory, offset, recipe.seed)
    collator = ConversationCollator(
        source,
        model.processor,
        context.rendered_schemas,
        model.end_of_turn,
        **_perception(setup, context, model, perception_share),
        offset=offset,
    )
    _train(setup, phase, model, collator, steps)


def _perception(setup: RunSetup, context: RolloutContext, model: LoadedModel, share: float) -> dict[str, Any]:
    """Perception items mixed into batches, where there are such."""
    collator = perception_collator(setup, context, model) if share else None
    return {} if collator is None else {"perception": collator, "share": share}


def _train(setup: RunSetup, phase: str, model: LoadedModel, collator: ConversationCollator, steps: int) -> None:
    recipe = setup.recipe
    count = 0 if phase in _BASELINES else min(recipe.sft.show_examples, steps * recipe.sft.batch)
    count = count if setup.folder.writes else 0
    examples = preview_examples(collator, model.processor, range(count))
    if examples:
        text = "\n\n".join(f"example {number}: {example}" for number, example in enumerate(examples, 1))
        write_text_atomically(setup.folder.path / "examples" / f"{phase}.txt", text + "\n")
        setup.folder.print_progress(
            f"{phase} learns from conversations such as these; what carries loss stands in ⟦ ⟧\n{text}"
        )
    watched = phase not in _BASELINES
    validation = recipe.sft.validation if watched else ValidationRecipe()
    train_sft(
        model,
        collator,
        recipe,
        steps=steps,
        folder=setup.steps_folder(phase),
        callbacks=[
            RunLogCallback(setup.folder, phase),
            *validation_callbacks(setup, phase, model, validation),
        ],
    )
    setup.folder.save(phase, model)
    keep_best(setup, phase, validation)
