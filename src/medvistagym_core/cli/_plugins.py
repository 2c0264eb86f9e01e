"""`medvistagym plugins list | search | check | new`."""

from __future__ import annotations

import argparse

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._options import add_command, check_allow_list
from medvistagym_core.cli._plugins_check import configure_check
from medvistagym_core.cli._plugins_new import configure_new

__all__ = ["configure"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = add_command(
        commands,
        "list",
        "list the installed plugins, and say why one is not loaded",
        "medvistagym plugins list\nmedvistagym plugins list --json",
        json=True,
    )
    listing.set_defaults(execute=_list)

    search = add_command(
        commands,
        "search",
        "search the index of known plugins, and say how to install them",
        "medvistagym plugins search window --modality CT",
        json=True,
    )
    search.add_argument(
        "words", nargs="*", metavar="WORD", help="all must occur in a plugin's entry; none: every plugin"
    )
    search.add_argument("--modality", metavar="CODE", help="a DICOM modality code such as CT or MR")
    search.set_defaults(execute=_search)

    configure_check(commands)
    configure_new(commands)


def _list(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from medvistagym_core.plugins import CONTRIBUTION_KINDS, Registry, scan_environment

    reports = Registry.discover(options.plugins).reports
    check_allow_list(options.plugins, reports)
    for fault in scan_environment().faults:
        print_stderr(f"medvistagym: another distribution is broken: {fault}")
    if options.json:
        print_json([asdict(report) for report in reports])
        return 0
    if not reports:
        print_stderr("No plugin is installed; `medvistagym plugins search` shows those that are known.")
        return 0
    rows = []
    for report in reports:
        offers = [
            f"{kind.replace('_', ' ')} {', '.join(dict.fromkeys(names))}"
            for kind in CONTRIBUTION_KINDS
            if (names := getattr(report, kind))
        ]
        rows.append([report.state, report.name, f"{report.distribution} {report.version}", "; ".join(offers)])
    print_table(rows)
    for report in reports:
        if report.state in ("failed", "incompatible"):
            location = f" at {report.location}" if report.location else ""
            print_text(f"\n{report.name} is not loaded: {report.reason}{location}\n  to do: {report.fix}")
        for fault in report.faults:
            print_text(f"\n{report.name} offers something that is left out: {fault}")
        for note in report.notes:
            print_text(f"\n{report.name}: {note}")
    return 0


def _search(options: argparse.Namespace) -> int:
    from medvistagym_core.plugins import load_catalog, scan_environment

    entries = load_catalog().search(options.words, options.modality)
    if options.json:
        print_json([{**entry.model_dump(mode="json"), "install": entry.install} for entry in entries])
        return 0
    if not entries:
        print_stderr("No known plugin matches; `medvistagym plugins search` without words lists them all.")
        return 0
    present = scan_environment().names
    for position, entry in enumerate(entries):
        if position:
            print_text()
        print_text(f"{entry.distribution}: {entry.summary}")
        for tool in entry.tools:
            print_text(f"  tool {tool.name}: {tool.summary}")
        for kind, names in (("task", entry.tasks), ("trainer", entry.trainers)):
            for name in names:
                print_text(f"  {kind} {name}")
        facts = [entry.license, "made for " + ", ".join(entry.modalities) if entry.modalities else "any modality"]
        facts += [f"GPU {entry.gpu}"] if entry.gpu != "unused" else []
        facts += [f"weights {entry.weights}"] if entry.weights != "none" else []
        print_text(f"  {'; '.join(facts)}")
        print_text("  installed" if entry.distribution in present else f"  {entry.install}")
    return 0
