"""`medvistagym sample`: trajectories of a policy on a task, in a file that can be gone on with."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_json, print_text
from medvistagym_core.cli._errors import CommandError
from medvistagym_core.cli._options import add_common, load_registry, make_executor, select_toolbox
from medvistagym_core.cli._policy_options import RolloutProgressBar, add_policy_options, make_policy, split_of, tools_of

if TYPE_CHECKING:
    from medvistagym_core.environment import EpisodeConfig
    from medvistagym_core.rollouts import Policy
    from medvistagym_core.trajectories import SamplingParams


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
    from medvistagym_core.rollouts import PolicyUnavailableError, rollout
    from medvistagym_core.trajectories import TrajectoryWriter

    registry = load_registry(options)
    task = registry.task(options.task)
    split, indices = split_of(options, task)
    toolbox = select_toolbox(registry, tools_of(options, task), options.device)
    policy, settings = make_policy(options, registry, task, toolbox)
    file = options.out / "trajectories.jsonl"
    _check_same(file, policy, settings)
    episodes = RolloutProgressBar()
    executor = make_executor(registry, options.executor, toolbox)
    kept = correct = 0
    try:
        with TrajectoryWriter(file, toolbox) as writer:
            for trajectory in rollout(
                policy, task, toolbox, split, indices, settings, seed=options.seed, samples=options.samples,
                batch=options.batch, keep=options.keep, writer=writer, executor=executor, progress=episodes,
            ):  # fmt: skip
                kept += 1
                correct += trajectory.outcome.correct
    except PolicyUnavailableError as error:
        raise CommandError(f"{error}; {file} holds what was finished, and the same command goes on with it") from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        held = "holds what was finished" if kept else "holds nothing new"
        raise CommandError(
            f"{options.out}: the disk is full; {file} {held}. Make room, and the same command goes on with it"
        ) from error
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{file} holds what was finished; the same command goes on with it")
        raise
    finally:
        episodes.close()
        executor.close()
    known = options.cases * options.samples - episodes.played
    if episodes.failed == episodes.played and not known:
        raise CommandError(f"the policy failed in every episode, in the last one with: {episodes.reason}")
    if options.json:
        counts = {"played": episodes.played, "failed": episodes.failed, "kept": kept, "correct": correct}
        print_json({"file": str(file), **counts})
        return 0
    before = f", {known} were there before" if known else ""
    again = f", {episodes.again} of them again, since the policy had failed in them" if episodes.again else ""
    failed = f", the policy failed in {episodes.failed}, which the same command plays again" if episodes.failed else ""
    print_text(f"{episodes.played} episodes played{again}{before}{failed}; {kept} kept, {correct} right: {file}")
    return 0


def _check_same(file: Path, policy: Policy, settings: EpisodeConfig) -> None:
    """Let no two policies, or rewards, share a file: episodes of the one would pass for those of the other.

    Raises:
        WorkError: The file was begun with others.
    """
    from medvistagym_core.trajectories import TrajectoryReader

    first = next(iter(TrajectoryReader(file)), None) if file.is_file() else None
    if first is None:
        return
    now = {"policy": policy.name, **_drawn(policy.sampling), "reward": dict(settings.reward.weights)}
    then = {"policy": first.policy.name, **_drawn(first.policy.sampling), "reward": dict(first.weights)}
    for name in (*now, *then):
        if now.get(name) != then.get(name):
            raise CommandError(
                f"{file} was begun with {name} {_said(then.get(name))}, not {_said(now.get(name))}; choose another --out"
            )


def _drawn(sampling: SamplingParams) -> dict[str, object]:
    """How turns are drawn. With another seed they are other episodes, and a server may move; both may lie in one file."""
    return {name: value for name, value in sampling.items() if name not in ("seed", "endpoint")}


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={weight:g}" for name, weight in value.items() if weight)
    return "none" if value is None else str(value)
