"""`medvistagym sample`: trajectories of a policy on a task, in a file that a later run can continue."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_json, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry, select_toolbox
from medvistagym_core.cli._players import share_executor, start_players
from medvistagym_core.cli._policy_options import (
    RolloutProgressBar,
    add_policy_options,
    check_same_policy,
    split_of,
    tools_of,
)
from medvistagym_core.cli._task_options import find_tasks, print_provenance

if TYPE_CHECKING:
    from medvistagym_core.environment import Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import Progress

__all__ = ["configure"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IN_JSON: Final = ("played", "failed", "kept", "correct", "unusable", "lost")

_EXAMPLE = """\
medvistagym sample --task scoutvqa --policy expert --cases 64 --out samples
medvistagym sample --task scoutvqa --model runs/one --samples 8 --keep correct --out samples
medvistagym sample --task scoutvqa --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model --out samples"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    add_policy_options(parser, ("expert", "demonstration", "random"), cases=64, split="train")
    parser.add_argument("--samples", metavar="N", type=int, default=1, help="episodes of each case (default: 1)")
    parser.add_argument(
        "--keep", choices=["all", "correct"], default="all", help="which episodes to keep (default: all)"
    )
    parser.add_argument(
        "--skill",
        metavar="P",
        type=float,
        default=1.0,
        help="probability that a demonstration makes the informative call (default: 1)",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="where to write trajectories.jsonl")
    parser.set_defaults(execute=_sample)


@dataclasses.dataclass
class _Counts:
    """How many episodes there were of each kind, and what went wrong in the last that did."""

    played: int = 0
    failed: int = 0
    kept: int = 0
    correct: int = 0
    retried: int = 0
    unusable: int = 0
    lost: int = 0
    reason: str | None = None

    def add(self, progress: Progress) -> None:
        """Count what a rollout played."""
        self.played += progress.played
        self.failed += progress.failed
        self.retried += progress.retried
        self.unusable += progress.unusable
        self.lost += progress.lost
        self.reason = progress.reason or self.reason


def _sample(options: argparse.Namespace) -> int:
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"{options.out} is a file; name a folder for the episodes")
    registry = load_registry(options)
    tasks = find_tasks(options, registry)
    splits = [split_of(options, task) for task in tasks]
    file = options.out / "trajectories.jsonl"
    counts = _Counts()
    with _explain_interruptions(options.out, file, counts):
        _play(options, registry, tasks, splits, file, counts)
    earlier = (
        sum(len(indices) for _, indices in splits) * options.samples - counts.played - counts.unusable - counts.lost
    )
    if counts.lost and not counts.played:
        raise CommandError(f"no episode could be recorded: {counts.reason}")
    if counts.failed == counts.played and not earlier:
        why = "the policy failed in every episode, in the last one with" if counts.played else "no case could be shown"
        raise CommandError(f"{why}: {counts.reason}")
    if options.json:
        numbers = dataclasses.asdict(counts)
        print_json({"file": str(file), **{name: numbers[name] for name in _IN_JSON}})
    else:
        print_text(_describe(counts, earlier, file))
    return 0


def _play(
    options: argparse.Namespace,
    registry: Registry,
    tasks: Sequence[Task],
    splits: Sequence[tuple[str, range]],
    file: Path,
    counts: _Counts,
) -> None:
    """Play the cases of all tasks into one file, which has one toolbox."""
    from medvistagym_core.trajectories import TrajectoryWriter

    select = ",".join(dict.fromkeys(tools_of(options, task) for task in tasks))
    toolbox = select_toolbox(registry, select, options.device)
    for task, (split, _) in zip(tasks, splits, strict=True):
        print_provenance(task, split)
    episodes = RolloutProgressBar()
    with contextlib.closing(episodes), share_executor(options, registry):
        for number, (split, indices) in enumerate(splits):
            with contextlib.closing(start_players(options, registry, tasks, number, toolbox, select)) as players:
                check_same_policy(file, players.name, players.sampling, players.weights, "--out")
                with TrajectoryWriter(file, toolbox) as writer:
                    for trajectory in players.play(
                        split, indices, seed=options.seed, samples=options.samples, batch=options.batch,
                        keep=options.keep, log=writer, progress=episodes,
                    ):  # fmt: skip
                        counts.kept += 1
                        counts.correct += trajectory.outcome.correct
            counts.add(episodes.progress)


@contextlib.contextmanager
def _explain_interruptions(folder: Path, file: Path, counts: _Counts) -> Iterator[None]:
    """Say what an interrupted run left, and how to go on with it.

    Raises:
        CommandError: The policy cannot act at all, or the disk is full.
    """
    from medvistagym_core.rollouts import PolicyUnavailableError

    try:
        yield
    except PolicyUnavailableError as error:
        raise CommandError(f"{error}; {file} holds what was finished, and the same command goes on with it") from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        held = "holds what was finished" if counts.kept else "holds nothing new"
        raise CommandError(
            f"{folder}: the disk is full; {file} {held}. Make room, and the same command goes on with it"
        ) from error
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{file} holds what was finished; the same command goes on with it")
        raise


def _describe(counts: _Counts, earlier: int, file: Path) -> str:
    """A line about what was played; `earlier` episodes were in the file before."""
    before = f", {earlier} were there before" if earlier else ""
    again = f", {counts.retried} of them again, since the policy had failed in them" if counts.retried else ""
    lost = f", the policy failed in {counts.failed}, which the same command plays again" if counts.failed else ""
    lost += f", {counts.unusable} could not be shown ({counts.reason})" if counts.unusable else ""
    lost += f", {counts.lost} could not be recorded ({counts.reason})" if counts.lost else ""
    return f"{counts.played} episodes played{again}{before}{lost}; {counts.kept} kept, {counts.correct} right: {file}"
