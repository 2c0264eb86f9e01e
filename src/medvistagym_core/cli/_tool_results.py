"""`medvistagym eval --tool-results`: what a policy answers when its tools return something else."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.cli._console import ProgressBar, print_stderr
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import make_executor
from medvistagym_core.cli._policy_options import make_policy

if TYPE_CHECKING:
    from medvistagym_core.environment import Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ReplacedEpisode, ResultReplacement
    from medvistagym_core.scoring import ReplacedAnswer, ToolReliance
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import Trajectory

__all__ = ["measure_recorded", "measure_replaced", "replacements"]


def replacements(options: argparse.Namespace) -> list[ResultReplacement]:
    """The kinds of `--tool-results`.

    Raises:
        UsageError: There is no such kind.
    """
    from medvistagym_core.rollouts import RESULT_REPLACEMENTS

    text = options.tool_results
    names = [] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    wrong = any(name not in RESULT_REPLACEMENTS for name in names)
    if wrong or (text is not None and not names) or len(set(names)) < len(names):
        raise UsageError(f"--tool-results takes {', '.join(RESULT_REPLACEMENTS)}, or several of them, not {text!r}")
    return [kind for kind in RESULT_REPLACEMENTS if kind in names]


def measure_recorded(
    options: argparse.Namespace, registry: Registry, kinds: Sequence[ResultReplacement]
) -> list[ToolReliance]:
    """Reliance on tools of the policy that played a run, from the episodes with their own images.

    Raises:
        UsageError: There is no such run, its tools are not those installed, or another policy played it.
    """
    from medvistagym_core.rollouts import locked_toolbox, recorded_task
    from medvistagym_core.scoring import find_run_files, read_condition
    from medvistagym_core.trajectories import TrajectoryReader

    run: Path = options.recorded_run
    try:
        files = find_run_files(run)
    except ValueError as error:
        raise UsageError(str(error)) from error
    found: list[ToolReliance] = []
    task_of = recorded_task(registry)
    for file in files:
        lock = TrajectoryReader(file.path).lock()
        toolbox = locked_toolbox(lock, registry)
        differences = lock.differences(toolbox)
        if differences:
            raise UsageError(f"{file.name}: the installed tools are not those of the run: {'; '.join(differences)}")
        for (name, _, _), trajectories in read_condition(file).items():
            episodes = [each for each in trajectories if "images" not in each.facets]
            if episodes and any(each.calls for each in episodes):
                task = task_of(episodes[0])
                _check_policy(options, registry, task, toolbox, episodes[0], f"{file.name}, {name}")
                found += measure_replaced(options, registry, task, task_of, toolbox, episodes, kinds)
    if not found:
        raise CommandError(f"{run}: no episode went on after a successful call, so there is no result to replace")
    return found


def measure_replaced(
    options: argparse.Namespace,
    registry: Registry,
    task: Task,
    task_of: Callable[[Trajectory], Task],
    toolbox: Toolbox,
    trajectories: Sequence[Trajectory],
    kinds: Sequence[ResultReplacement],
) -> list[ToolReliance]:
    """Reliance of a policy on its tools, from its episodes of a task."""
    from medvistagym_core.rollouts import PolicyUnavailableError, replace_results
    from medvistagym_core.scoring import measure_reliance

    found: list[ToolReliance] = []
    for kind in kinds:
        policy, settings = make_policy(options, registry, task, toolbox)
        executor = make_executor(registry, options.executor, toolbox)
        bar = ProgressBar("replaced results")
        answers: list[ReplacedAnswer] = []
        try:
            for episode in replace_results(
                policy, trajectories, task_of, executor, settings, kind, batch=options.batch
            ):
                answers.append(_answer(episode, settings.graders))
                bar.show(len(answers), len(trajectories), f" {kind}")
        except PolicyUnavailableError as error:
            raise CommandError(str(error)) from error
        finally:
            bar.close()
            executor.close()
        print_stderr(
            f"{task.name}: {len(answers)} of {len(trajectories)} episodes went on from a result that was {kind}; "
            "the others called no tool before their answer, or there was no other result to give."
        )
        found += measure_reliance(answers, kind)
    return found


def _answer(episode: ReplacedEpisode, graders: object) -> ReplacedAnswer:
    from medvistagym_core.environment.grading import grade
    from medvistagym_core.scoring import ReplacedAnswer

    followed = None
    if episode.donor is not None and episode.donor.answer.value != episode.before.outcome.expected:
        options = episode.before.options
        if not options or episode.donor.answer.value in options:
            answer = episode.after.outcome.answer
            followed = grade(episode.donor.answer, answer, options=options, graders=graders).correct  # type: ignore[arg-type]
    return ReplacedAnswer(episode.before, episode.after, episode.tool, followed)


def _check_policy(
    options: argparse.Namespace, registry: Registry, task: Task, toolbox: Toolbox, first: Trajectory, location: str
) -> None:
    policy, _ = make_policy(options, registry, task, toolbox)
    if policy.name != first.policy.name:
        raise UsageError(f"{location} was played by {first.policy.name}, not by {policy.name}; name the same policy")
