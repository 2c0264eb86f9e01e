"""Scenes: a real slice with inserts of known place, size and intensity, for each family of questions.

A scene is drawn in two steps from one seed: everything that the scout may show first, the answer last. So the same seed with
another answer (`answer=`) gives the picture that would have been, which is how the audit proves that scouts tell nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, Window
from medvistagym_scoutvqa import grid, studies
from medvistagym_scoutvqa.grid import Place
from medvistagym_scoutvqa.insert import (
    BARS,
    BLOCK,
    LEVEL,
    ORIGIN,
    Span,
    aligned,
    bars,
    blend,
    disc,
    drift,
    level,
    noise,
    rectangle,
)
from medvistagym_scoutvqa.studies import HIGH, LOW, SIDE

if TYPE_CHECKING:
    import numpy as np

FULL: Final = Window(LEVEL * 127.5 + ORIGIN, LEVEL * 255, "linear_exact", "full range")
"""Display of the scout: grey level k holds the 16 HU around 16 k - 1032."""
CONTRAST: Final = 13
"""HU between nodules and the dense core of one of them: within one grey level of the scout. Faint bars are 1 HU less apart."""
QUADRANTS: Final = ("upper left", "upper right", "lower left", "lower right")
TISSUES: Final = {
    "air": (-1000, -900),
    "fat": (-120, -70),
    "fluid": (0, 20),
    "soft tissue": (45, 75),
    "bone": (300, 900),
}
"""Tissues under the marker and their HU. Source of the ranges: the usual CT numbers, kept apart so that a mean decides."""
BASES: Final = {"lung": -700, "soft tissue": 40, "bone": 700}
"""Tissues that nodules and faint plates are like, with the window centre that shows them, in HU."""
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
    "zoom": BARS,
    "measure": tuple(TISSUES),
    "direct": QUADRANTS,
    "chain": BARS,
}


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the generator knows of a scene. Places are `(y0, x0, y1, x1)` in canvas pixels.

    Attributes:
        family: Kind of question.
        answer: The right answer.
        quadrant: Where the insert or marker is; for nodules, the dense one.
        tissue: Tissue that the nodules or the faint plate are like, a key of `BASES`; None for other families.
        base: HU of that tissue in this scene, the middle of a grey level of the scout.
        target: The marked patch, the bars, the marker, or the dense core.
        inserts: All nodules by quadrant, or the one insert.
    """

    family: str
    answer: str
    quadrant: str
    target: Place
    inserts: tuple[Place, ...]
    tissue: str | None = None
    base: int = 0


def scene(family: str, split: str, rng: np.random.Generator, answer: str | None = None) -> tuple[Image, Truth]:
    """A canvas, `(256, 256)` int16 in HU, and the truth about it.

    Args:
        family: A key of `QUESTIONS`.
        split: A key of `studies.STUDIES`.
        rng: Where everything is drawn from.
        answer: The answer to build instead of the one drawn; all else stays as it was.
    """
    import numpy as np

    crop = studies.crop(split, rng)
    canvas = np.rot90(crop.pixels, int(rng.integers(4)))
    if rng.integers(2):
        canvas = canvas[:, ::-1]
    canvas = canvas * np.float32(rng.uniform(0.9, 1.05)) + np.float32(rng.uniform(-30, 30))
    np.clip(canvas, LOW, HIGH, out=canvas)
    overlay, truth = _PAINTERS[family](family, canvas, rng, answer)
    image = Image(
        pixels=np.rint(canvas).astype(np.int16),
        unit="HU",
        modality=crop.modality,
        spacing=crop.spacing,
        window=FULL,
        overlay=overlay,
    )
    return image, truth


def _drawn(family: str, rng: np.random.Generator, answer: str | None) -> str:
    drawn = ANSWERS[family][int(rng.integers(len(ANSWERS[family])))]
    return drawn if answer is None else answer


def _base(rng: np.random.Generator) -> tuple[str, int]:
    """A tissue, and the middle of the scout's grey level nearest to its window centre."""
    tissue = tuple(BASES)[int(rng.integers(len(BASES)))]
    return tissue, level(BASES[tissue])


