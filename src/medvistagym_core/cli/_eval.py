"""`medvistagym eval`: accuracy and tool use of a policy, with its tools, without them, and with each left out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry, make_executor, select_toolbox
from medvistagym_core.cli._policy_options import (
    RolloutProgressBar,
    add_policy_options,
    decoding_label,
    make_policy,
    split_of,
    tools_of,
)

if TYPE_CHECKING:
    from medvistagym_core.plugins import Registry
    from medvistagym_core.tools import Toolbox


__all__ = ["configure"]

_EXAMPLE = """\
medvistagym eval --task scoutvqa --policy expert
medvistagym eval --task scoutvqa --policy random --reward paper,repairs=0.1
medvistagym eval --task scoutvqa --model runs/one --temperature 0 --without-tools --ablate --out results.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    add_policy_options(parser, ("expert", "random"), cases=512, split="test")
    parser.add_argument("--without-tools", action="store_true", help="also measure it without any tool")
    parser.add_argument("--ablate", action="store_true", help="also measure it with each tool left out")
    parser.add_argument("--out", metavar="FILE", type=Path, help="also write the results document there (JSON)")
    parser.set_defaults(execute=_eval)


def _eval(options: argparse.Namespace) -> int:
    from medvistagym_core.rollouts import rollout
    from medvistagym_core.trajectories import ResultRow, Results, format_table, summarize, summarize_trust

    if options.out is not None and not options.out.parent.is_dir():
        raise UsageError(f"{options.out}: the folder {options.out.parent} does not exist")
    registry = load_registry(options)
    task = registry.task(options.task)
    split, indices = split_of(options, task)
    rows: list[ResultRow] = []
    notes: list[str] = []
    for name, toolbox in _toolboxes(options, registry, tools_of(options, task)).items():
        policy, settings = make_policy(options, registry, task, toolbox)
        label = f"{policy.name}{name}"
        episodes = RolloutProgressBar()
        executor = make_executor(registry, options.executor, toolbox)
        try:
            trajectories = list(
                rollout(
                    policy, task, toolbox, split, indices, settings, seed=options.seed, batch=options.batch,
                    executor=executor, progress=episodes,
                )
            )  # fmt: skip
        finally:
            episodes.close()
            executor.close()
        if episodes.failed == episodes.played:
            reason = next((t.outcome.reason for t in trajectories if t.outcome.reason), "no reason is known")
            raise CommandError(f"{label} failed in every episode: {reason}")
        if episodes.failed:
            notes.append(f"{label} failed in {episodes.failed} of {episodes.played} episodes, counted as wrong.")
        with_reward = options.reward is not None
        for rows_of in (summarize, summarize_trust):
            rows += rows_of(trajectories, label, decoding_label(policy), task.families, with_reward=with_reward)
    results = Results(task=task.name, split=split, seed=options.seed, rows=tuple(rows), notes=tuple(notes))
    if options.out is not None:
        results.save(options.out)
    if options.json:
        print_json(results.model_dump(exclude_none=True))
        return 0
    print_text(format_table(results.rows))
    for line in results.notes:
        print_stderr(line)
    return 0


def _toolboxes(options: argparse.Namespace, registry: Registry, select: str) -> dict[str, Toolbox]:
    """The toolboxes to measure with, by what is added to the policy's name."""
    whole = select_toolbox(registry, select, options.device)
    found = {"": whole}
    if options.without_tools:
        found[", no tools"] = select_toolbox(registry, "")
    if options.ablate:
        for name in whole:
            rest = ",".join(f"{tool}={whole[tool].id}" for tool in whole if tool != name)
            found[f", without {name}"] = select_toolbox(registry, rest, options.device)
    return found
