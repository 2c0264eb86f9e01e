"""`medvistagym export`: a task as a package that another project's training loop takes."""

from __future__ import annotations

import argparse
import keyword
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry, select_toolbox
from medvistagym_core.cli._task_options import add_table_options, choose_split, find_tasks, task_arguments

if TYPE_CHECKING:
    from medvistagym_core.environment import Task
    from medvistagym_core.plugins import Registry

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym export openenv scoutvqa --out scoutvqa_env
medvistagym export trl vqa_rad --task-arg path=data/vqa-rad --split train --out vqa_rad_env
medvistagym export verifiers scoutvqa --out scout_for_verifiers"""
_ENDLESS: Final = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from medvistagym_core.cli._export_packages import PACKAGES

    add_common(parser, _EXAMPLE)
    parser.add_argument(
        "kind", metavar="|".join(sorted(PACKAGES)), choices=sorted(PACKAGES), help="the project that the package is for"
    )
    parser.add_argument("task", metavar="TASK", nargs="?", help="the task, by its name; or --task-file")
    add_table_options(parser)
    parser.add_argument("--split", metavar="NAME", help="the split that is played (default: train, or the only one)")
    parser.add_argument("--tools", metavar="SELECTION", help="the tools (default: those of the task)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where to (default: the package's name)")
    parser.set_defaults(execute=_export)


def _export(options: argparse.Namespace) -> int:
    from medvistagym_core.cli._export_packages import PACKAGES, module_name
    from medvistagym_core.cli._exported_task import ExportedTask
    from medvistagym_core.environment import count_cases
    from medvistagym_core.plugins import write_folder

    registry = load_registry(options)
    (task,) = find_tasks(options, registry)
    split = choose_split(task, options.split, "train")
    selection = ",".join(task.tools) if options.tools is None else options.tools
    toolbox = select_toolbox(registry, selection)
    reference: str = options.task or options.task_file
    module = module_name(reference)
    out: Path = options.out or Path(module)
    if not out.name.isidentifier() or keyword.iskeyword(out.name):
        raise UsageError(f"--out: the folder is the Python package, so {out.name!r} must be a name such as {module}")
    if out.exists():
        raise UsageError(f"{out} is there already; nothing was written")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: the folder {out.parent} does not exist")
    try:
        count = count_cases(task, split)
    except ValueError as error:
        raise UsageError(str(error)) from error
    size = _ENDLESS if count is None else count
    tools = ",".join(f"{name}={toolbox[name].id}" for name in toolbox)
    arguments = _arguments(task, task_arguments(options, reference, [reference]))
    schemas = toolbox.schemas("huggingface")
    what = ExportedTask(out.name, _name_task(options, registry), arguments, split, size, tools, schemas)
    try:
        files = PACKAGES[options.kind](what)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        write_folder(out, files)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror or error}; nothing was left behind") from error
    print_text("\n".join(str(out / path) for path in files))
    folder = out if out.is_absolute() else f"./{out}"  # a bare name would be one of an index
    print_text(f"\nNext: pip install {folder}; {out / 'README.md'} shows how it is used")
    return 0


def _name_task(options: argparse.Namespace, registry: Registry) -> str:
    """How the package names the task: a table by its whole path, since the package is used in other folders."""
    if options.task in registry.tasks:
        return str(options.task)
    reference: str = options.task or options.task_file
    return str(Path(reference).resolve()) if Path(reference).exists() else reference


def _arguments(task: Task, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a task as plain values, paths whole."""
    from medvistagym_core.environment import HasArguments

    values = task.arguments if isinstance(task, HasArguments) else None
    return {
        name: str(path.resolve()) if isinstance(path := getattr(values, name, None), Path) and path.exists() else value
        for name, value in arguments.items()
    }
