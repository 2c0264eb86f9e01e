"""What the policies of these tests do."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolCall, tool
from medvistagym_core.trajectories.viewer import EpisodeIndex

WINDOW = ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
CROP = ToolCall(name="crop", arguments={"image": 0, "box": [500, 0, 1000, 500]})
CROP_OF_CROP = ToolCall(name="crop", arguments={"image": 1, "box": [0, 500, 500, 1000]})
LINE = ToolCall(name="trace", arguments={"image": 1, "from_point": [0, 0], "to_point": [1000, 500]})
OUTLINE = ToolCall(name="trace", arguments={"image": 0, "points": [[0, 0], [100, 0], [50, 80]]})
TURNED = ToolCall(name="turned", arguments={"image": 0})
TILTED = ToolCall(name="tilted", arguments={"image": 0})
OUTSIDE = ToolCall(name="crop", arguments={"image": 7, "box": [0, 0, 500, 500]})
MALFORMED = "hm"


def forget_expected(folder: Path) -> Path:
    """Make the answers of a run those to questions of which nobody has said what is right, as `ask` writes them."""
    file = folder / "test.jsonl"
    episodes = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for episode in episodes:
        episode["outcome"] |= {"expected": "", "correct": False}
        episode["outcome"]["key"] |= {"value": "", "kind": "exact"}
    file.write_text("".join(f"{json.dumps(episode)}\n" for episode in episodes), "utf-8")
    return folder


Point = Annotated[list[Annotated[int, Field(ge=0, le=1000)]], Field(min_length=2, max_length=2)]


@tool
def echo(image: Image, said: str) -> str:
    """Say it again.

    Args:
        image: The image.
        said: What to say.
    """
    return said


@tool
def trace(
    image: Image, from_point: Point | None = None, to_point: Point | None = None, points: list[Point] | None = None
) -> str:
    """Follow a line or an outline.

    Args:
        image: The image.
        from_point: Where the line begins.
        to_point: Where it ends.
        points: Corners of an outline.
    """
    return "done"


@tool
def turned(image: Image) -> Image:
    """Another plane, of another shape.

    Args:
        image: The image.
    """
    return Image(pixels=image.pixels[:16], unit=image.unit)


@tool
def tilted(image: Image, grown: bool = True) -> Image:
    """The image turned by an eighth, all of it or as much as a canvas of its size holds.

    Args:
        image: The image.
        grown: Whether the canvas holds all of it.
    """
    (h, w), half = image.shape, 0.5**0.5
    side = 2 * max(h, w) if grown else max(h, w)
    middle = side / 2
    back = (half, -half, w / 2, half, half, h / 2 - 2 * half * middle)
    return image.replace(pixels=np.zeros((side, side)), to_source=back, detail=None, spacing=None, overlay=None)


def read(path: Path) -> EpisodeIndex:
    """A run, read to its end."""
    run = EpisodeIndex(path)
    run.poll()
    return run
