"""`medvistagym publish`: what of a run would be published, and whether its pictures may be."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_json, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry

if TYPE_CHECKING:
    from medvistagym_core.cli._publication import Publication

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym publish runs/r1 --dry-run
medvistagym publish runs/r1 --dry-run --without-pictures
medvistagym publish runs/r1 --to published/ --without-pictures"""
_LISTED: Final = 40


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished training")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--dry-run", action="store_true", help="list what would be published; write nothing")
    action.add_argument(
        "--to", metavar="FOLDER", type=Path, help="copy it into a new folder, for you to look at and to upload"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="PHASE",
        help="publish the weights of this phase (default: of the policy that its table ends with)",
    )
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument("--without-pictures", action="store_true", help="leave the pictures of trajectories out")
    pictures.add_argument(
        "--pictures-may-be-shared", action="store_true", help="you know that they may be, whatever their task says"
    )
    parser.set_defaults(execute=_publish)


def _publish(options: argparse.Namespace) -> int:
    from medvistagym_core.cli._publication import dump, plan_publication, refusal

    registry = load_registry(options)
    try:
        publication = plan_publication(
            options.run, registry, checkpoint=options.checkpoint, with_pictures=not options.without_pictures
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    refused = None if options.pictures_may_be_shared else refusal(publication)
    if options.to is not None and refused is None:
        _copy(publication, options.to)
    if options.json:
        print_json({**dump(publication), "refused": refused})
    else:
        _print(publication, options.to if refused is None else None)
    if refused is not None:
        raise CommandError(refused)
    return 0


def _print(publication: Publication, folder: Path | None) -> None:
    listed = [each for each in publication.files if each.kind != "picture"]
    width = max(len(each.path) for each in listed[:_LISTED])
    for each in listed[:_LISTED]:
        print_text(f"{each.kind:<12}  {each.path:<{width}}  {_size(each.size)}")
    if len(listed) > _LISTED:
        print_text(f"{'':<12}  and {len(listed) - _LISTED} more")
    for task in publication.tasks:
        licence = task.licence or "no licence on record"
        print_text(f"{'pictures':<12}  {task.pictures} of {task.name}: {licence}")
    kinds = Counter(each.kind for each in publication.files)
    total = _size(sum(each.size for each in publication.files))
    print_text(f"{sum(kinds.values())} files, {total}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    for note in publication.notes:
        print_text(f"note: {note}")
    if folder is None:
        print_text("Nothing was uploaded or written.")
    else:
        upload = f"hf upload NAME {shlex.quote(str(folder))}"
        print_text(f"All of it is in {folder}; nothing was uploaded. For the Hub: {upload}")


def _copy(publication: Publication, folder: Path) -> None:
    """Copy a publication into a folder that is whole or not there."""
    import shutil

    from medvistagym_core.storage import write_folder_atomically

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; name a new folder")
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with write_folder_atomically(folder) as part:
        for each in publication.files:
            target = part / each.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each.source, target)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
