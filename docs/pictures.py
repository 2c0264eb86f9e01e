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

import medvistagym_core as mv
from medvistagym_core.cli import main as medvistagym
from medvistagym_core.storage import write_atomically

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
        text: What the one before it prints, of a tool that gives text alone.
    """

    plugin: str
    name: str
    caption: str
    commands: tuple[str, ...]
    text: str = ""

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
        calls = [f"medvistagym tools call {command}" for command in self.commands]
        if self.text:
            calls = [*(f"$ {call}" for call in calls[:-1]), self.text, f"$ {calls[-1]}"]
        lines = "\n".join(calls)
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
        "medvistagym-dicom",
        "reformat",
        "The slice of a map of blood flow from CT that is shown first, and the other one, as acquired.",
        ("reformat --image eCT_Supplemental.dcm --plane acquired --index 0 --out other.png",),
    ),
    Picture(
        "medvistagym-dicom",
        "project",
        "A slice of the same, and the mean of both slices: what is dark in both stays dark.",
        ("project --image eCT_Supplemental.dcm --method mean --out mean.png",),
    ),
    Picture(
        "medvistagym-dicom",
        "measure",
        "A head CT, and the box in which it is measured.",
        (
            "zoom --image 693_UNCR.dcm --box 150,100,850,800 --out head.nrrd",
            "measure --image head.nrrd --box 600,290,690,480",
            "overlay --image head.nrrd --boxes 600,290,690,480 --out where.png",
        ),
        "mean 18 HU, SD 7, min 8, max 46, 15.8 x 32.9 mm",
    ),
    Picture(
        "medvistagym-dicom",
        "distance",
        "A CT of the abdomen, and the line along which its width is taken.",
        (
            "distance --image explicit_VR-UN.dcm --from-point 168,500 --to-point 861,500",
            "overlay --image explicit_VR-UN.dcm --boxes 168,498,861,502 --out where.png",
        ),
        "304.9 mm, 0 degrees to the rows; a pixel is 0.86 mm",
    ),
    Picture(
        "medvistagym-dicom",
        "area",
        "A CT of the abdomen, and the box of the ellipse that is measured, around a kidney.",
        (
            "area --image explicit_VR-UN.dcm --ellipse 340,322,452,450",
            "overlay --image explicit_VR-UN.dcm --boxes 340,322,452,450 --out where.png",
        ),
        "area 2179.8 mm2, perimeter 166.1 mm; mean 116 HU, SD 72, min -124, max 229",
    ),
    Picture(
        "medvistagym-dicom",
        "acquisition",
        "A CT of a vertebra in the first window of its file, and in the second one that `acquisition` tells of.",
        (
            "acquisition --image bad_sequence.dcm",
            "window --image bad_sequence.dcm --center 450 --width 1500 --out second.png",
        ),
        "CT; 512 x 512 pixels; values in HU; pixels 0.2871 x 0.2871 mm; slices axial; body part neck; patient position FFS; "
        "120 kVp; 442 mA; 442 mAs; kernel B30s; slice thickness 1 mm; the scan's first pixel at -65.35645 -154.3564 1687.5 mm "
        "(left, back, head); rescale slope and intercept 1 -1024, applied; windows (center/width) 40/350 window1, 450/1500 "
        "window2",
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
        "medvistagym-kornia",
        "sharpen",
        "The head of a humerus in an MR, and sharpened: its trabeculae stand out, and so does the noise.",
        (
            "zoom --image MR2_UNCR.dcm --box 300,330,500,530 --out joint.png",
            "sharpen --image joint.png --amount 3 --radius 3 --out crisp.png",
        ),
    ),
    Picture(
        "medvistagym-kornia",
        "edges",
        "Shafts on a film of a leg, and where its values change steeply.",
        (
            "zoom --image RG3_UNCR.dcm --box 300,100,700,500 --out shaft.png",
            "edges --image shaft.png --method sobel --out edges.png",
        ),
    ),
    Picture(
        "medvistagym-kornia",
        "morphology",
        "A mask of bone with gaps, and closed.",
        (
            "segment --image bad_sequence.dcm --method bone --out bone.png",
            "morphology --image bone.png --operation close --radius 6 --out closed.png",
        ),
    ),
    Picture(
        "medvistagym-kornia",
        "difference",
        "A vertebra in a CT, and what denoising took from it: noise, and a little of the edges.",
        (
            "zoom --image CT_small.dcm --box 250,0,750,500 --out spine.nrrd",
            "denoise --image spine.nrrd --method bilateral --radius 2 --out calm.nrrd",
            "difference --image spine.nrrd --image calm.nrrd --register none --out taken.png",
        ),
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
        "medvistagym-monai",
        "resample",
        "A head CT with pixels of 0.48 mm, and with pixels of 4 mm.",
        ("resample --image 693_UNCR.dcm --spacing-mm 4 --out coarse.png",),
    ),
    Picture(
        "medvistagym-monai",
        "scale_intensity",
        "A chest film as its file says, and with its 5th percentile black and its 95th white.",
        ("scale_intensity --image RG1_UNCR.dcm --method percentiles --low 5 --high 95 --out even.png",),
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
        "medvistagym-ocr",
        "read_text",
        "The lowest part of the same ultrasound, and a box around each line that is read.",
        (
            "zoom --image US1_UNCR.dcm --box 0,600,1000,1000 --out part.png",
            "read_text --image part.png",
            "overlay --image part.png --boxes '384,364,474,464 490,364,566,464 620,864,972,964' --out lines.png",
        ),
        "3 lines of text:\n[384, 364, 474, 464] LYMPH\n[490, 364, 566, 464] NODE\n[620, 864, 972, 964] TIS<0.4 MI=0.8 A0=100%",
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
    Picture(
        "medvistagym-segment",
        "crop_to_mask",
        "The same, and cut to its bone, without what is not bone.",
        (
            "segment --image bad_sequence.dcm --method bone --out bone.png",
            "crop_to_mask --image bad_sequence.dcm --image bone.png --mask-out true --out only-bone.png",
        ),
    ),
    Picture(
        "medvistagym-segment",
        "overlay",
        "A CT of the abdomen, and with its bone outlined and a box round a kidney.",
        (
            "segment --image explicit_VR-UN.dcm --method bone --out bone.png",
            "overlay --image explicit_VR-UN.dcm --image bone.png --boxes 335,320,465,500 --out outlined.png",
        ),
    ),
    Picture(
        "medvistagym-segment",
        "measure_mask",
        "The same CT, and the outline of the spleen that is measured.",
        (
            "segment --image explicit_VR-UN.dcm --method region --point 740,410 --out spleen.png",
            "measure_mask --image explicit_VR-UN.dcm --image spleen.png",
            "overlay --image explicit_VR-UN.dcm --image spleen.png --out outlined.png",
        ),
        "2107 mm2, 1.1 % of the image, box [677, 330, 792, 489]; longest diameter 79.4 mm, across it 38.4 mm; values 130.9 "
        "(standard deviation 14.9, from 88 to 215) in HU",
    ),
    Picture(
        "medvistagym-segment",
        "best_slice",
        "The slice of a map of blood flow from CT that is shown first, and the one on which the brain's mask covers most.",
        (
            "segment --image eCT_Supplemental.dcm --method otsu --out brain.nrrd",
            "best_slice --image eCT_Supplemental.dcm --image brain.nrrd --out largest.png",
        ),
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
            if picture.text and command == picture.commands[-2] and picture.text not in said.getvalue():
                raise RuntimeError(f"medvistagym tools call {command} says another thing: {said.getvalue().strip()}")
        return side_by_side(_shown(picture.option("--image")), _shown(picture.option("--out")))


def _shown(name: str) -> PIL.Image.Image:
    return mv.open(name).to_pil() if name.endswith((".dcm", ".nrrd")) else PIL.Image.open(name)


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
    with write_atomically(path) as part:
        part.write_bytes(data)


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