def _nodules(family: str, canvas: np.ndarray, rng: np.random.Generator, answer: str | None) -> tuple[None, Truth]:
    """Four nodules of one tissue, one a quadrant; one has a core denser by `CONTRAST`."""
    tissue, base = _base(rng)
    half = SIDE // 2
    places: list[Place] = []
    cores: list[tuple[Span, Span, tuple[float, float], float]] = []
    radius = rng.uniform(26, 30)
    for quadrant in range(4):
        y = quadrant // 2 * half + rng.uniform(radius + 2, half - radius - 2)
        x = quadrant % 2 * half + rng.uniform(radius + 2, half - radius - 2)
        rows, columns = aligned(y - radius - 1, y + radius + 1), aligned(x - radius - 1, x + radius + 1)
        own = noise(canvas[rows[0] : rows[1], columns[0] : columns[1]], 20)
        values = base - CONTRAST / 2 + own + drift(rng, own.shape, 0.8)
        blend(canvas, rows, columns, values, disc(rows, columns, (y, x), radius))
        places.append((y - radius, x - radius, y + radius, x + radius))
        cores.append((rows, columns, (y, x), radius - 7))
    said = _drawn(family, rng, answer)
    rows, columns, (y, x), inner = cores[QUADRANTS.index(said)]
    canvas[rows[0] : rows[1], columns[0] : columns[1]] += CONTRAST * disc(rows, columns, (y, x), inner)
    target = (y - inner, x - inner, y + inner, x + inner)
    return None, Truth(family, said, said, target, tuple(places), tissue, base)


def _plate(family: str, canvas: np.ndarray, rng: np.random.Generator, answer: str | None) -> tuple[None, Truth]:
    """A square plate with bars of two pixels: bright metal ("zoom"), or faint within a tissue ("chain").

    The plate is made of whole HU before the bars come: so a block's mean is the same for all bars, to the last bit. Faint bars
    have no noise but `drift`, and a rim wide enough that no picture of the bars, at any zoom, mixes with what is outside.
    """
    import numpy as np

    faint = family == "chain"
    tissue, base = _base(rng) if faint else (None, level(rng.uniform(1500, 1800)))
    amplitude = CONTRAST // 2 if faint else int(rng.integers(650, 901))
    quadrant = int(rng.integers(4))
    side = BLOCK * int(rng.integers(7, 10))
    half = SIDE // 2
    top, left = (
        start + BLOCK * int(rng.integers(2, (half - side) // BLOCK - 1))
        for start in (quadrant // 2 * half, quadrant % 2 * half)
    )
    rims = rng.uniform(5.5, 8, 4) if faint else rng.uniform(1.5, 4, 4)
    outer = (top - rims[0], left - rims[1], top + side + rims[2], left + side + rims[3])
    rows, columns = aligned(outer[0], outer[2]), aligned(outer[1], outer[3])
    own = 0 if faint else noise(canvas[rows[0] : rows[1], columns[0] : columns[1]], 30)
    values = base + own + drift(rng, (rows[1] - rows[0], columns[1] - columns[0]), 1 if faint else 3)
    blend(canvas, rows, columns, values, rectangle(rows, columns, outer))
    np.rint(canvas, out=canvas)
    said = _drawn(family, rng, answer)
    canvas[top : top + side, left : left + side] += amplitude * bars(said, (top, top + side), (left, left + side))
    target = (float(top), float(left), float(top + side), float(left + side))
    return None, Truth(family, said, QUADRANTS[quadrant], target, (outer,), tissue, base)


def _marker(family: str, canvas: np.ndarray, rng: np.random.Generator, answer: str | None) -> tuple[np.ndarray, Truth]:
    """A marker drawn over the picture; for "measure", with a patch of one tissue hidden under it."""
    import numpy as np

    quadrant = int(rng.integers(4))
    if family == "direct":
        quadrant = QUADRANTS.index(QUADRANTS[quadrant] if answer is None else answer)
    side = int(rng.integers(54, 65))
    cell = SIDE * grid.STEP // 1000
    corner = []
    for start in (quadrant // 2 * SIDE // 2, quadrant % 2 * SIDE // 2):
        inner = start + cell * int(rng.integers(1, 3))  # a cell of the grid that the patch holds whole
        low, high = max(start + 6, inner + cell - side), min(start + SIDE // 2 - 6 - side, inner)
        corner.append(int(rng.integers(low, high + 1)))
    place = (float(corner[0]), float(corner[1]), float(corner[0] + side), float(corner[1] + side))
    rows, columns = aligned(place[0] - 3, place[2] + 3), aligned(place[1] - 3, place[3] + 3)
    overlay = np.zeros((SIDE, SIDE), bool)
    overlay[rows[0] : rows[1], columns[0] : columns[1]] = True
    if family == "measure":
        depth = rng.random()
        said = _drawn(family, rng, answer)
        low, high = TISSUES[said]
        own = noise(canvas[rows[0] : rows[1], columns[0] : columns[1]], 15)
        values = low + round(depth * (high - low)) + own
        blend(canvas, rows, columns, values, rectangle(rows, columns, place))
    else:
        said = QUADRANTS[quadrant]
    return overlay, Truth(family, said, QUADRANTS[quadrant], place, (place,))


_PAINTERS: Final = {"window": _nodules, "zoom": _plate, "chain": _plate, "measure": _marker, "direct": _marker}
