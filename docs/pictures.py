"""Makes the before and after pictures of the plugins' READMEs, by the commands that stand beside them there.

    python docs/pictures.py              write the pictures, and the sections of the READMEs that show them
    python docs/pictures.py --out DIR    write the pictures below another folder, and no README

Each command is run as it is printed. The images come with the packages `pydicom` and `pydicom-data`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import PIL.Image
from pydicom.data import get_testdata_file

from medvistagym_core.cli import main as medvistagym
from medvistagym_dicom import read_one

ROOT: Final = Path(__file__).resolve().parents[1]
SIDE: Final = 312  # of the square that each half fits into, in pixels
GAP: Final = 16
GREYS: Final = 32  # more look no better at this size, and make larger files
BEGIN: Final = "<!-- pictures -->"
END: Final = "<!-- /pictures -->"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a README: left the image that the last command is given, right the one that it makes.

    Attributes:
        plugin: Distribution.
        name: Of the file, without its ending.
        caption: What the reader sees, left and right.
        commands: What `medvistagym tools call` is given; the last one makes the right half.
    """

    plugin: str
    name: str
    caption: str
    commands: tuple[str, ...]

    @property
    def file(self) -> Path:
        """Where it lies, from the project's root."""
        return Path("plugins", self.plugin, "pictures", f"{self.name}.png")

    def option(self, name: str) -> str:
        """The value of an option of the last command."""
        words = shlex.split(self.commands[-1])
        return words[words.index(name) + 1]

    @property
    def section(self) -> str:
        """How the README shows it."""
        lines = "\n".join(f"medvistagym tools call {command}" for command in self.commands)
        return f"![{self.caption}](pictures/{self.name}.png)\n\n{self.caption}\n\n```\n{lines}\n```\n"


PICTURES: Final = (
    Picture(
        "medvistagym-dicom",
        "window",
        "A head CT in the window of its file, for the brain, and in the one for bone: the layers of the skull come apart.",
        ("window --image 693_UNCR.dcm --preset bone --out bone.png",),
    ),
    Picture(
        "medvistagym-dicom",
        "auto_window",
        "A chest film as its file says, and from the 1st to the 99th percentile of the part within a box: lungs, round "
        "shadows and heart stand out.",
        ("auto_window --image RG1_UNCR.dcm --box 100,100,900,900 --out chest.png",),
    ),
    Picture(
        "medvistagym-dicom",
        "zoom",
        "An MR of a shoulder, and its joint from the pixels of the scan: the trabeculae and the growth-plate scar of the "
        "humerus can be followed.",
        ("zoom --image MR2_UNCR.dcm --box 250,300,650,700 --out joint.png",),
    ),
    Picture(
        "medvistagym-kornia",
        "enhance_contrast",
        "A chest film as its file says, and after CLAHE: lungs, ribs and round shadows stand out.",
        ("enhance_contrast --image RG1_UNCR.dcm --method clahe --out even.png",),
    ),
    Picture(
        "medvistagym-kornia",
        "denoise",
        "A vertebra in a CT with streaks of noise, and without most of them: borders stay sharp.",
        ("denoise --image CT_small.dcm --method bilateral --radius 2 --out calm.png",),
    ),
    Picture(
        "medvistagym-kornia",
        "orient",
        "A film of a leg whose side marker is in mirror writing, and turned over: it says R.",
        ("orient --image RG3_UNCR.dcm --turn mirror_left_right --out leg.png",),
    ),
    Picture(
        "medvistagym-monai",
        "crop_foreground",
        "An MR of the abdomen, and without its empty border.",
        ("crop_foreground --image MR-SIEMENS-DICOM-WithOverlays.dcm --out cut.png",),
    ),
    Picture(
        "medvistagym-monai",
        "components",
        "All bone of an abdominal CT as a mask, and its largest part, the vertebra.",
        (
            "segment --image explicit_VR-UN.dcm --method bone --out bone.png",
            "components --image bone.png --keep 1 --out vertebra.png",
        ),
    ),
    Picture(
        "medvistagym-monai",
        "fill_holes",
        "A mask of bone that leaves out marrow, and with its holes filled; the spinal canal is open at the back and stays.",
        (
            "segment --image bad_sequence.dcm --method bone --out bone.png",
            "fill_holes --image bone.png --out filled.png",
        ),
    ),
    Picture(
        "medvistagym-ocr",
        "hide_text",
        "The lower part of an ultrasound with labels and settings, and with all text hidden.",
        (
            "zoom --image US1_UNCR.dcm --box 0,225,1000,1000 --out part.png",
            "hide_text --image part.png --out hidden.png",
        ),
    ),
    Picture(
        "medvistagym-segment",
        "body",
        "A CT of the abdomen, stored with the back up, and cut to the patient, without the table.",
        ("segment_crop --image explicit_VR-UN.dcm --method body --mask-out true --out body.png",),
    ),
    Picture(
        "medvistagym-segment",
        "region",
        "The same CT, and cut to the kidney that the point lies in, with 15 mm around it.",
        ("segment_crop --image explicit_VR-UN.dcm --method region --point 400,380 --margin-mm 15 --out kidney.png",),
    ),
    Picture(
        "medvistagym-segment",
        "bone",
        "A CT of a vertebra, and its bone as a mask.",
        ("segment --image bad_sequence.dcm --method bone --out bone.png",),
    ),
)


