"""`medvistagym train --gpus N`: the processes of a training, checked once and then started together."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import CommandError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import LaunchRequest, Trainer

__all__ = ["check_launch_flags", "is_first_rank", "is_launched", "launch", "launch_request"]

_LAUNCH_FLAGS: Final[Mapping[str, int]] = {
    "--dry-run": 0, "--json": 0, "--gpus": 1, "--parallel": 1, "--gpu-memory": 1, "--rate": 1,
}  # fmt: skip
"""Flags that are for a plan or a launch alone, and how many words follow each."""


def check_launch_flags(options: argparse.Namespace) -> None:
    """Refuse flags of a launch or a plan that do not go together.

    Raises:
        UsageError: They do not.
    """
    if options.gpus is not None and options.gpus < 1:
        raise UsageError(f"--gpus is at least 1, not {options.gpus}")
    if options.gpu_memory is not None and not options.gpu_memory > 0:
        raise UsageError(f"--gpu-memory is above 0 GiB, not {options.gpu_memory:g}")
    for flag, value in (
        ("--parallel", options.parallel),
        ("--gpu-memory", options.gpu_memory),
        ("--rate", options.rate),
    ):
        if value and options.gpus is None:
            raise UsageError(f"{flag} is about several devices: say how many with --gpus")
    if not options.dry_run and (options.gpu_memory is not None or options.rate):
        raise UsageError("--gpu-memory and --rate are for a plan: add --dry-run, or leave them away")


def launch_request(options: argparse.Namespace) -> LaunchRequest:
    """What a trainer is asked to launch: the command line without the flags that are for a plan or a launch alone."""
    from medvistagym_core.rollouts import LaunchRequest

    words, left = [], 0
    for word in options.command_line:
        name, equals, _ = word.partition("=")
        if left:
            left -= 1
        elif name in _LAUNCH_FLAGS:
            left = 0 if equals else _LAUNCH_FLAGS[name]
        else:  # torchrun takes --run for its own, wherever it stands
            words.append(f"--out{word.removeprefix('--run')}" if name == "--run" else word)
    return LaunchRequest(options.gpus, tuple(words), options.parallel, options.gpu_memory, tuple(options.rate))


def launch(
    options: argparse.Namespace, registry: Registry, trainer: Trainer, folder: Path, settings: Mapping[str, Any]
) -> int:
    """Start the processes of a training, and wait for them; what they print is what this command prints.

    The launcher is a program of its own (`torchrun`, `accelerate`) and no `execution.ChildProcess`: it must see the signals of
    the terminal, and has time to save the step under way.

    Args:
        options: The command's.
        registry: What is installed.
        trainer: Whose training it is.
        folder: The run folder.
        settings: What each process hands to the trainer, which may refuse it here, once for all of them.
    """
    import dataclasses

    from medvistagym_core.rollouts import ChecksTraining, LaunchesTraining

    if not isinstance(trainer, LaunchesTraining):
        raise CommandError(f"the trainer {trainer.name} trains in one process; leave --gpus away")
    if isinstance(trainer, ChecksTraining):
        with contextlib.redirect_stdout(sys.stderr):  # what a library prints is not what this command prints
            trainer.check(registry, run=folder, processes=options.gpus, **settings)
    request = launch_request(options)
    if options.run is None:
        request = dataclasses.replace(request, arguments=(*request.arguments, "--out", str(folder)))
    if options.json:
        request = dataclasses.replace(request, arguments=(*request.arguments, "--json"))
    command = list(trainer.launch_command(request))
    print_stderr(f"starting {options.gpus} processes: {shlex.join(command)}")
    try:
        code, received = _run_launcher(command)
    finally:
        if folder.is_dir() and not any(folder.iterdir()):  # of a first process that another one's failure ended
            folder.rmdir()
    if received and code > 0:  # the launcher says 1 of processes that saved what they had and ended
        return 128 + received[0]
    return code if code >= 0 else 128 - code  # as a shell has it of a process that a signal ended


def _run_launcher(command: Sequence[str]) -> tuple[int, list[int]]:
    """Run a launcher to its end, which the signals that come meanwhile reach; its exit code, and these signals."""
    import signal
    import subprocess

    received: list[int] = []
    processes: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # A terminal sends Ctrl-C to them as well, and they save the step under way: wait for that.
        if number == signal.SIGTERM and processes is not None:
            processes.terminate()

    # Handlers stand before the processes are started, so that none is left running by a signal in between. They are no
    # SIG_IGN, which the processes would inherit; a signal that is ignored already stays so.
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        processes = subprocess.Popen(command)
        try:
            if received:
                processes.terminate()
            code = processes.wait()
        finally:
            if processes.poll() is None:
                processes.terminate()
                processes.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code, received


def is_launched() -> bool:
    """Whether this is one of the processes that a launcher started."""
    return "WORLD_SIZE" in os.environ


def is_first_rank() -> bool:
    """Whether this process is the only one of its training, or the first that `torchrun` or `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"
