"""The stored answers of an evaluation under several scoring protocols: nothing is played again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvistagym_core.environment import HasProvenance, Task
from medvistagym_core.scoring import (
    EvaluationReport,
    RunFile,
    make_report,
    read_condition,
    rendered_prompt,
    score_condition,
)
from medvistagym_core.trajectories import TrajectoryReader


def score_evaluation(
    files: Mapping[str, Path], tasks: Sequence[Task], protocols: Sequence[str], folder: Path
) -> EvaluationReport:
    """Score trajectory files of a run.

    Args:
        files: The files, by what the report calls them: a policy and a decoding.
        tasks: The tasks, which may say where their questions are from.
        protocols: Names of scoring protocols.
        folder: The run folder, which the report names files relative to.
    """
    scored = []
    for condition, path in files.items():
        tools = [tool.name for tool in TrajectoryReader(path).lock().tools]
        name = path.relative_to(folder).as_posix()
        scored += [
            score_condition(
                episodes,
                protocols,
                condition=condition,
                file=name,
                tools=tools,
                rendered_prompt=rendered_prompt(episodes[0]),
                provenance=_provenance(tasks, task, split),
            )
            for (task, split, _), episodes in read_condition(RunFile(path, name, condition)).items()
        ]
    return make_report(scored)


def _provenance(tasks: Sequence[Task], name: str, split: str) -> dict[str, Any]:
    """Where the questions of a task are from, where it says so."""
    return next(
        (
            dataclasses.asdict(task.provenance(split))
            for task in tasks
            if task.name == name and isinstance(task, HasProvenance)
        ),
        {},
    )
