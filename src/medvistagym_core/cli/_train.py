"""`medvistagym train`: a recipe, from sampling to the final table, in a run folder that can be resumed."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._model_tools import import_models
from medvistagym_core.cli._options import (
    add_common,
    add_executor,
    add_selection,
    find_executor,
    load_registry,
    select_toolbox,
)
from medvistagym_core.cli._task_options import add_table_options, find_tasks, task_arguments
from medvistagym_core.cli._train_launch import (
    check_launch_flags,
    is_first_rank,
    is_launched,
    launch,
    launch_request,
)

if TYPE_CHECKING:
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import Trainer

__all__ = ["configure"]

RUNS: Final = Path("runs")
_EXAMPLE = """\
medvistagym train
medvistagym train --quick --seed 1
medvistagym train paper --model DIR --sft-data teacher/ --dry-run
medvistagym train paper --model DIR --sft-data teacher/ --run runs/r1
medvistagym train vllm-server --model DIR --gpus 8 --dry-run --rate generation=2500 --rate learning=9000
medvistagym train --tools 'window,zoom' --run runs/two-tools --set grpo.steps=50
medvistagym train --run runs/two-tools --resume"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument(
        "recipe_name", nargs="?", metavar="RECIPE", help="a shipped recipe, or a YAML file (default: the trainer's)"
    )
    parser.add_argument("--recipe", metavar="NAME|FILE", help="the same as RECIPE")
    parser.add_argument(
        "--task", metavar="NAME", help="train on this task instead of the recipe's; several, with commas, are mixed"
    )
    add_table_options(parser)
    add_selection(parser, default=None)
    add_executor(parser, default=None)
    _add_model_options(parser)
    _add_run_options(parser)
    _add_device_options(parser)
    parser.add_argument("--seed", metavar="N", type=int, help="seed of the run (default: the recipe's)")
    parser.add_argument(
        "--set",
        metavar="SETTING=VALUE",
        action="append",
        default=[],
        help="change a setting of the recipe, such as grpo.steps=50; may be given again",
    )
    parser.add_argument("--trainer", metavar="NAME", help="which trainer, where several are installed")
    parser.set_defaults(execute=_train)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    """The model, and what it learns from before it explores."""
    parser.add_argument("--model", metavar="PATH", help="train this local checkpoint, not a new tiny model")
    parser.add_argument(
        "--chat-template",
        metavar="FILE",
        type=Path,
        help="a chat template (Jinja) in place of the checkpoint's own; the same as --set model.chat_template=FILE",
    )
    parser.add_argument(
        "--sft-data",
        metavar="PATH",
        action="append",
        default=[],
        help="trajectories to learn from, as `medvistagym sample` writes them: a file or a folder; may be given again",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    """The folder of the run, and how much of the run there is to be."""
    parser.add_argument(
        "--run",
        "--out",
        dest="run",
        metavar="FOLDER",
        type=Path,
        help="the run folder (default: a new one in runs/); under torchrun, which has a --run of its own, say --out",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run (default: the newest)")
    parser.add_argument(
        "--quick", "--smoke", action="store_true", help="everything in about a minute; the figures mean nothing"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the tokens, memory and steps that the run would take, and what cannot work; train nothing",
    )


def _add_device_options(parser: argparse.ArgumentParser) -> None:
    """The devices, how they share the work, and what a plan assumes of them."""
    parser.add_argument(
        "--gpus", metavar="N", type=int, help="train in N processes on this machine, a device each; on a CPU over gloo"
    )
    parser.add_argument(
        "--parallel",
        metavar="NAME",
        help="how the devices share the weights: ddp, fsdp2 or zero3 (default: ddp; of a plan, what fits)",
    )
    parser.add_argument(
        "--gpu-memory",
        metavar="GIB",
        type=float,
        help="memory of a device, for the plan (default: of the one that is there, or 80)",
    )
    parser.add_argument(
        "--rate",
        metavar="PART=NUMBER|RUN",
        action="append",
        default=[],
        help="a rate that the plan's time follows from, such as generation=2500 (tokens/s), or a run that was measured; may be "
        "given again",
    )


def _train(options: argparse.Namespace) -> int:
    from medvistagym_core.plugins import hand_to_processes

    changes = _recipe_overrides(options)
    check_launch_flags(options)
    if options.dry_run and options.resume:
        raise UsageError("--dry-run plans a new run; leave --resume away")
    folder = None if options.dry_run else _folder(options.run, resume=options.resume)
    registry = load_registry(options)
    trainer = registry.trainer(options.trainer)
    if options.tools is not None:  # a selection that cannot be had stops here, before any work
        select_toolbox(registry, options.tools)
    if options.task is not None or options.task_file is not None:
        find_tasks(options, registry)
    if options.executor is not None:
        find_executor(registry, options.executor)
    if folder is None:
        return _print_plan(options, registry, trainer, changes)
    if options.gpus is not None and options.gpus > 1 and not is_launched():
        return launch(options, registry, trainer, folder, _settings(options, changes))
    new_folders = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    stream: Any = sys.stderr if options.resume else _PrefixedStream(sys.stderr, f"run folder: {folder}\n")
    try:
        # What a library prints is not what this command prints.
        with (
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
            _plugins_env(options.plugins),
            hand_to_processes([*options.tools_from, *options.tools_from_mcp]),
            _models_env(options.models),
        ):
            trainer.train(registry, run=folder, **_settings(options, changes))
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"go on with `{_resume_command(options, folder)}`")
        raise
    finally:
        for place in new_folders if is_first_rank() else ():  # a recipe that cannot be had should leave nothing behind
            if any(place.iterdir()):
                break
            place.rmdir()
    if is_first_rank():
        _print_results(folder, json=options.json)
    return 0


def _resume_command(options: argparse.Namespace, folder: Path) -> str:
    """The command that goes on with an interrupted run, with the tools and models that this one was given."""
    again = [flag for file in options.tools_from for flag in ("--tools-from", str(file))]
    again += [flag for file in options.tools_from_mcp for flag in ("--tools-from-mcp", str(file))]
    again += [] if options.models is None else ["--models", str(options.models)]
    return shlex.join(["medvistagym", "train", "--run", str(folder), "--resume", *again])


def _print_results(folder: Path, *, json: bool) -> None:
    """The table that a run ended with.

    Raises:
        CommandError: The run wrote none.
    """
    from medvistagym_core.trajectories import Results, format_table

    file = folder / "results.json"
    if not file.is_file():
        raise CommandError(f"the run in {folder} ended without results")
    results = Results.load(file)
    if json:
        print_json(results.model_dump(exclude_none=True))
        return
    print_text(format_table(results.rows))
    for line in results.notes:
        print_text(line)
    print_text(f"all of it is in {folder}")


def _settings(options: argparse.Namespace, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer is told of a run, beside its folder."""
    return {
        "recipe": _recipe(options),
        "changes": changes,
        "tools": options.tools,
        "model": options.model,
        "quick": options.quick,
        "resume": options.resume,
    }


def _print_plan(options: argparse.Namespace, registry: Registry, trainer: Trainer, changes: Mapping[str, Any]) -> int:
    """`--dry-run`: what the run would be."""
    from medvistagym_core.rollouts import PlansTraining

    if not isinstance(trainer, PlansTraining):
        raise CommandError(f"the trainer {trainer.name} cannot plan a run; leave --dry-run away")
    with contextlib.redirect_stdout(sys.stderr), _plugins_env(options.plugins):
        plan = trainer.plan(
            registry,
            recipe=_recipe(options),
            changes=changes,
            tools=options.tools,
            model=options.model,
            quick=options.quick,
            **({} if options.gpus is None else {"launch": launch_request(options)}),
        )
    if options.json:
        print_json(dict(plan.document))
    else:
        print_text(plan.text)
    return 0


class _PrefixedStream:
    """A stream that says something of its own before the first thing that is written to it.

    A trainer that refuses what it was asked writes nothing, so that its error is all there is to read.
    """

    def __init__(self, stream: TextIO, first: str) -> None:
        self._stream, self._first = stream, first

    def write(self, text: str) -> int:
        first, self._first = self._first, ""
        return self._stream.write(first + text) - len(first)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _plugins_env(plugins: str | None) -> Iterator[None]:
    """Let processes that a trainer starts load the plugins of `--plugins` and no others."""
    from medvistagym_core.plugins import ALLOW_VARIABLE

    with _environment(ALLOW_VARIABLE, plugins):
        yield


@contextlib.contextmanager
def _models_env(file: Path | None) -> Iterator[None]:
    """Let processes that a trainer starts have the models of `--models`."""
    if file is None:
        yield
        return
    with _environment(import_models().MODELS_ENV_VAR, str(file.resolve())):
        yield


@contextlib.contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """An environment variable set meanwhile; None leaves it as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None and before is None:
            del os.environ[name]
        elif value is not None and before is not None:
            os.environ[name] = before


def _recipe(options: argparse.Namespace) -> str | None:
    """The recipe that was named, as the first word or by --recipe."""
    names = {name for name in (options.recipe_name, options.recipe) if name is not None}
    if len(names) > 1:
        raise UsageError(f"two recipes are named, {options.recipe_name} and {options.recipe}; give one")
    recipe: str | None = names.pop() if names else None
    return recipe


def _recipe_overrides(options: argparse.Namespace) -> dict[str, Any]:
    import json

    changes: dict[str, Any] = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes SETTING=VALUE such as grpo.steps=50, not {text!r}")
        try:
            changes[name] = json.loads(value)
        except ValueError:
            if value.startswith(("[", "{")):
                raise UsageError(
                    f'--set {name}: {value!r} is no JSON; quote it as in --set \'evaluation.decodings=["t1", "greedy"]\''
                ) from None
            changes[name] = value
    if options.task is not None or options.task_file is not None:
        changes["task"] = options.task_file or options.task
    if arguments := task_arguments(options):
        changes["task_arguments"] = arguments
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.executor is not None:
        changes["executor"] = options.executor
    if options.sft_data:
        changes["sft.data"] = options.sft_data
    if options.chat_template is not None:
        if not options.chat_template.is_file():
            raise UsageError(f"--chat-template: there is no file {options.chat_template}")
        changes["model.chat_template"] = str(options.chat_template.resolve())
    return changes


def _folder(chosen: Path | None, *, resume: bool) -> Path:
    """The run folder: a new one, or with `resume` one that is there."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if chosen is None:
            raise UsageError("the processes of one training need one run folder: name it with --out FOLDER")
        if not is_first_rank():  # the first looks at the folder, and may have begun it
            return chosen
    if resume:
        if chosen is None:
            runs = sorted((folder for folder in RUNS.glob("*") if folder.is_dir()), key=_as_run)
            if not runs:
                raise UsageError(f"there is no run to resume in {RUNS}/; name one with --run")
            print_stderr(f"resuming {runs[-1]}")
            return runs[-1]
        if not chosen.is_dir():
            raise UsageError(f"{chosen}: there is no such run to resume")
        return chosen
    if chosen is None:
        chosen = RUNS / time.strftime("%Y-%m-%d-%H%M%S")
    elif chosen.exists() and not chosen.is_dir():
        raise UsageError(f"{chosen} is a file; name a folder for the run")
    elif chosen.is_dir() and any(chosen.iterdir()):
        raise UsageError(f"{chosen} holds a run already: add --resume to go on with it, or name another folder")
    return chosen


def _as_run(folder: Path) -> tuple[bool, float]:
    """The order in which folders are taken for the run to go on with, last first: studies and evaluations hold no lock."""
    return (folder / "toolbox.lock.json").is_file(), folder.stat().st_mtime
