"""`medvistagym sample`: trajectories of a policy on a task, in a file that can be gone on with."""

from __future__ import annotations

import argparse
import contextlib
import errno
from pathlib import Path
from typing import Final

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

__all__ = ["configure"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

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


def _sample(options: argparse.Namespace) -> int:
    from medvistagym_core.rollouts import PolicyUnavailableError
    from medvistagym_core.trajectories import TrajectoryWriter

    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"{options.out} is a file; name a folder for the episodes")
    registry = load_registry(options)
    tasks = find_tasks(options, registry)
    splits = [split_of(options, task) for task in tasks]
    selected = dict.fromkeys(tools_of(options, task) for task in tasks)  # one file has one toolbox
    select = ",".join(selected)
    toolbox = select_toolbox(registry, select, options.device)
    file = options.out / "trajectories.jsonl"
    for task, (split, _) in zip(tasks, splits, strict=True):
        print_provenance(task, split)
    counts = {"played": 0, "failed": 0, "kept": 0, "correct": 0, "retried": 0, "unusable": 0, "lost": 0}
    episodes = RolloutProgressBar()
    reason: str | None = None
    try:
        with share_executor(options, registry):
            for number, (split, indices) in enumerate(splits):
                with contextlib.closing(start_players(options, registry, tasks, number, toolbox, select)) as players:
                    check_same_policy(file, players.name, players.sampling, players.weights, "--out")
                    with TrajectoryWriter(file, toolbox) as writer:
                        for trajectory in players.play(
                            split, indices, seed=options.seed, samples=options.samples, batch=options.batch,
                            keep=options.keep, log=writer, progress=episodes,
                        ):  # fmt: skip
                            counts["kept"] += 1
                            counts["correct"] += trajectory.outcome.correct
                for name in ("played", "failed", "retried", "unusable", "lost"):
                    counts[name] += getattr(episodes.progress, name)
                reason = episodes.progress.reason or reason
    except PolicyUnavailableError as error:
        raise CommandError(f"{error}; {file} holds what was finished, and the same command goes on with it") from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        held = "holds what was finished" if counts["kept"] else "holds nothing new"
        raise CommandError(
            f"{options.out}: the disk is full; {file} {held}. Make room, and the same command goes on with it"
        ) from error
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{file} holds what was finished; the same command goes on with it")
        raise
    finally:
        episodes.close()
    played, failed, unusable, unrecorded = (counts[name] for name in ("played", "failed", "unusable", "lost"))
    known = sum(len(indices) for _, indices in splits) * options.samples - played - unusable - unrecorded
    if unrecorded and not played:
        raise CommandError(f"no episode could be recorded: {reason}")
    if failed == played and not known:
        why = "the policy failed in every episode, in the last one with" if played else "no case could be shown"
        raise CommandError(f"{why}: {reason}")
    if options.json:
        print_json({"file": str(file), **{name: count for name, count in counts.items() if name != "retried"}})
        return 0
    before = f", {known} were there before" if known else ""
    again = f", {counts['retried']} of them again, since the policy had failed in them" if counts["retried"] else ""
    lost = f", the policy failed in {failed}, which the same command plays again" if failed else ""
    lost += f", {unusable} could not be shown ({reason})" if unusable else ""
    lost += f", {unrecorded} could not be recorded ({reason})" if unrecorded else ""
    print_text(
        f"{played} episodes played{again}{before}{lost}; {counts['kept']} kept, {counts['correct']} right: {file}"
    )
    return 0
