"""`medvistagym sample`: trajectories of a policy on a task, in a file that can be gone on with."""

from __future__ import annotations

import argparse
from pathlib import Path

from medvistagym_core.cli.errors import WorkError
from medvistagym_core.cli.options import add_common, open_registry, open_toolbox
from medvistagym_core.cli.output import print_json
from medvistagym_core.cli.play import Episodes, add_playing, player, split_of, tools_of

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym sample --task scoutvqa --policy expert --cases 64 --out samples
medvistagym sample --task scoutvqa --model runs/one --samples 8 --keep correct --out samples
medvistagym sample --task scoutvqa --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model --out samples"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    add_playing(parser, ("expert", "demonstration", "random"), cases=64, split="train")
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
    from medvistagym_core.policy import PolicyUnavailableError
    from medvistagym_core.rollout import rollout
    from medvistagym_core.trajectory import TrajectoryWriter

    registry = open_registry(options)
    task = registry.task(options.task)
    split, indices = split_of(options, task)
    toolbox = open_toolbox(registry, tools_of(options, task))
    policy, settings = player(options, registry, task, toolbox)
    file = options.out / "trajectories.jsonl"
    episodes = Episodes()
    kept = correct = 0
    try:
        with TrajectoryWriter(file, toolbox) as writer:
            for trajectory in rollout(
                policy, task, toolbox, split, indices, settings, seed=options.seed, samples=options.samples,
                batch=options.batch, keep=options.keep, writer=writer, progress=episodes,
            ):  # fmt: skip
                kept += 1
                correct += trajectory.outcome.correct
    except PolicyUnavailableError as error:
        raise WorkError(f"{error}; {file} holds what was finished, and the same command goes on with it") from error
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{file} holds what was finished; the same command goes on with it")
        raise
    finally:
        episodes.close()
    if episodes.played and episodes.failed == episodes.played:
        raise WorkError(f"the policy failed in every episode; {file} says why")
    if options.json:
        print_json({"file": str(file), "played": episodes.played, "kept": kept, "correct": correct})
        return 0
    known = options.cases * options.samples - episodes.played
    before = f", {known} were there before" if known else ""
    print(f"{episodes.played} episodes played{before}; {kept} kept, {correct} right: {file}")
    return 0