def made(picture: Picture) -> PIL.Image.Image:
    """The picture, made by running its commands in an empty folder that holds only the images they name."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in dict.fromkeys(word for command in picture.commands for word in shlex.split(command)):
            if name.endswith(".dcm"):
                shutil.copy(str(get_testdata_file(name)), name)
        for command in picture.commands:
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = medvistagym(["tools", "call", *shlex.split(command)])
            if code != 0:
                raise RuntimeError(f"medvistagym tools call {command} ended with {code}: {said.getvalue().strip()}")
        return side_by_side(_shown(picture.option("--image")), _shown(picture.option("--out")))


def _shown(name: str) -> PIL.Image.Image:
    return read_one(name).to_pil() if name.endswith(".dcm") else PIL.Image.open(name)


def side_by_side(before: PIL.Image.Image, after: PIL.Image.Image) -> PIL.Image.Image:
    """Both in one picture, each as large as fits, on a neutral ground."""
    mode = "L" if before.mode == after.mode == "L" else "RGB"
    halves = []
    for half in (before, after):
        scale = SIDE / max(half.size)
        width, height = (max(1, round(n * scale)) for n in half.size)
        kind = PIL.Image.Resampling.BOX if scale < 1 else PIL.Image.Resampling.BICUBIC
        halves.append(half.convert(mode).resize((width, height), kind))
    height = max(half.height for half in halves)
    ground = PIL.Image.new(mode, (2 * SIDE + GAP, height), (128,) * len(mode) if mode == "RGB" else 128)
    for column, half in enumerate(halves):
        ground.paste(half, (column * (SIDE + GAP) + (SIDE - half.width) // 2, (height - half.height) // 2))
    if mode == "L":
        return ground.point([round(round(grey * (GREYS - 1) / 255) * 255 / (GREYS - 1)) for grey in range(256)])
    return ground.quantize(128, PIL.Image.Quantize.MEDIANCUT, dither=PIL.Image.Dither.NONE)


def sections() -> Iterator[tuple[Path, str]]:
    """Each README from the project's root, and the section that belongs into it."""
    for plugin in dict.fromkeys(picture.plugin for picture in PICTURES):
        shown = "\n".join(picture.section for picture in PICTURES if picture.plugin == plugin)
        head = (
            "## Before and after\n\nMade by these commands (`docs/pictures.py` runs them) from images of `pydicom` and "
            "`pydicom-data`;\n`pydicom.data.get_testdata_file(name)` says where they lie.\n"
        )
        yield Path("plugins", plugin, "README.md"), f"{BEGIN}\n{head}\n{shown}{END}\n"


def with_section(readme: str, section: str) -> str:
    """The README's text with its section replaced, or put before the second heading that follows its tools."""
    if BEGIN in readme:
        return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}\n", lambda _: section, readme, count=1, flags=re.DOTALL)
    heading = re.search(r"(?ms)^## Tools$.*?(?=^## )", readme)
    at = heading.end() if heading else len(readme)
    return f"{readme[:at].rstrip()}\n\n{section}\n{readme[at:]}".rstrip() + "\n"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description="Make the before and after pictures of the plugins' READMEs.")
    parser.add_argument("--out", type=Path, default=None, help="write them below this folder, and no README")
    out: Path | None = parser.parse_args().out
    for picture in PICTURES:
        written = io.BytesIO()
        made(picture).save(written, "PNG", optimize=True)
        _write((out or ROOT) / picture.file, written.getvalue())
    if out is None:
        for file, section in sections():
            _write(ROOT / file, with_section((ROOT / file).read_text(), section).encode())


if __name__ == "__main__":
    main()
