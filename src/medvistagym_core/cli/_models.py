"""`medvistagym models list | check`."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import textwrap
from pathlib import Path
from typing import Any

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._model_tools import import_models
from medvistagym_core.cli._options import add_command, load_registry

__all__ = ["configure"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = add_command(
        commands,
        "list",
        "list the models of models.toml and the specialists; with a name, how to get and use one",
        "medvistagym models list\nmedvistagym models list totalsegmentator",
        json=True,
    )
    listing.add_argument("name", metavar="NAME", nargs="?", help="a model of the file, or a specialist")
    _add_file(listing)
    listing.set_defaults(execute=_list)

    check = add_command(
        commands,
        "check",
        "run a model's tool on a picture, beside the model's own pipeline, and draw what it finds",
        "medvistagym models check find_opacities --image film.dcm\n"
        "medvistagym models check find_opacities --device cpu,cuda --json",
        json=True,
    )
    check.add_argument("name", metavar="NAME", help="a model of the file")
    _add_file(check)
    check.add_argument("--image", metavar="FILE", type=Path, help="the picture (default: a phantom of its modality)")
    check.add_argument(
        "--device", metavar="DEVICES", default="cpu", help="where to time it: cpu, cuda, or both as cpu,cuda"
    )
    check.add_argument("--out", metavar="FILE", type=Path, help="where to draw (default: NAME-check.png)")
    check.set_defaults(execute=_check)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        metavar="FILE",
        type=Path,
        help="the file (default: that of MEDVISTAGYM_MODELS, or models.toml in the configuration folder)",
    )


def _file(options: argparse.Namespace, models: Any) -> Path | None:
    try:
        found: Path | None = options.models or models.default_models_file()
    except ValueError as error:
        raise UsageError(str(error)) from error
    return found


def _entries(file: Path | None, models: Any) -> list[Any]:
    """The entries of a file with what their adapters say, and errors for those that cannot be used."""
    if file is None:
        return []
    entries: list[Any] = []
    try:
        for entry in models.read_models(file):
            try:
                if not isinstance(entry, Exception):
                    models.make_tool(entry)
                    entry = models.complete_entry(entry)[0]
                entries.append(entry)
            except models.ModelError as error:
                entries.append(error)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return entries


def _list(options: argparse.Namespace) -> int:
    models = import_models()
    file = _file(options, models)
    entries = _entries(file, models)
    specialists = models.load_adapters()
    if options.name is not None:
        return _describe(options, entries, specialists)
    if options.json:
        print_json({
            "file": None if file is None else str(file),
            "models": [_row(entry) for entry in entries],
            "specialists": [{"name": name, **_facts(one)} for name, one in specialists.items()],
        })  # fmt: skip
        return 0
    if file is None:
        print_text(f"There is no models.toml in {models.configuration_folder()}; --models FILE names one elsewhere.")
    else:
        print_text(f"{file}:")
        print_table([[f"  {row['name']}", row["state"], row["task"] or "", row["about"]] for row in map(_row, entries)])
    if specialists:
        print_text(
            "\nspecialists, by adapter = NAME (`medvistagym models list NAME` says how to get the weights of one):"
        )
        rows = [
            [f"  {name}", facts["task"], facts["licence"]]
            for name, facts in ((n, _facts(s)) for n, s in specialists.items())
        ]
        print_table(rows)
    else:
        print_stderr("No specialists are installed: pip install medvistagym-specialists")
    return 1 if any(isinstance(entry, Exception) for entry in entries) else 0


def _row(entry: Any) -> dict[str, Any]:
    if isinstance(entry, Exception):
        reason = getattr(entry, "reason", str(entry))
        return {"name": getattr(entry, "name", ""), "state": "refused", "task": None, "about": reason}
    about = f"{entry.model}{f', {entry.licence}' if entry.licence else ''}{f', run by {entry.python}' if entry.python else ''}"
    return {"name": entry.name, "state": "ready", "task": entry.task, "about": about}


def _facts(specialist: Any) -> dict[str, Any]:
    if isinstance(specialist, Exception):
        return {"task": "", "licence": f"cannot be imported: {specialist}", "install": "", "fetch": ""}
    return {name: getattr(specialist, name) for name in ("task", "licence", "install", "fetch")}


def _describe(options: argparse.Namespace, entries: list[Any], specialists: dict[str, Any]) -> int:
    """Print what is known of one model or specialist."""
    from medvistagym_core.tools import closest_match

    by_name = {entry.name: entry for entry in entries}
    if options.name in by_name:
        entry = by_name[options.name]
        if isinstance(entry, Exception):
            raise CommandError(str(entry))
        if options.json:
            print_json(entry.model_dump(mode="json"))
            return 0
        rows = [[name, str(value)] for name, value in entry.model_dump(mode="json", exclude_defaults=True).items()]
        print_table(rows)
        return 0
    if options.name not in specialists:
        suggestion = closest_match(options.name, [*by_name, *specialists])
        raise UsageError(
            f"there is no model {options.name!r}" + (f"; did you mean {suggestion}?" if suggestion else "")
        )
    specialist = specialists[options.name]
    if options.json:
        print_json({"name": options.name, **_facts(specialist)})
        return 0
    facts = _facts(specialist)
    print_text(f"{options.name}: {facts['task']}\n  licence: {facts['licence']}")
    if not isinstance(specialist, Exception):
        print_text(textwrap.fill(specialist.description, 100, initial_indent="  ", subsequent_indent="  "))
    print_text(
        f"\n# install it\n{facts['install']}\n\n# its weights, and its entry in models.toml\n{facts['fetch'].strip()}"
    )
    return 0


def _check(options: argparse.Namespace) -> int:
    models, checking = import_models(), import_models(".checking")
    file = _file(options, models)
    if file is None:
        raise UsageError(f"there is no models.toml in {models.configuration_folder()}: name one with --models FILE")
    by_name = {entry.name: entry for entry in _entries(file, models)}
    if options.name not in by_name:
        from medvistagym_core.tools import closest_match

        suggestion = closest_match(options.name, list(by_name))
        hint = f"did you mean {suggestion}?" if suggestion else f"it has {', '.join(by_name) or 'none'}"
        raise UsageError(f"{file} has no model {options.name!r}; {hint}")
    entry = by_name[options.name]
    if isinstance(entry, Exception):
        raise CommandError(str(entry))
    image = None if options.image is None else _read_image(options)
    devices = [device.strip() for device in options.device.split(",") if device.strip()]
    try:
        report = checking.check_elsewhere(entry, image, devices)
    except models.ModelError as error:
        raise CommandError(str(error)) from error
    drawn = _save(report, options.out or Path(f"{entry.name}-check.png"))
    if options.json:
        facts = {f.name: getattr(report, f.name) for f in dataclasses.fields(report) if f.name != "drawing"}
        facts["comparisons"] = [{**dataclasses.asdict(one), "same": one.same} for one in report.comparisons]
        facts["timings"] = [dataclasses.asdict(one) for one in report.timings]
        print_json(
            {**facts, "same": report.same, "licence": entry.licence, "drawing": None if drawn is None else str(drawn)}
        )
    else:
        _print(entry, report, drawn)
    return 0 if report.same else 1


def _read_image(options: argparse.Namespace) -> Any:
    from medvistagym_core.cli._image_files import read_images

    images = read_images(load_registry(argparse.Namespace(plugins=options.plugins)), [options.image])
    if len(images) != 1:
        raise UsageError(f"{options.image} holds {len(images)} images; name one")
    return images[0]


def _save(report: Any, file: Path) -> Path | None:
    if report.drawing is None:
        return None
    report.drawing.save(file)
    return file


def _print(entry: Any, report: Any, drawn: Path | None) -> None:
    width = min(120, shutil.get_terminal_size().columns)
    print_text(
        f"{entry.name}: {report.task} by {entry.model}{f' ({entry.licence})' if entry.licence else ''}, on {report.picture}"
    )
    print_text(textwrap.fill(report.text, width, initial_indent="  ", subsequent_indent="  "))
    if report.comparisons:
        print_text("beside the model's own pipeline:")
    else:
        print_text("there is no other pipeline of this model here to compare it with")
    for one in report.comparisons:
        verdict = "same" if one.same else "DIFFERS"
        print_text(f"  {verdict}: {one.measure} differs by {one.difference:.4g} (tolerated: {one.tolerance:g})")
    memory = ", ".join(f"{bytes_ / 2**20:,.0f} MiB on {device}" for device, bytes_ in report.memory_bytes.items())
    print_text(f"loaded in {report.load_s:.1f} s; memory: {memory}")
    rows = [
        [f"  {t.device}", f"{t.images} together", f"{t.seconds:.3f} s", f"{1000 * t.seconds / t.images:.1f} ms each"]
        for t in report.timings
    ]
    print_table(rows)
    if drawn is not None:
        print_text(f"drawn in {drawn}")
