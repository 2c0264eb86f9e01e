"""`medvistagym tools call`: one tool, run on image files, with a flag for each of its arguments.

The call goes the way of a policy's: the files become handles 0, 1, ... of an image store, and the executor validates,
resolves and runs. What a policy would read is what is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import elapsed_time, print_json, print_stderr, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._image_files import (
    PIPE,
    add_reading_options,
    check_output_name,
    describe_output,
    numbered,
    read_images,
    write_images,
    write_to_pipe,
)
from medvistagym_core.cli._options import (
    add_command,
    add_execution,
    add_tools_from,
    load_registry,
    make_executor,
    select_toolbox,
)
from medvistagym_core.cli._parser import CommandParser

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.tools import Tool, ToolError


__all__ = ["ToolArgumentParser", "configure_call"]

_EXAMPLE = """\
medvistagym tools call window scan.dcm --center 40 --width 400 --out brain.png
medvistagym tools call zoom --image scan.dcm --box 0,0,500,500 --out corner.png
medvistagym tools call denoise scan.dcm --out - | medvistagym tools call zoom - --box 0,0,500,500 --out corner.nrrd
medvistagym tools call window --help"""


class ToolArgumentParser(CommandParser):
    """A parser that, for `tools call NAME`, learns the flags of the tool NAME before it parses.

    A file may stand anywhere among the flags, with `--image` before it or without.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, with the tool's flags added first."""
        if self.get_default("execute") is not _call or not args or args[0] == "--":
            return super().parse_known_args(args, namespace)
        if args[0] in ("-h", "--help"):
            if args[1:2] and not args[1].startswith("-"):  # of the tool that is named after it
                return self.parse_known_args([*args[1:], args[0]], namespace)
            return super().parse_known_args(args, namespace)
        if args[0].startswith("-"):
            self.error(f"the tool's name comes first, and then its flags: tools call NAME ... {args[0]} ...")
        from medvistagym_core.cli._schema_flags import join_numbers

        self.add_tool_flags(list(args))
        (tool,) = self.get_default("toolbox").values()
        args = self.end_numbers(join_numbers(args, tool.spec))
        options, left = argparse.ArgumentParser.parse_known_args(self, args, namespace)
        if any(word.startswith("-") and len(word) > 1 for word in left):
            self.refuse(left)
        options.image = [*options.files, *map(Path, left), *options.image]
        return options, []

    def add_tool_flags(self, args: list[str]) -> None:
        """Add the flags of the tool that the first argument names."""
        from medvistagym_core.cli._schema_flags import add_flags, add_image_flags, usage

        peek = CommandParser(add_help=False, allow_abbrev=False)
        peek.add_argument("--plugins")
        add_tools_from(peek)
        add_execution(peek)
        options, left = argparse.ArgumentParser.parse_known_args(peek, args[1:])
        registry = load_registry(options)
        try:
            toolbox = select_toolbox(registry, args[0], options.device)
        except UsageError as error:
            own = {flag for action in self._actions for flag in action.option_strings}
            for word in left:
                if word not in own and (nearest := peek.nearest_flag(word)):
                    raise UsageError(f"{word} is no flag, did you mean {nearest}? Without it, {error}") from None
            for tool in select_toolbox(registry, args[0], "cpu").values():
                raise _with_own_flag(error, tool, "device") from None
            raise
        if len(toolbox) != 1:
            raise UsageError(f"{args[0]!r} must name one tool, and is {', '.join(toolbox) or 'none'}")
        (tool,) = toolbox.values()
        add_flags(self, tool.spec)
        if len(tool.image_arguments) > 1:
            add_image_flags(self, tool.spec, tool.image_arguments)
        files = " FILE ..." if tool.image_arguments else ""
        out = " [--out FILE]" if "image" in tool.spec.returns else ""
        self.usage = f"medvistagym tools call {args[0]}{files}{usage(tool.spec)}{out} [--json]"
        self.description = textwrap.fill(tool.spec.description, 80)
        self.set_defaults(registry=registry, toolbox=toolbox)


