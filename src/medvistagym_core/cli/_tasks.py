"""`medvistagym tasks list | show | audit`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_command, load_registry

if TYPE_CHECKING:
    from medvistagym_core.environment import Case, Task


__all__ = ["configure"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = add_command(
        commands, "list", "list the tasks of the installed plugins", "medvistagym tasks list\nmedvistagym tasks list --json",
        json=True,
    )  # fmt: skip
    listing.set_defaults(execute=_list)

    show = add_command(
        commands,
        "show",
        "show a case as a policy sees it",
        "medvistagym tasks show scoutvqa --split test --index 3 --out case",
        json=True,
    )
    show.add_argument("name", metavar="NAME", help="the task")
    show.add_argument("--split", metavar="NAME", help="which split (default: the task's first)")
    show.add_argument("--index", metavar="N", type=int, default=0, help="which case of the split (default: 0)")
    show.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the split (default: 0)")
    show.add_argument("--out", metavar="FOLDER", type=Path, help="write the case's pictures there")
    show.add_argument("--answer", action="store_true", help="also show the answer, which no policy sees")
    show.set_defaults(execute=_show)

    audit = add_command(
        commands,
        "audit",
        "prove that a task is honest: what is right cannot be had without the tools, or by a leak",
        "medvistagym tasks audit scoutvqa\nmedvistagym tasks audit scoutvqa --cases 100 --json",
        json=True,
    )
    audit.add_argument("name", metavar="NAME", help="the task")
    audit.add_argument("--cases", metavar="N", type=int, default=400, help="how many cases to look at (default: 400)")
    audit.set_defaults(execute=_audit)


def _list(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import HasAudit, HasDemonstrations, HasExpert, HasPerceptionItems

    capabilities: dict[str, type[object]] = {
        "expert": HasExpert,
        "demonstrations": HasDemonstrations,
        "looks": HasPerceptionItems,
        "audit": HasAudit,
    }
    tasks: list[dict[str, Any]] = []
    for name, task in load_registry(options).tasks.items():
        try:
            tasks.append(
                {
                    "name": str(task.name),
                    "description": str(task.description),
                    "families": list(task.families),
                    "splits": list(task.splits),
                    "tools": list(task.tools),
                    "abstention": task.abstention,
                    "offers": [offer for offer, protocol in capabilities.items() if isinstance(task, protocol)],
                }
            )
        except Exception as error:  # noqa: BLE001 a task that cannot say what it is harms no other
            print_stderr(f"medvistagym: the task {name} cannot be described: {type(error).__name__}: {error}")
    if options.json:
        print_json(tasks)
    elif tasks:
        print_table([[task["name"], ", ".join(task["families"]), task["description"]] for task in tasks])
    else:
        print_stderr("No plugin offers a task; `medvistagym plugins search` shows plugins that would.")
    return 0


def _show(options: argparse.Namespace) -> int:
    task = load_registry(options).task(options.name)
    case = _case(task, options.split or task.splits[0], options.index, options.seed)
    files = []
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        files = [options.out / f"image-{handle}.png" for handle in range(len(case.images))]
        for image, file in zip(case.images, files, strict=True):
            image.save(file)
    images = [
        {"handle": handle, "height": image.shape[0], "width": image.shape[1], "unit": image.unit}
        | ({"file": str(files[handle])} if files else {})
        for handle, image in enumerate(case.images)
    ]
    if options.json:
        shown: dict[str, Any] = {
            "id": case.id,
            "family": case.family,
            "question": case.question,
            "options": list(case.options),
            "images": images,
        }
        print_json({**shown, "answer": case.answer.value} if options.answer else shown)
        return 0
    print_text(f"{case.id}, family {case.family}")
    for shape in images:
        written = f", {shape['file']}" if "file" in shape else ""
        print_text(f"image {shape['handle']}: {shape['width']} x {shape['height']}, {shape['unit']}{written}")
    print_text(case.question)
    if case.options:
        print_text(f"options: {'; '.join(case.options)}")
    if options.answer:
        print_text(f"answer: {case.answer.value}")
    return 0


def _case(task: Task, split: str, index: int, seed: int) -> Case:
    if split not in task.splits:
        raise UsageError(f"{task.name} has no split {split!r}; its splits are {', '.join(task.splits)}")
    if index < 0:
        raise UsageError(f"--index counts from 0, not {index}")
    return task.case(split, index, seed)


def _audit(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import HasAudit

    registry = load_registry(options)
    task = registry.task(options.name)
    if not isinstance(task, HasAudit):
        raise UsageError(f"{options.name} has no audit")
    if options.cases < 1:
        raise UsageError(f"--cases must be at least 1, not {options.cases}")
    rows = task.audit(options.cases)
    if options.json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_table(
            ["pass" if row.passed else "FAIL", row.name, f"{row.value:.4g}", row.limit, row.detail] for row in rows
        )
    failed = [row.name for row in rows if not row.passed]
    if failed:
        print_stderr(f"medvistagym: {options.name} is not proven honest: {', '.join(failed)}")
    return 1 if failed else 0
