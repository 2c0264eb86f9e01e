"""Scenes: a real slice with inserts of known place, size and intensity, for each family of questions.

A scene is drawn in two steps from one seed: everything that the scout may show first, the answer last. So the same seed with
another answer (`answer=`) gives the picture that would have been, which is how the audit proves that scouts tell nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, Window
from medvistagym_scoutvqa._argument_grid import GRID_STEP, CanvasBox
from medvistagym_scoutvqa._inserts import (
    BAR_PATTERNS,
    BLOCK_SIDE,
    LEVEL_0_HU,
    LEVEL_HU,
    Span,
    align_to_blocks,
    bar_pattern,
    composite,
    disc_coverage,
    extract_noise,
    low_frequency_noise,
    rectangle_coverage,
    snap_to_level,
)
from medvistagym_scoutvqa._studies import CANVAS_SIDE, CROPS_PER_STUDY, MAX_HU, MIN_HU, draw_crop

if TYPE_CHECKING:
    import numpy as np

SCOUT_WINDOW: Final = Window(LEVEL_HU * 127.5 + LEVEL_0_HU, LEVEL_HU * 255, "linear_exact", "full range")
"""Display of the scout: grey level k holds the 16 HU around 16 k - 1032."""
CONTRAST_HU: Final = 13
"""Between nodules and the dense core of one of them: within one grey level of the scout. Faint bars are 1 HU less apart."""
QUADRANTS: Final = ("upper left", "upper right", "lower left", "lower right")
TISSUES_HU: Final = {
    "air": (-1000, -900),
    "fat": (-120, -70),
    "fluid": (0, 20),
    "soft tissue": (45, 75),
    "bone": (300, 900),
}
"""Tissues under the marker and their HU. Source of the ranges: the usual CT numbers, kept apart so that a mean decides."""
TISSUE_CENTERS_HU: Final = {"lung": -700, "soft tissue": 40, "bone": 700}
"""Tissues that nodules and faint plates are like, with the window centre that shows them."""
ABSTENTION: Final = "unclear"
"""What may always be answered."""
QUESTIONS: Final = {
    "window": "Where is the dense nodule?",
    "zoom": "Which way do the bars run?",
    "measure": "Which tissue is under the marker?",
    "direct": "Where is the marker?",
    "chain": "Which way do the faint bars run?",
}
ANSWERS: Final = {
    "window": QUADRANTS,
    "zoom": BAR_PATTERNS,
    "measure": tuple(TISSUES_HU),
    "direct": QUADRANTS,
    "chain": BAR_PATTERNS,
}


@dataclasses.dataclass(frozen=True)
class SliceVariety:
    """How far the real slices under the inserts differ from each other.

    Attributes:
        crops: Crops of each study.
        factors: Range of the factor on their HU.
        shifts_hu: Range of what is added to their HU.
    """

    crops: int
    factors: tuple[float, float]
    shifts_hu: tuple[float, float]


CASE_SLICES: Final = SliceVariety(CROPS_PER_STUDY, (0.9, 1.05), (-30, 30))
"""Of the cases, and of most perception items."""
WIDE_SLICES: Final = SliceVariety(4096, (0.7, 1.2), (-200, 200))
"""Of perception items about faint plates: any tissue of a slice may come to lie near a plate's grey level."""


@dataclasses.dataclass(frozen=True)
class SceneGroundTruth:
    """What the generator knows of a scene. Rectangles are `(y0, x0, y1, x1)` in canvas pixels.

    Attributes:
        family: Kind of question.
        answer: The right answer.
        quadrant: Where the insert or marker is; for nodules, the dense one.
        target: The marked patch, the bars, the marker, or the dense core.
        inserts: All nodules by quadrant, or the one insert.
        tissue: Tissue that the nodules or the faint plate are like, a key of `TISSUE_CENTERS_HU`; None for other families.
        base: HU of that tissue in this scene, the middle of a grey level of the scout.
    """

    family: str
    answer: str
    quadrant: str
    target: CanvasBox
    inserts: tuple[CanvasBox, ...]
    tissue: str | None = None
    base: int = 0