def configure_call(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command `call` to its group."""
    call = add_command(commands, "call", "run one tool on image files", _EXAMPLE, json=True)
    call.usage = "medvistagym tools call NAME [FILE ...] [--out FILE] [--ARGUMENT VALUE ...]"
    call.add_argument("name", metavar="NAME", help="the tool's name or id; `tools call NAME --help` shows its flags")
    call.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        type=Path,
        default=[],
        help="images, in the order of the tool's arguments; - reads stdin",
    )
    call.add_argument(
        "--image", metavar="FILE", nargs="+", action="extend", type=Path, default=[],
        help="images too, after those without it; may be given again",
    )  # fmt: skip
    call.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write the resulting image; its ending says how, - is stdout"
    )
    call.add_argument("--arguments", metavar="JSON", help="arguments as one JSON object, beside or instead of flags")
    add_reading_options(call)
    add_tools_from(call)
    add_execution(call)
    call.set_defaults(execute=_call)


def _call(options: argparse.Namespace) -> int:
    from medvistagym_core.cli._schema_flags import given_arguments, hint, image_destination
    from medvistagym_core.execution import ImageStore
    from medvistagym_core.tools import ToolCall
    from medvistagym_core.trajectories import ToolResultDocument

    (tool,) = options.toolbox.values()
    if options.out is not None:
        if "image" not in tool.spec.returns:
            raise UsageError(f"{tool.name} gives no image: leave out --out")
        if options.out == PIPE and options.json:
            raise UsageError("--json and --out -: stdout holds one of them; name a file for the image")
        named = (getattr(options, image_destination(name), []) for name in tool.image_arguments)
        check_output_name(options.registry, options.out, [*options.image, *itertools.chain(*named)])
    images, handles = _read_images_of(tool, options)
    _warn_of_modality(tool, images)
    arguments = {**handles, **_object(options.arguments), **given_arguments(options, tool.spec)}
    try:
        executor = make_executor(options.registry, options.executor, options.toolbox)
    except UsageError as error:
        raise _with_own_flag(error, tool, "executor") from None
    with (
        contextlib.closing(executor),
        elapsed_time(f"running {tool.name}"),
        contextlib.redirect_stdout(sys.stderr),  # what a tool prints is not what this command prints
    ):
        ((result,),) = executor.run([(ImageStore(images), [ToolCall(name=tool.name, arguments=arguments)])])
    if result.error is not None:
        if options.json:
            print_json(ToolResultDocument.from_result(result).model_dump())
        if options.debug:
            _show_traceback(result.error, options.executor)
        more = hint(tool.spec, result.error.message) if result.error.code == "bad_arguments" else ""
        print_stderr(f"medvistagym: {result.error.message}{more}")
        return 2 if result.error.code in ("bad_arguments", "malformed_call", "unknown_tool") else 1
    if options.out == PIPE:
        write_to_pipe(result.images)
        if result.text:
            print_stderr(result.text)
        return 0
    files = write_images(options.registry, result.images, options.out) if options.out is not None else []
    if options.json:
        print_json(ToolResultDocument.from_result(result, files).model_dump())
        return 0
    if result.text:
        print_text(result.text)
    for position, image in enumerate(result.images):
        print_stderr(f"image {position}: {describe_output(image, files[position] if files else None)}")
    return 0


def _with_own_flag(error: UsageError, tool: Tool, name: str) -> UsageError:
    """The error of a flag of the command, with that of the tool's argument of the same name, which may be what is meant."""
    from medvistagym_core.cli._schema_flags import flags_of

    if name not in tool.spec.parameters["properties"]:
        return error
    return UsageError(
        f"{str(error).rstrip('.')}. The argument {name!r} of {tool.name} is {flags_of(tool.spec)[name]}", error.listing
    )


def _show_traceback(error: ToolError, executor: str) -> None:
    if error.__cause__ is not None:
        print_stderr("".join(traceback.format_exception(error.__cause__)).rstrip())
    elif executor != "local" and error.code == "tool_failed":
        print_stderr("medvistagym: the traceback stays in the tool's process; with --executor local it is shown")


def _warn_of_modality(tool: Tool, images: Sequence[Image]) -> None:
    made_for = tool.spec.modalities
    other = sorted({image.modality for image in images if image.modality} - set(made_for))
    if made_for and other:
        print_stderr(f"medvistagym: {tool.name} is made for {', '.join(made_for)}; this is {', '.join(other)}")


def _object(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--arguments is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"--arguments must be a JSON object such as '{{\"center\": 40}}', not {text}")
    return value


def _read_images_of(tool: Tool, options: argparse.Namespace) -> tuple[list[Image], dict[str, Any]]:
    """The images of the files that were given, and the tool's image arguments: those by name, and the others in order."""
    from medvistagym_core.cli._schema_flags import image_destination

    files = {name: getattr(options, image_destination(name), []) for name in tool.image_arguments}
    named = {name: paths for name, paths in files.items() if paths}
    images = read_images(options.registry, options.image, options)
    handles = _handles(tool, images, [name for name in tool.image_arguments if name not in named])
    for name, paths in named.items():
        more = read_images(options.registry, paths, options)
        numbers = list(range(len(images), len(images) + len(more)))
        is_list = tool.spec.parameters["properties"][name].get("type") == "array"
        if not is_list and len(more) != 1:
            raise UsageError(f"{name} of {tool.name} is one image, and its files hold {len(more)}", numbered(more))
        handles[name] = numbers if is_list else numbers[0]
        images += more
    return images, handles


def _handles(tool: Tool, images: Sequence[Image], names: Sequence[str]) -> dict[str, Any]:
    """Give the images to these arguments of a tool in order; one that takes a list takes all that are left."""
    left = list(range(len(images)))
    given: dict[str, Any] = {}
    for name in names:
        if not left:
            break
        if tool.spec.parameters["properties"][name].get("type") == "array":
            given[name], left = left, []
        else:
            given[name] = left.pop(0)
    if left:
        raise UsageError(
            f"{tool.name} takes {len(images) - len(left)} image{'' if len(images) - len(left) == 1 else 's'}, "
            f"and the files given hold {len(images)}: name fewer files, or choose with --image-index",
            numbered(images),
        )
    return given
