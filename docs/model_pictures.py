"""Makes models.png: what three specialists find with the weights that their packages hold.

    python docs/model_pictures.py --ch2 /usr/share/mricron/templates --lungs-python build/envs/lungs/bin/python [--out FILE]

The films come with `pydicom-data`, the head `ch2` with Debian's `mricron-data`. `lungs-finder` has an environment of its own,
with this project and `pip install lungs-finder`; deepbet and rapidocr run in that of this program.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, ToolCall, Window
from medvistagym_core.imaging import full_resolution
from medvistagym_models import ModelError, load_tools
from medvistagym_segment import draw_overlay

OUT: Final = Path(__file__).with_name("models.png")
HEIGHT: Final = 420
GAP: Final = 20
ENTRIES: Final = """
[lungs]
adapter = "lungs_finder"
python = "{lungs_python}"

[text]
adapter = "rapidocr"

[brain]
adapter = "deepbet"
timeout_s = 900
"""


def load_head(folder: Path) -> Image:
    """The head: axial slices from feet to head, rows from front to back, columns to the patient's left."""
    import nibabel

    values = np.asarray(nibabel.as_closest_canonical(nibabel.load(folder / "ch2.nii.gz")).dataobj).squeeze()
    pixels = np.ascontiguousarray(values.transpose(2, 1, 0)[:, ::-1, ::-1])
    return Image(pixels=pixels, unit="raw", modality="MR", spacing=(1.0, 1.0, 1.0), window=Window(60, 120))


def draw(executor: LocalExecutor, name: str, image: Image) -> PIL.Image.Image:
    """The image with what a tool finds in it: boxes, or the outline of a mask on the slice that shows most of it."""
    ((result,),) = executor.run([(ImageStore([image]), [ToolCall(name=name, arguments={"image": 0})])])
    if result.error is not None:
        raise SystemExit(f"{name}: {result.error.message}")
    shown, masks, boxes = full_resolution(image), [], []
    if result.images:
        mask = result.images[0].pixels
        z = int(mask.sum((1, 2)).argmax())
        shown, masks = shown.replace(pixels=shown.pixels[z], frame=None, spacing=None), [mask[z]]
    else:
        findings: list[dict[str, Any]] = (result.data or {})["findings"]
        boxes = [one["box"] for one in findings]
    drawn = draw_overlay(shown, masks, boxes).to_pil().convert("RGB")
    return drawn.resize((round(drawn.width * HEIGHT / drawn.height), HEIGHT), PIL.Image.Resampling.LANCZOS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ch2", metavar="FOLDER", type=Path, required=True, help="folder of ch2.nii.gz")
    parser.add_argument(
        "--lungs-python", metavar="FILE", type=Path, required=True, help="interpreter with lungs-finder"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    from pydicom.data import get_testdata_file

    from medvistagym_dicom import read_one

    registry = Registry()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "models.toml"
        file.write_text(ENTRIES.format(lungs_python=options.lungs_python.absolute()))
        for tool in load_tools(file):
            if isinstance(tool, ModelError):
                raise SystemExit(str(tool))
            registry.add_tool(tool, "models")
    images = {
        "lungs": read_one(str(get_testdata_file("RG1_UNCR.dcm"))),
        "text": read_one(str(get_testdata_file("US1_UNCR.dcm"))),
        "brain": load_head(options.ch2),
    }
    with LocalExecutor(registry.toolbox()) as executor:
        parts = [draw(executor, name, image) for name, image in images.items()]
    sheet = PIL.Image.new("RGB", (sum(part.width for part in parts) + GAP * (len(parts) - 1), HEIGHT), "white")
    x = 0
    for part in parts:
        sheet.paste(part, (x, 0))
        x += part.width + GAP
    sheet.save(options.out, optimize=True)


if __name__ == "__main__":
    main()
