"""The pictures of `realsmoke`: DICOM objects that come with `pydicom` and `pydicom-data`, in pieces without their headers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, Window

if TYPE_CHECKING:
    import numpy as np

BONE_SCAN: Final = "JPEG2000_UNC.dcm"
"""There is one bone scan: train has pieces of its upper half, test of its lower one."""
CT: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "train": ("693_UNCR.dcm", "bad_sequence.dcm", "CT_small.dcm"),
        "test": ("J2K_pixelrep_mismatch.dcm", "explicit_VR-UN.dcm"),
    }
)
"""CT slices: head, spine and chest wall; head and abdomen."""
MEASURABLE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "train": (*CT["train"], "MR2_UNCR.dcm"),
        "test": (*CT["test"], "MR-SIEMENS-DICOM-WithOverlays.dcm", BONE_SCAN),
    }
)
"""Pictures whose pixel spacing is known."""
MODALITIES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "train": {
            "computed tomography": ("693_UNCR.dcm", "bad_sequence.dcm", "CT_small.dcm"),
            "magnetic resonance": ("MR2_UNCR.dcm",),
            "plain film": ("RG1_UNCR.dcm",),
            "nuclear medicine": (BONE_SCAN,),
        },
        "test": {
            "computed tomography": ("J2K_pixelrep_mismatch.dcm", "explicit_VR-UN.dcm"),
            "magnetic resonance": ("MR-SIEMENS-DICOM-WithOverlays.dcm",),
            "plain film": ("RG3_UNCR.dcm",),
            "nuclear medicine": (BONE_SCAN,),
        },
    }
)
"""Pictures by modality."""
TEXT_PIECES: Final[Mapping[str, Mapping[bool, tuple[tuple[str, int, int, int, int], ...]]]] = MappingProxyType(
    {
        "train": {
            True: (
                ("US1_UNCR.dcm", 0, 16, 200, 112),
                ("US1_UNCR.dcm", 440, 16, 640, 112),
                ("US1_UNCR.dcm", 200, 330, 400, 426),
                ("OBXXXX1A.dcm", 0, 0, 200, 96),
                ("OBXXXX1A.dcm", 560, 0, 760, 96),
                ("OBXXXX1A.dcm", 0, 60, 200, 156),
            ),
            False: (
                ("US1_UNCR.dcm", 90, 140, 290, 236),
                ("US1_UNCR.dcm", 320, 140, 520, 236),
                ("US1_UNCR.dcm", 200, 140, 400, 236),
                ("US1_UNCR.dcm", 120, 150, 320, 246),
                ("US1_UNCR.dcm", 330, 130, 530, 226),
                ("US1_UNCR.dcm", 230, 150, 430, 246),
            ),
        },
        "test": {
            True: (
                ("gdcm-US-ALOKA-16.dcm", 60, 0, 260, 96),
                ("gdcm-US-ALOKA-16.dcm", 440, 0, 640, 96),
                ("gdcm-US-ALOKA-16.dcm", 0, 384, 200, 480),
                ("JPGLosslessP14SV1_1s_1f_8b.dcm", 0, 10, 200, 106),
                ("JPGLosslessP14SV1_1s_1f_8b.dcm", 810, 0, 1010, 96),
                ("JPGLosslessP14SV1_1s_1f_8b.dcm", 0, 90, 200, 186),
            ),
            False: (
                ("gdcm-US-ALOKA-16.dcm", 100, 220, 300, 316),
                ("gdcm-US-ALOKA-16.dcm", 400, 220, 600, 316),
                ("gdcm-US-ALOKA-16.dcm", 360, 280, 560, 376),
                ("JPGLosslessP14SV1_1s_1f_8b.dcm", 330, 300, 530, 396),
                ("JPGLosslessP14SV1_1s_1f_8b.dcm", 500, 420, 700, 516),
                ("JPGLosslessP14SV1_1s_1f_8b.dcm", 420, 520, 620, 616),
            ),
        },
    }
)
"""Pieces of ultrasound pictures, `(file, x0, y0, x1, y1)`, by whether text is burned into them; looked at by hand."""
CLIPS: Final[Mapping[str, str]] = MappingProxyType({"train": "emri_small.dcm", "test": "color3d_jpeg_baseline.dcm"})
"""A stack of ten head MR slices; 120 frames of a heart's ultrasound."""
MARKER_FILM: Final = "RG3_UNCR.dcm"
"""Film of a lower leg with a lead marker beside it. There is one such film: train and test have other cuts of it."""
_MAX_SIDE: Final = 1100


def study_path(name: str) -> Path:
    """Where a file lies on this machine.

    Raises:
        ValueError: `pydicom-data` is not installed, or not the version that has the file.
    """
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        raise ValueError(f"{name} is not on this machine; install it with: pip install pydicom-data==1.0.0")
    return Path(str(path))


@functools.cache
def read_study(name: str) -> Image:
    """A study as it is stored; a film coarser than `_MAX_SIDE` is averaged over squares of pixels."""
    import numpy as np

    from medvistagym_dicom import read_one

    image = read_one(study_path(name))
    step = -(-max(image.shape) // _MAX_SIDE)
    if step == 1:
        return image
    h, w = (n // step * step for n in image.shape)
    pixels = image.pixels[:h, :w].reshape(h // step, step, w // step, step).mean((1, 3))
    spacing = None if image.spacing is None else tuple(value * step for value in image.spacing)
    return _bare(image, np.rint(pixels).astype(image.pixels.dtype), spacing)


def read_part(name: str, split: str) -> Image:
    """What a split may show of a study: all of it, or its half of the bone scan."""
    image = read_study(name)
    if name != BONE_SCAN:
        return image
    h, w = image.shape
    return piece(image, 0, 0, w, h // 2) if split == "train" else piece(image, 0, h // 2, w, h)


def piece(image: Image, x0: int, y0: int, x1: int, y1: int, *, mirrored: bool = False) -> Image:
    """A rectangle of a picture as a picture of its own, with its spacing, unit and window and nothing else of its header."""
    pixels = image.pixels[y0:y1, x0:x1]
    return _bare(image, pixels[:, ::-1] if mirrored else pixels, image.spacing)


def draw_piece(rng: np.random.Generator, name: str, side: int) -> Image:
    """A square piece of a study, drawn from where there is something to see.

    Args:
        rng: Draws the place.
        name: The study.
        side: Side in pixels, at most the study's shorter one.
    """
    image = read_study(name)
    h, w = image.shape
    side = min(side, h, w)
    best, best_spread = (0, 0), -1.0
    for _ in range(8):
        y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
        spread = float(image.pixels[y : y + side, x : x + side].std())
        if spread > best_spread:
            best, best_spread = (y, x), spread
    y, x = best
    return piece(image, x, y, x + side, y + side)


def _bare(image: Image, pixels: np.ndarray, spacing: tuple[float, ...] | None) -> Image:
    window = image.window
    return Image(
        pixels=pixels.copy(),
        unit=image.unit,
        spacing=spacing,
        modality=image.modality,
        photometric=image.photometric,
        window=Window(40, 400) if image.unit == "HU" else window,
    )
