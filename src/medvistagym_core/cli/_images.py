"""`medvistagym images list | convert | sheet`: what image files hold, in another kind of file, or on one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._image_files import (
    PIPE,
    add_reading_options,
    check_output_name,
    describe_output,
    image_row,
    numbered,
    read_images,
    write_images,
    write_to_pipe,
)
from medvistagym_core.cli._options import add_command, load_registry

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image

__all__ = ["configure"]

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = add_command(
        commands, "list", "list the images that files and folders hold, a line each",
        "medvistagym images list study/\nmedvistagym images list scan.dcm --json", json=True,
    )  # fmt: skip
    _add_files(listing)
    listing.set_defaults(execute=_list)

    convert = add_command(
        commands, "convert", "write images in another kind of file, with their values and what these mean",
        "medvistagym images convert study/ --image-index 2 --out ct.nii.gz\n"
        "medvistagym images convert ct.nii.gz --out - | medvistagym tools call window - --preset lung --out lung.png",
    )  # fmt: skip
    _add_files(convert)
    convert.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="where to write; its ending says how, - is stdout"
    )
    convert.set_defaults(execute=_convert)

    sheet = add_command(
        commands, "sheet", "draw images, or the slices of a volume, on one page",
        "medvistagym images sheet ct.nii.gz --out sheet.png\n"
        "medvistagym images sheet ct.nii.gz --mask lesion.nii.gz --count 12 --out sheet.png",
    )  # fmt: skip
    _add_files(sheet)
    sheet.add_argument("--out", metavar="FILE", type=Path, required=True, help="a picture file, such as sheet.png")
    sheet.add_argument(
        "--mask", metavar="FILE", type=Path, help="a mask of the same volume, whose outline is drawn in yellow"
    )
    sheet.add_argument("--count", metavar="N", type=int, default=24, help="most pictures, drawn evenly (default: 24)")
    sheet.add_argument("--columns", metavar="N", type=int, default=6, help="pictures in a row (default: 6)")
    sheet.add_argument(
        "--side", metavar="PIXELS", type=int, default=192, help="longer side of a picture (default: 192)"
    )
    sheet.set_defaults(execute=_sheet)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="files or folders; - reads stdin")
    add_reading_options(parser)


def _list(options: argparse.Namespace) -> int:
    images = read_images(load_registry(options), options.files, options)
    if options.json:
        print_json([image_row(image) for image in images])
        return 0
    rows = []
    for number, image in enumerate(images):
        row = image_row(image)
        depth = f" x {row['frames']}" if row["frames"] else ""
        spacing = "" if image.spacing is None else " x ".join(f"{mm:.3g}" for mm in image.spacing[::-1]) + " mm"
        window = row["window"]
        window_text = f"{window['center']:g}/{window['width']:g}" if window else ""
        about = ", ".join(filter(None, (image.attributes.get(name, "") for name in ("body_part", "view", "plane"))))
        size = f"{row['width']} x {row['height']}{depth}"
        rows.append([str(number), image.modality or "", size, image.unit, spacing, window_text, about])
    print_table(rows, ("", "kind", "size", "unit", "spacing", "window", ""))
    return 0


def _convert(options: argparse.Namespace) -> int:
    registry = load_registry(options)
    check_output_name(registry, options.out, options.files)
    images = read_images(registry, options.files, options)
    if options.out == PIPE:
        if len(images) > 1:
            raise UsageError("-: a pipe takes one image; choose it with --image-index", numbered(images))
        write_to_pipe(images)
        return 0
    for image, path in zip(images, write_images(registry, images, options.out), strict=True):
        print_stderr(describe_output(image, path))
    return 0


def _sheet(options: argparse.Namespace) -> int:
    from medvistagym_core.imaging import contact_sheet
    from medvistagym_core.storage import write_atomically

    for name in ("count", "columns", "side"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} must be at least 1, not {getattr(options, name)}")
    if options.out.suffix.lower() not in _PICTURES:
        raise UsageError(f"{options.out}: a sheet is a picture, whose name ends in one of {', '.join(_PICTURES)}")
    registry = load_registry(options)
    check_output_name(registry, options.out, [*options.files, *([] if options.mask is None else [options.mask])])
    images = read_images(registry, options.files, options)
    stacks = [image for image in images if image.is_stack]
    if stacks and len(images) > 1:
        raise UsageError("a sheet shows the slices of one volume; choose it with --image-index", numbered(images))
    mask = None if options.mask is None else _mask(read_images(registry, [options.mask]))
    try:
        sheet = contact_sheet(images, mask, count=options.count, columns=options.columns, side=options.side)
    except ValueError as error:
        raise CommandError(f"{options.mask}: {error}") from error
    with write_atomically(options.out, keep_suffix=True) as part:
        sheet.save(part)
    print_text(f"{options.out}: {sheet.width} x {sheet.height}")
    return 0


def _mask(masks: list[Image]) -> Image:
    if len(masks) != 1:
        raise UsageError(f"--mask: the file holds {len(masks)} images, and a mask is one")
    return masks[0]