def render_scene(
    family: str,
    split: str,
    rng: np.random.Generator,
    answer: str | None = None,
    variety: SliceVariety = CASE_SLICES,
) -> tuple[Image, SceneGroundTruth]:
    """A canvas, `(256, 256)` int16 in HU, and the truth about it.

    Args:
        family: A key of `QUESTIONS`.
        split: A key of `STUDIES`.
        rng: Where everything is drawn from.
        answer: The answer to build instead of the one drawn; all else stays as it was.
        variety: Of the real slices.
    """
    import numpy as np

    crop = draw_crop(split, rng, variety.crops)
    canvas = np.rot90(crop.pixels, int(rng.integers(4)))
    if rng.integers(2):
        canvas = canvas[:, ::-1]
    canvas = canvas * np.float32(rng.uniform(*variety.factors)) + np.float32(rng.uniform(*variety.shifts_hu))
    np.clip(canvas, MIN_HU, MAX_HU, out=canvas)
    overlay, truth = _SCENE_BUILDERS[family](family, canvas, rng, answer)
    image = Image(
        pixels=np.rint(canvas).astype(np.int16),
        unit="HU",
        modality=crop.modality,
        spacing=crop.spacing,
        window=SCOUT_WINDOW,
        overlay=overlay,
    )
    return image, truth


def _draw_answer(family: str, rng: np.random.Generator, answer: str | None) -> str:
    """One of the family's answers; `answer`, if one is given, for which as much is drawn."""
    drawn = ANSWERS[family][int(rng.integers(len(ANSWERS[family])))]
    return drawn if answer is None else answer


def _draw_tissue(rng: np.random.Generator) -> tuple[str, int]:
    """A tissue, and the middle of the scout's grey level nearest to its window centre."""
    tissue = tuple(TISSUE_CENTERS_HU)[int(rng.integers(len(TISSUE_CENTERS_HU)))]
    return tissue, snap_to_level(TISSUE_CENTERS_HU[tissue])


def _build_nodules(
    family: str, canvas: np.ndarray, rng: np.random.Generator, answer: str | None
) -> tuple[None, SceneGroundTruth]:
    """Four nodules of one tissue, one a quadrant; one has a core denser by `CONTRAST_HU`."""
    tissue, base = _draw_tissue(rng)
    half = CANVAS_SIDE // 2
    nodules: list[CanvasBox] = []
    cores: list[tuple[Span, Span, tuple[float, float], float]] = []
    radius = rng.uniform(26, 30)
    for quadrant in range(4):
        y = quadrant // 2 * half + rng.uniform(radius + 2, half - radius - 2)
        x = quadrant % 2 * half + rng.uniform(radius + 2, half - radius - 2)
        rows = align_to_blocks(y - radius - 1, y + radius + 1)
        columns = align_to_blocks(x - radius - 1, x + radius + 1)
        noise = extract_noise(canvas[rows[0] : rows[1], columns[0] : columns[1]], 20)
        values = base - CONTRAST_HU / 2 + noise + low_frequency_noise(rng, noise.shape, 0.8)
        composite(canvas, rows, columns, values, disc_coverage(rows, columns, (y, x), radius))
        nodules.append((y - radius, x - radius, y + radius, x + radius))
        cores.append((rows, columns, (y, x), radius - 7))
    answer = _draw_answer(family, rng, answer)
    rows, columns, (y, x), inner = cores[QUADRANTS.index(answer)]
    canvas[rows[0] : rows[1], columns[0] : columns[1]] += CONTRAST_HU * disc_coverage(rows, columns, (y, x), inner)
    target = (y - inner, x - inner, y + inner, x + inner)
    return None, SceneGroundTruth(family, answer, answer, target, tuple(nodules), tissue, base)


