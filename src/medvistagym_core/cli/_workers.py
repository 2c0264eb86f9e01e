"""`medvistagym workers`: tools kept in Ray workers for others, which `medvistagym-ray` starts, watches and stops."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_command, add_device, add_selection, load_registry, select_toolbox
from medvistagym_core.cli._ray import import_ray

__all__ = ["configure"]

_ADDRESS_HELP: Final = "HOST:PORT of a cluster's head, or auto (default: $RAY_ADDRESS, else the Ray of this machine)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    start = add_command(
        commands,
        "start",
        "keep workers for others until interrupted",
        "medvistagym workers start --tools segment --placement placement.yaml\n"
        "medvistagym workers start --address 10.0.0.1:6379 --pool segmenters --tools 'segment*'",
    )
    start.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="head of the cluster, of which this machine is a node, or auto (default: $RAY_ADDRESS, else a Ray of its own)",
    )
    start.add_argument("--pool", metavar="NAME", help="name by which others use the workers (default: default)")
    start.add_argument(
        "--placement", metavar="FILE", type=Path, help="YAML file: how many workers tools have, and what each takes"
    )
    add_selection(start)
    add_device(start)
    start.set_defaults(execute=_start)
    status = add_command(
        commands,
        "status",
        "show what runs where, what waits, and how long it takes",
        "medvistagym workers status",
        json=True,
    )
    status.set_defaults(execute=_status)
    stop = add_command(
        commands,
        "stop",
        "end the workers of a pool, or of all",
        "medvistagym workers stop --pool segmenters",
        json=True,
    )
    stop.set_defaults(execute=_stop)
    for command in (status, stop):
        command.add_argument("--address", metavar="HOST:PORT", help=_ADDRESS_HELP)
        command.add_argument("--pool", metavar="NAME", help="only the workers of this pool")


def _start(options: argparse.Namespace) -> int:
    workers, target = import_ray("workers"), _target(options, options.placement)
    registry = load_registry(options)
    toolbox = select_toolbox(registry, options.tools, options.device)

    def ready(executor: Any) -> None:
        pool = executor.pool
        print_table(executor.placements().items(), ("TOOL", "WHERE"))
        print_stderr(
            f"medvistagym: ready; use them by --executor 'ray:{pool.address}?pool={pool.name}', end them by Ctrl-C"
        )

    try:
        workers.keep_pool(toolbox, target, ready)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("the workers have ended")
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    return 0


def _status(options: argparse.Namespace) -> int:
    target = _target(options)
    try:
        status = import_ray("workers").pool_status(target.address, target.pool)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.json:
        print_json(_document(status))
        return 0
    names = {node.id: node.name for node in status.nodes}
    print_table(
        [(node.name, "alive" if node.alive else "gone", _in_words(node.resources)) for node in status.nodes],
        ("NODE", "STATE", "HAS"),
    )
    print_text()
    rows = [
        (
            one.identity.actor_name,
            f"{names.get(one.node, '?')}:{one.pid}",
            str(one.queued),
            str(one.running),
            str(one.done),
            f"{one.mean_s * 1e3:.1f}",
            f"{one.p95_s * 1e3:.1f}",
            f"{one.memory_bytes / 2**20:.0f}",
            str(one.deaths),
            " ".join(one.tools),
        )
        for one in status.workers
    ]
    rows += [(name, "no answer: it starts, or a tool keeps it busy", *[""] * 8) for name in status.silent]
    print_table(
        rows, ("WORKER", "PROCESS", "WAIT", "RUN", "DONE", "MEAN MS", "P95 MS", "MIB", "DEATHS", "TOOLS")
    )  # fmt: skip
    return 0


def _stop(options: argparse.Namespace) -> int:
    target = _target(options)
    try:
        ended: list[str] = import_ray("workers").stop_pool(target.address, target.pool)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.json:
        print_json({"ended": ended})
    else:
        print_text(f"{len(ended)} worker{'' if len(ended) == 1 else 's'} ended" if ended else "there were no workers")
    return 0


def _target(options: argparse.Namespace, placement: Path | None = None) -> Any:
    """What the options name, checked as what follows `ray:` is."""
    targets = import_ray("cluster").RayTarget
    try:
        checked = targets.parse((options.address or "") + (f"?pool={options.pool}" if options.pool else ""))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return targets(checked.address, checked.pool, placement)


def _document(status: Any) -> dict[str, Any]:
    """The status as JSON values."""
    return {
        "address": status.address,
        "nodes": [
            {"id": node.id, "name": node.name, "alive": node.alive, "resources": dict(node.resources)}
            for node in status.nodes
        ],
        "workers": [
            {
                "pool": one.identity.pool,
                "group": one.identity.group,
                "replica": one.identity.replica,
                **{name: value for name, value in one._asdict().items() if name not in ("identity", "settings")},
                "settings": one.settings.model_dump(exclude_defaults=True),
            }
            for one in status.workers
        ],
        "silent": status.silent,
    }


def _in_words(resources: dict[str, float]) -> str:
    """What a node has, memory in GiB; what Ray adds for itself is left out."""
    parts = []
    for name, amount in sorted(resources.items()):
        if name.endswith("memory"):
            parts.append(f"{amount / 2**30:.1f} GiB {name.replace('_', ' ')}")
        elif not name.startswith(("node:", "accelerator_type:")):
            parts.append(f"{amount:g} {name}")
    return ", ".join(parts)
