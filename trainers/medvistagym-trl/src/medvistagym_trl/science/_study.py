"""A study: the trainings of several seeds, in one folder that can be gone on with.

    STUDY/recipe.yaml             the main recipe; seeds differ in nothing else
    STUDY/seed-0/main/            run folders, as `medvistagym train` makes them
    STUDY/seed-0/all-data/ ...
    STUDY/study.json              figures of all seeds; study.md, the table

The trainings of a seed begin with a copy of its main run's warm-up, and their SFT reads the episodes that the main run's
exploration kept: they differ in what follows.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from medvistagym_core.environment import make_task
from medvistagym_core.execution import module_program
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_trl._recipe import Recipe, dump_recipe, load_recipe
from medvistagym_trl.rollout import make_toolbox, mix_tasks
from medvistagym_trl.run import RunFolder, TrainingPipeline, write_text_atomically
from medvistagym_trl.science._controls import play_controls
from medvistagym_trl.science._variations import MAIN, Variation, curve_variation, table_variations

RECIPE: Final = "recipe.yaml"


class StudyError(SelectionError):
    """A study that cannot be begun, gone on with or drawn; the sentence says why."""


def begin_study(folder: Path, recipe: Recipe) -> None:
    """Make a study's folder, or go on with it.

    Args:
        folder: The study's folder.
        recipe: The main recipe.

    Raises:
        StudyError: The folder's study has another recipe.
    """
    path = folder / RECIPE
    if path.is_file():
        if load_recipe(path) != recipe:
            raise StudyError(f"{folder} holds a study of another recipe; name another folder with --run")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, dump_recipe(recipe))


def study_recipe(folder: Path) -> Recipe:
    """The recipe of a study's folder.

    Raises:
        StudyError: It holds no study.
    """
    if not (folder / RECIPE).is_file():
        raise StudyError(f"{folder} holds no study: there is no {RECIPE} in it; `make science` makes one")
    if (folder / "toolbox.lock.json").is_file():
        raise StudyError(f"{folder} is the run of one training; name the folder of a study, which holds seed-0/main")
    return load_recipe(folder / RECIPE)


def study_seeds(folder: Path) -> list[int]:
    """The seeds whose main run is finished."""
    done = folder.glob(f"seed-*/{MAIN.name}/results.json")
    names = [path.parent.parent.name.removeprefix("seed-") for path in done]
    return sorted(int(name) for name in names if name.isdecimal())


def run_seeds(folder: Path, seeds: Sequence[int], curve: Sequence[int], *, jobs: int) -> None:
    """Train what is missing of some seeds, each seed in a process of its own.

    Args:
        folder: The study's folder.
        seeds: The seeds.
        curve: Numbers of trajectories, the points of the curve.
        jobs: Seeds at a time.

    Raises:
        StudyError: A process failed; what it had finished is kept.
    """

    def run(seed: int) -> int:
        arguments = ("seed", "--run", str(folder), "--seed", str(seed), "--curve", ",".join(map(str, curve)))
        command = module_program(sys.executable, "medvistagym_trl.science", *arguments)
        return subprocess.run(command, check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        codes = dict(zip(seeds, pool.map(run, seeds), strict=True))
    failed = [seed for seed, code in codes.items() if code]
    if failed:
        raise StudyError(f"seed {failed[0]} of {folder} failed; its messages stand above; the same command goes on")


def run_seed(folder: Path, seed: int, curve: Iterable[int], registry: Registry) -> None:
    """Train what is missing of one seed: the main run, its controls, the variations, the points of the curve.

    Args:
        folder: The study's folder.
        seed: The seed.
        curve: Numbers of trajectories, the points of the curve.
        registry: What is installed.

    Raises:
        StudyError: The folder holds no study, or a run of another recipe.
        SelectionError: What the recipe asks for cannot be had.
    """
    one_core = {"processes": 1, "perception.threads": None}  # others are for the seeds beside it
    recipe = study_recipe(folder).with_overrides({"seed": seed, **one_core})
    home = folder / f"seed-{seed}"
    for variation in [*table_variations(recipe), *map(curve_variation, curve)]:
        _train(home, variation, recipe, registry)


def _train(home: Path, variation: Variation, recipe: Recipe, registry: Registry) -> None:
    path = home / variation.name
    explored = home / MAIN.name / "trajectories" / "exploration.jsonl"
    recipe = recipe.with_overrides(variation.changes)
    if variation is not MAIN and recipe.sft.source == "exploration" and recipe.sft.steps:
        recipe = recipe.with_overrides({"sft.data": [str(explored.resolve())]})
    task = mix_tasks([make_task(registry, name, recipe.task_arguments) for name in recipe.tasks])
    if recipe.tools is None:
        recipe = recipe.with_overrides({"tools": list(task.tools)})
    toolbox = make_toolbox(recipe, registry)
    begun = (path / RECIPE).is_file()
    if begun and RunFolder.read_recipe(path) != recipe:
        raise StudyError(f"{path} was begun with another recipe; name another folder with --run")
    run = RunFolder.resume(path, toolbox) if begun else RunFolder.begin(path, recipe, toolbox)
    if variation is not MAIN and not run.done("perception"):
        share_warm_up(home / MAIN.name, path)
    pipeline = TrainingPipeline(run, task, registry)
    try:
        if not (path / "results.json").is_file():
            pipeline.run()
        if variation is MAIN:
            play_controls(run, task, registry)
    finally:
        pipeline.close()


def share_warm_up(source: Path, target: Path) -> None:
    """Let a run begin with the warmed-up model of another."""
    if not (source / "phases" / "perception.json").is_file():
        return
    shutil.copytree(source / "checkpoints" / "perception", target / "checkpoints" / "perception", dirs_exist_ok=True)
    (target / "phases").mkdir(parents=True, exist_ok=True)
    shutil.copy2(source / "phases" / "perception.json", target / "phases")