def _build_plate(
    family: str, canvas: np.ndarray, rng: np.random.Generator, answer: str | None
) -> tuple[None, SceneGroundTruth]:
    """A square plate with bars of two pixels: bright metal ("zoom"), or faint within a tissue ("chain").

    The plate is made of whole HU before the bars come: so a block's mean is the same for all bars, to the last bit. Faint bars
    have no noise but the low-frequency one, and a rim wide enough that no picture of the bars, at any zoom, mixes with what is
    outside.
    """
    import numpy as np

    faint = family == "chain"
    tissue, base = _draw_tissue(rng) if faint else (None, snap_to_level(rng.uniform(1500, 1800)))
    amplitude = CONTRAST_HU // 2 if faint else int(rng.integers(650, 901))
    quadrant = int(rng.integers(4))
    side = BLOCK_SIDE * int(rng.integers(7, 10))
    half = CANVAS_SIDE // 2
    top, left = (
        start + BLOCK_SIDE * int(rng.integers(2, (half - side) // BLOCK_SIDE - 1))
        for start in (quadrant // 2 * half, quadrant % 2 * half)
    )
    rims = rng.uniform(5.5, 8, 4) if faint else rng.uniform(1.5, 4, 4)
    plate = (top - rims[0], left - rims[1], top + side + rims[2], left + side + rims[3])
    rows, columns = align_to_blocks(plate[0], plate[2]), align_to_blocks(plate[1], plate[3])
    noise = 0 if faint else extract_noise(canvas[rows[0] : rows[1], columns[0] : columns[1]], 30)
    shape = rows[1] - rows[0], columns[1] - columns[0]
    values = base + noise + low_frequency_noise(rng, shape, 1 if faint else 3)
    composite(canvas, rows, columns, values, rectangle_coverage(rows, columns, plate))
    np.rint(canvas, out=canvas)
    answer = _draw_answer(family, rng, answer)
    bars = bar_pattern(answer, (top, top + side), (left, left + side))
    canvas[top : top + side, left : left + side] += amplitude * bars
    target = (float(top), float(left), float(top + side), float(left + side))
    return None, SceneGroundTruth(family, answer, QUADRANTS[quadrant], target, (plate,), tissue, base)


def _build_marker(
    family: str, canvas: np.ndarray, rng: np.random.Generator, answer: str | None
) -> tuple[np.ndarray, SceneGroundTruth]:
    """A marker drawn over the picture; for "measure", with a patch of one tissue hidden under it."""
    import numpy as np

    quadrant = int(rng.integers(4))
    if family == "direct":
        quadrant = QUADRANTS.index(QUADRANTS[quadrant] if answer is None else answer)
    side = int(rng.integers(54, 65))
    cell = CANVAS_SIDE * GRID_STEP // 1000
    corner = []
    for start in (quadrant // 2 * CANVAS_SIDE // 2, quadrant % 2 * CANVAS_SIDE // 2):
        inner = start + cell * int(rng.integers(1, 3))  # a cell of the grid that the patch holds whole
        low, high = max(start + 6, inner + cell - side), min(start + CANVAS_SIDE // 2 - 6 - side, inner)
        corner.append(int(rng.integers(low, high + 1)))
    patch = (float(corner[0]), float(corner[1]), float(corner[0] + side), float(corner[1] + side))
    rows, columns = align_to_blocks(patch[0] - 3, patch[2] + 3), align_to_blocks(patch[1] - 3, patch[3] + 3)
    overlay = np.zeros((CANVAS_SIDE, CANVAS_SIDE), bool)
    overlay[rows[0] : rows[1], columns[0] : columns[1]] = True
    if family == "measure":
        depth = rng.random()
        answer = _draw_answer(family, rng, answer)
        low, high = TISSUES_HU[answer]
        noise = extract_noise(canvas[rows[0] : rows[1], columns[0] : columns[1]], 15)
        values = low + round(depth * (high - low)) + noise
        composite(canvas, rows, columns, values, rectangle_coverage(rows, columns, patch))
    else:
        answer = QUADRANTS[quadrant]
    return overlay, SceneGroundTruth(family, answer, QUADRANTS[quadrant], patch, (patch,))


_SCENE_BUILDERS: Final = {
    "window": _build_nodules,
    "zoom": _build_plate,
    "chain": _build_plate,
    "measure": _build_marker,
    "direct": _build_marker,
}
