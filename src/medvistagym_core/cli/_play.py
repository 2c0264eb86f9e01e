"""`medvistagym play`: a page to try tools on images."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import (
    add_common,
    add_execution,
    add_selection,
    load_registry,
    make_executor,
    select_toolbox,
)
from medvistagym_core.cli._page import add_page_options, check_port, serve_page
from medvistagym_core.cli._policy_options import add_endpoint_options, make_policy

if TYPE_CHECKING:
    from medvistagym_core.environment import Case, EpisodeConfig
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import Policy
    from medvistagym_core.tools import Toolbox, ToolSpec


__all__ = ["configure", "shell_script"]

_EXAMPLE: Final = """\
medvistagym play scan.dcm
medvistagym play studies --tools 'window,zoom,distance' --open
medvistagym play studies --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument(
        "path",
        metavar="FILE|FOLDER",
        nargs="?",
        type=Path,
        default=Path(),
        help="what may be opened (default: this folder)",
    )
    add_page_options(parser)
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("play"),
        help="where sessions are saved as trajectories (default: play)",
    )
    add_selection(parser)
    add_execution(parser)
    who = parser.add_argument_group("a model that answers questions on the page")
    which = who.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="PATH", type=Path, help="a run folder, or a checkpoint")
    which.add_argument(
        "--endpoint",
        metavar="URL",
        help="an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1 of a vLLM server",
    )
    who.add_argument("--temperature", metavar="T", type=float, help="of its sampling; 0 is greedy")
    who.add_argument("--seed", metavar="N", type=int, default=0, help="seed of its sampling (default: 0)")
    who.add_argument("--action-format", metavar="NAME", help="how turns are written: text, or a plugin's")
    who.add_argument("--trainer", metavar="NAME", help="which trainer opens the model, where several are installed")
    add_endpoint_options(parser)
    parser.set_defaults(execute=_play, reward=None, policy=None)


def _play(options: argparse.Namespace) -> int:
    from medvistagym_core.play import MAX_SOURCES, PlayServer, PlaySession, find_sources

    check_port(options)
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out}: this is a file, and a folder is needed")
    try:
        sources = find_sources(options.path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len(sources) == MAX_SOURCES:
        print_stderr(f"medvistagym: {options.path} holds more than {MAX_SOURCES} files; the others are left out")
    registry = load_registry(options)
    toolbox = select_toolbox(registry, options.tools, options.device)
    policy, config = _policy(options, registry, toolbox)
    with contextlib.closing(make_executor(registry, options.executor, toolbox)) as executor:
        session = PlaySession(toolbox, executor, config, policy, shell_script)
        serve_page(
            lambda: PlayServer(
                session,
                sources,
                registry.readers,
                out=options.out,
                name=options.path.resolve().name,
                port=options.port,
            ),
            options,
            "Whoever has this address on this machine can see these images and call the tools.",
        )
    return 0


def _policy(
    options: argparse.Namespace, registry: Registry, toolbox: Toolbox
) -> tuple[Policy | None, EpisodeConfig | None]:
    if options.model is None and options.endpoint is None:
        if options.endpoint_model:
            raise UsageError("--endpoint-model goes with --endpoint")
        return None, None
    return make_policy(options, registry, _PlayTask(tuple(toolbox)), toolbox)


class _PlayTask:
    """What a model is told of the task when it is opened for questions that a person asks: nothing but its tools."""

    name = "play"
    description = "Answer a question about images."
    families = ("free",)
    splits = ("test",)
    abstention = None

    def __init__(self, tools: tuple[str, ...]) -> None:
        self.tools = tools

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """There are no cases: the questions are asked on the page."""
        raise ValueError("the task play has no cases; its questions are asked on the page")

    def vocabulary(self) -> tuple[str, ...]:
        """No words of its own."""
        return ()


def shell_script(toolbox: Toolbox, opened: Mapping[int, Any], calls: Sequence[Any]) -> str:
    """Commands that make calls, each result a file that the next one reads.

    Args:
        toolbox: Whose tools they are.
        opened: Where the opened images lie (`play.OpenedImage`), by handle.
        calls: The calls in order (`play.ScriptCall`), the last one being asked for.
    """
    files: dict[int, str] = {}
    lines = []
    for position, call in enumerate(calls):
        tool = toolbox.get(call.name)
        if tool is None:
            return f"# there is no tool {call.name}\n"
        words = ["medvistagym", "tools", "call", call.name]
        indices: list[int] = []
        count = 0  # of the images that the files named so far hold
        for handle in call.named:
            source = opened.get(handle)
            words.append(files.get(handle, f"{handle}.npy") if source is None else str(source.path))
            indices.append(count + (0 if source is None else source.index))
            count += 1 if source is None else source.of
        if count > len(indices):
            words += ["--image-index", *map(str, indices)]
        words += _flags(tool.spec, call.arguments)
        if "image" in tool.spec.returns:
            last = position == len(calls) - 1
            out = f"{call.name}.png" if last else f"{position}-{call.name}.npy"
            words += ["--out", out]
            for k, handle in enumerate(call.handles):
                files[handle] = out if len(call.handles) == 1 else f"{position}-{call.name}-{k}.npy"
        lines.append(shlex.join(words))
    return "\n".join(lines) + "\n"


def _flags(spec: ToolSpec, arguments: Mapping[str, Any]) -> list[str]:
    from medvistagym_core.cli._schema_flags import flags_of

    flags = flags_of(spec)
    return [
        word
        for name, value in arguments.items()
        if name not in spec.images and name in flags
        for word in (flags[name], _flag_text(value))
    ]


def _flag_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        return " ".join(",".join(map(str, one)) for one in value)
    if isinstance(value, list) and all(isinstance(one, int | float | str) for one in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
