"""A question as it is made: what is asked and shown, and the answer that is hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from medvistagym_core.environment import Answer
from medvistagym_core.imaging import Box, Image

if TYPE_CHECKING:
    import numpy as np

Maker = Callable[["np.random.Generator", str], "Draft"]
"""Makes a question of a family for a split: `maker(rng, split)`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
    """A question.

    Attributes:
        question: As it is asked.
        images: What is shown.
        answer: The hidden answer.
        options: Answers to choose from; empty for a number or a box.
    """

    question: str
    images: tuple[Image, ...]
    answer: Answer
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of question.

    Attributes:
        name: What reports call it.
        make: Makes one.
        tool: The tool that it needs; empty where looking is enough, None where several are.
        chance: What guessing is worth: one over the number of options, or a bound for numbers.
    """

    name: str
    make: Maker
    tool: str | None
    chance: float


def choice(question: str, images: tuple[Image, ...], answer: str, options: tuple[str, ...]) -> Draft:
    """A question with options."""
    return Draft(question, images, Answer(answer, "choice"), options)


def number(
    question: str, images: tuple[Image, ...], value: float, unit: str, tolerance: float, digits: int = 1
) -> Draft:
    """A question whose answer is a number, right within a tolerance in its unit."""
    rounded = f"{value:.{digits}f}"
    return Draft(question, images, Answer(rounded, "number", unit=unit, tolerance=tolerance))


def grid_box(image: Image, x0: int, y0: int, x1: int, y1: int) -> Box:
    """The largest box of the 0-1000 grid that lies within a rectangle of pixels (`x1` and `y1` exclusive)."""
    h, w = image.shape
    return Box(-(-x0 * 1000 // w), -(-y0 * 1000 // h), x1 * 1000 // w, y1 * 1000 // h)


def box_values(image: Image, box: Box) -> np.ndarray:
    """The pixels that a box covers, as tools take them."""
    x0, y0, x1, y1 = image.box_to_pixels(box)
    return image.pixels[y0:y1, x0:x1]
