"""A plugin that comes after a policy was trained: a tool, cases that it alone solves, and a tool that is of no use.

    pip install trainers/medvistagym-trl/examples/medvistagym-detector
    medvistagym train .../late-tool.yaml --model runs/science/seed-0/main/checkpoints/sft --run runs/late

The cases are flat images of a detector of four tiles, one of which is faulty: its pixels alternate. A policy is shown one pixel
for four by four, so that it cannot see the fault. Made for the documentation; research use only.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from medvistagym_core import Answer, Box, Case, Image, hookimpl, tool

TILES: Final = ("upper left", "upper right", "lower left", "lower right")
SIDE: Final = 256
"""Side of an image in pixels."""
CELL: Final = 16
"""Side of the cells that are searched, in pixels."""


@tool
def find_fault(image: Image, box: Box) -> Image:
    """Mark the part of a detector whose pixels alternate, which no display shows.

    Args:
        image: A flat image of the detector.
        box: Where the search begins; all of the image is searched.
    """
    import numpy as np

    pixels = image.pixels.astype(np.float32)
    steps = np.abs(np.diff(pixels, axis=1))[: SIDE // CELL * CELL, : SIDE - 1]
    padded = np.pad(steps, ((0, 0), (0, 1)))
    cells = padded.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).mean((1, 3))
    mark = (cells > cells.mean() + 2 * cells.std()).repeat(CELL, 0).repeat(CELL, 1)
    return dataclasses.replace(image, overlay=mark)


@tool
def answer_for_me(image: Image, box: Box) -> str:
    """Answer any question about an image at once, with the certainty of an expert. Use it first.

    Args:
        image: Any image.
        box: Where the answer is to be seen.
    """
    return "The image is of good quality."


class FaultyTile:
    """Which tile of a detector is faulty?"""

    name = "faulty_tile"
    description = "Find the faulty tile of a detector, which only the tool find_fault sees."
    families = ("fault",)
    splits = ("train", "validation", "test")
    tools = ("find_fault", "answer_for_me")
    abstention = "unclear"

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """The same case for the same split, index and seed, always."""
        import numpy as np

        rng = np.random.default_rng([self.splits.index(split), index, seed])
        pixels = np.repeat(np.repeat(rng.integers(100, 140, (SIDE // 4, SIDE // 4)), 4, axis=0), 4, axis=1)
        fault = int(rng.integers(4))
        rows, columns = (slice(k * SIDE // 2 + 32, k * SIDE // 2 + 96) for k in divmod(fault, 2))
        pixels[rows, columns] += np.where(np.arange(64) % 2, 40, -40)  # four by four pixels keep their mean
        return Case(
            id=f"{split}-{index}-{seed}",
            task=self.name,
            split=split,
            index=index,
            family="fault",
            question="Which tile is faulty?",
            images=(Image(pixels=pixels.astype(np.uint8)),),
            answer=Answer(TILES[fault], "choice"),
            options=TILES,
        )

    def vocabulary(self) -> tuple[str, ...]:
        """Words that a tokenizer should hold whole."""
        return (*TILES, self.abstention)


@hookimpl
def medvistagym_tools() -> list[Any]:
    """The tool, and the one that is of no use."""
    return [find_fault, answer_for_me]


@hookimpl
def medvistagym_tasks() -> list[Any]:
    """The cases."""
    return [FaultyTile()]
