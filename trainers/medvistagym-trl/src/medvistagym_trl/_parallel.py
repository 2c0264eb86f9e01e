"""How the processes of a training on several devices are started: one command line for each way to share the weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from medvistagym_core.tools import closest_match
from medvistagym_trl._recipe import RecipeError

Parallel = Literal["ddp", "fsdp2", "zero3"]
"""ddp: every device has all weights; fsdp2 and zero3: each has a share of them."""
SHARDED: Final = ("fsdp2", "zero3")


def check_parallel(name: str) -> Parallel:
    """A way to share weights by its name.

    Raises:
        RecipeError: There is none of that name.
    """
    names: tuple[Parallel, ...] = get_args(Parallel)
    for each in names:
        if each == name:
            return each
    near = closest_match(name, list(names))
    guess = f"; did you mean {near}?" if near else ""
    raise RecipeError(f"weights are shared by {', '.join(names)}, not by {name!r}{guess}")


def config_file(parallel: Parallel) -> Path:
    """The configuration of `accelerate` that ships for a way to shard weights."""
    return Path(__file__).parent / "parallel" / f"{parallel}.yaml"


def launch_command(
    processes: int, parallel: Parallel, arguments: Sequence[str], python: str = sys.executable
) -> list[str]:
    """The command that starts the processes of a training on this machine.

    Args:
        processes: How many.
        parallel: How they share the weights.
        arguments: Those of `medvistagym`, from `train` on.
        python: The interpreter.
    """
    program = ["-m", "medvistagym_core.cli", *arguments]
    if parallel == "ddp":
        return [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *program]
    options = ["--config_file", str(config_file(parallel)), "--num_processes", str(processes)]
    return [python, "-m", "accelerate.commands.launch", *options, *program]
