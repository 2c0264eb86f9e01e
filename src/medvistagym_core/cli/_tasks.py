"""`medvistagym tasks list | show | audit`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import ProgressBar, print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_command, load_registry
from medvistagym_core.cli._task_options import add_table_options, case_range, choose_split, find_tasks, print_provenance

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
    show.add_argument("name", metavar="NAME", nargs="?", help="the task, or a question table")
    add_table_options(show)
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
    audit.add_argument("name", metavar="NAME", nargs="?", help="the task, or a question table")
    add_table_options(audit)
    audit.add_argument("--cases", metavar="N", type=int, default=400, help="how many cases to look at (default: 400)")
    audit.set_defaults(execute=_audit)

    overlap = add_command(
        commands,
        "overlap",
        "list pictures that are in more than one split or task, the same or nearly so",
        "medvistagym tasks overlap vqa_rad slake\nmedvistagym tasks overlap questions.jsonl --max-distance 0 --json",
        json=True,
    )
    overlap.add_argument("names", metavar="NAME", nargs="+", help="a task or a question table; may be several")
    overlap.add_argument("--cases", metavar="N", type=int, help="how many cases of each split (default: all, or 512)")
    overlap.add_argument(
        "--max-distance",
        metavar="N",
        type=int,
        default=4,
        help="most of 64 signs of the perceptual hash that may differ; 0 for copies only (default: 4)",
    )
    overlap.set_defaults(execute=_overlap)


def _overlap(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import make_task
    from medvistagym_core.environment.questions import find_overlaps, hash_pictures

    if not 0 <= options.max_distance <= 32:
        raise UsageError(f"--max-distance is a number from 0 to 32, not {options.max_distance}")
    registry = load_registry(options)
    bar = ProgressBar("pictures")
    sets = []
    try:
        for name in dict.fromkeys(options.names):
            task = make_task(registry, name)
            for split in task.splits:
                count = len(case_range(task, split, options.cases, None))
                sets.append(hash_pictures(task, split, count, progress=bar.show))
    finally:
        bar.close()
    found = find_overlaps(sets, max_distance=options.max_distance)
    for one in sets:
        for problem in one.problems[:3]:
            print_stderr(f"medvistagym: left out: {problem}")
    if options.json:
        pairs = [{"first": list(o.first), "second": list(o.second), "distance": o.distance} for o in found]
        print_json({"pictures": {one.name: len(one.pictures) for one in sets}, "overlaps": pairs})
        return 0
    print_table(
        [["the same" if o.distance is None else f"{o.distance} of 64 differ", *o.first, *o.second] for o in found],
        header=["", "in", "case", "and in", "case"] if found else (),
    )
    same = sum(o.distance is None for o in found)
    counts = ", ".join(f"{one.name} {len(one.pictures)}" for one in sets)
    print_text(f"{same} pictures are the same, {len(found) - same} nearly so; different pictures: {counts}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import HasArguments, HasAudit, HasDemonstrations, HasExpert, HasPerceptionItems

    capabilities: dict[str, type[object]] = {
        "expert": HasExpert,
        "demonstrations": HasDemonstrations,
        "looks": HasPerceptionItems,
        "audit": HasAudit,
        "arguments": HasArguments,
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
        except (Exception, SystemExit) as error:  # noqa: BLE001 a task that cannot say what it is harms no other
            print_stderr(f"medvistagym: the task {name} cannot be described: {type(error).__name__}: {error}")
    if options.json:
        print_json(tasks)
    elif tasks:
        print_table([[task["name"], ", ".join(task["families"]), task["description"]] for task in tasks])
    else:
        print_stderr("No plugin offers a task; `medvistagym plugins search` shows plugins that would.")
    return 0


def _show(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import count_cases

    (task,) = find_tasks(options, load_registry(options), name=options.name)
    arguments = _arguments(task)
    try:
        split = choose_split(task, options.split, task.splits[0])
        case = _case(task, split, options.index, options.seed)
        size = count_cases(task, split)
    except (UsageError, ValueError) as error:
        hint = _arguments_hint(arguments) if options.task_file is None else ""  # a table's fault is no argument's
        raise UsageError(f"{error}{hint}") from error
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
        document: dict[str, Any] = {
            "id": case.id,
            "family": case.family,
            "question": case.question,
            "options": list(case.options),
            "images": images,
            "split": split,
            "cases": size,
            "facets": dict(case.facets),
            "arguments": arguments,
        }
        print_json({**document, "answer": case.answer.value} if options.answer else document)
        return 0
    of = "" if size is None else f", case {options.index} of {size} in {split}"
    print_text(f"{case.id}, family {case.family}{of}")
    for shape in images:
        written = f", {shape['file']}" if "file" in shape else ""
        print_text(f"image {shape['handle']}: {shape['width']} x {shape['height']}, {shape['unit']}{written}")
    print_text(case.question)
    if case.options:
        print_text(f"options: {'; '.join(case.options)}")
    if options.answer:
        print_text(f"answer: {case.answer.value} ({case.answer.kind})")
    for argument in arguments:
        value = "" if argument["value"] is None else f" (now {argument['value']})"
        print_text(f"--task-arg {argument['name']}={argument['type']}: {argument['description']}{value}")
    print_provenance(task, split)
    return 0


def _arguments(task: Task) -> list[dict[str, Any]]:
    """The arguments of a task: name, type, description and value of each."""
    from medvistagym_core.environment import HasArguments

    if not isinstance(task, HasArguments):
        return []
    values = task.arguments.model_dump(mode="json")
    properties = task.arguments.model_json_schema()["properties"]
    return [
        {"name": name, "type": _type_name(schema), "description": schema.get("description", ""), "value": values[name]}
        for name, schema in properties.items()
    ]


def _type_name(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return next(_type_name(one) for one in schema["anyOf"] if one.get("type") != "null")
    return str(schema.get("format") or schema.get("type", "value")).upper()


def _arguments_hint(arguments: list[dict[str, Any]]) -> str:
    return (
        f" (arguments, given with --task-arg NAME=VALUE: {', '.join(a['name'] for a in arguments)})"
        if arguments
        else ""
    )


def _case(task: Task, split: str, index: int, seed: int) -> Case:
    from medvistagym_core.environment import deal_case

    if split not in task.splits:
        raise UsageError(f"{task.name} has no split {split!r}; its splits are {', '.join(task.splits)}")
    if index < 0:
        raise UsageError(f"--index counts from 0, not {index}")
    return deal_case(task, split, index, seed)


def _audit(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import HasAudit

    (task,) = find_tasks(options, load_registry(options), name=options.name)
    if not isinstance(task, HasAudit):
        raise UsageError(f"{task.name} has no audit")
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
        print_stderr(f"medvistagym: {task.name} is not proven honest: {', '.join(failed)}")
    return 1 if failed else 0
