"""The studies behind the benchmark: real DICOM objects that arrive inside `pydicom` and `pydicom-data`.

CT keeps its Hounsfield units. MR, CR and NM have no such scale: their 1st to 99.5th percentile is mapped to -1000 to 400, so
that one display window fits all. That is pseudo-HU: it places tissue on the benchmark's scale and means nothing physically.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np

CANVAS_SIDE: Final = 256
"""Side of a canvas in pixels."""
MIN_HU: Final = -1024
MAX_HU: Final = 3071
"""Canvas values have 12 bits."""
CROPS_PER_STUDY: Final = 48
"""Crops that the cases of a split are built on."""
_MAX_CROP_TRIES: Final = 20
_MIN_CROP_STD: Final = 60  # HU; a piece with less shows next to nothing

STUDIES: Final = {
    "train": (
        "693_UNCR.dcm",
        "bad_sequence.dcm",
        "eCT_Supplemental.dcm",
        "MR2_UNCR.dcm",
        "RG1_UNCR.dcm",
        "emri_small.dcm",
        "JPEG2000_UNC.dcm",
    ),
    "validation": ("CT_small.dcm", "MR_small.dcm"),
    "test": (
        "J2K_pixelrep_mismatch.dcm",
        "explicit_VR-UN.dcm",
        "MR-SIEMENS-DICOM-WithOverlays.dcm",
        "RG3_UNCR.dcm",
    ),
}
"""Files of each split. No study (and no patient) is in two of them."""


class Crop(NamedTuple):
    """A square piece of a real slice, resampled to `CANVAS_SIDE`.

    Attributes:
        pixels: `(CANVAS_SIDE, CANVAS_SIDE)` int16 in HU or pseudo-HU, within `MIN_HU` to `MAX_HU`; not to be written to.
        spacing: Distance between pixel centres in mm, (row, column).
        modality: DICOM modality of the study.
    """

    pixels: np.ndarray
    spacing: tuple[float, float]
    modality: str


def study_path(name: str) -> Path:
    """Where a study's file lies on this machine.

    Raises:
        FileNotFoundError: `pydicom-data` is not installed, or not the version that has the file.
    """
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        raise FileNotFoundError(f"{name} is not on this machine; install it with: pip install pydicom-data==1.0.0")
    return Path(str(path))


def draw_crop(split: str, rng: np.random.Generator, crops: int = CROPS_PER_STUDY) -> Crop:
    """One of the split's crops, drawn with `rng`; every study is as likely as any other.

    Args:
        split: A key of `STUDIES`.
        rng: Where it is drawn from.
        crops: How many crops there are of each study.
    """
    names = STUDIES[split]
    return _make_crop(names[int(rng.integers(len(names)))], int(rng.integers(crops)))


@functools.lru_cache(maxsize=16)  # all studies: 12 MiB
def _read_slices(name: str) -> tuple[tuple[np.ndarray, ...], tuple[float, float], str]:
    """Slices of a study as float32 in HU or pseudo-HU, no side much above 1,000 pixels; their spacing in mm; modality."""
    import numpy as np

    from medvistagym_dicom import read_one

    image = read_one(study_path(name))
    stack = image.pixels.astype(np.float32).reshape(-1, *image.shape)
    if image.photometric == "MONOCHROME1":
        stack = -stack
    row, column = image.spacing[-2:] if image.spacing else (1.0, 1.0)
    modality = image.modality or "OT"
    step = max(1, min(image.shape) // 550)
    slices = []
    for pixels in stack[:: max(1, len(stack) // 10)]:
        h, w = (n // step * step for n in pixels.shape)
        small = pixels[:h, :w].reshape(h // step, step, w // step, step).mean((1, 3))
        slices.append(np.clip(small, -1000, 2000) if image.unit == "HU" else _to_pseudo_hu(small))
    return tuple(slices), (row * step, column * step), modality


def _to_pseudo_hu(pixels: np.ndarray) -> np.ndarray:
    import numpy as np

    low, high = np.percentile(pixels, [1, 99.5])
    scaled: np.ndarray = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1.2) * 1400 - 1000
    return scaled.astype(np.float32)


@functools.lru_cache(maxsize=7 * CROPS_PER_STUDY)  # those of the largest split: 42 MiB
def _make_crop(name: str, number: int) -> Crop:
    """Crop `number` of a study: a square of 55 to 100 % of a slice's shorter side, turned by up to 20 degrees."""
    import numpy as np
    import PIL.Image

    slices, spacing, modality = _read_slices(name)
    rng = np.random.default_rng([zlib.crc32(name.encode()), number])
    pixels = slices[int(rng.integers(len(slices)))]
    h, w = pixels.shape
    side = int(min(h, w) * rng.uniform(0.55, 1.0))
    for _ in range(_MAX_CROP_TRIES):
        y, x = int(rng.integers(0, h - side + 1)), int(rng.integers(0, w - side + 1))
        if pixels[y : y + side, x : x + side].std() > _MIN_CROP_STD:
            break
    angle = np.deg2rad(rng.uniform(-20, 20))
    a, b = np.cos(angle) * side / CANVAS_SIDE, np.sin(angle) * side / CANVAS_SIDE
    centre_x, centre_y = x + side / 2 - (a + b) * CANVAS_SIDE / 2, y + side / 2 - (a - b) * CANVAS_SIDE / 2
    rotated = PIL.Image.fromarray(pixels).transform(
        (CANVAS_SIDE, CANVAS_SIDE),
        PIL.Image.Transform.AFFINE,
        (a, b, centre_x, -b, a, centre_y),
        PIL.Image.Resampling.BILINEAR,
        fillcolor=float(pixels.min()),
    )
    out = np.rint(np.asarray(rotated)).astype(np.int16)
    out.flags.writeable = False
    return Crop(out, (spacing[0] * side / CANVAS_SIDE, spacing[1] * side / CANVAS_SIDE), modality)
