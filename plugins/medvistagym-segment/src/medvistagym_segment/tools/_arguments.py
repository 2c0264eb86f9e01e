"""The arguments that several of the tools take, with their descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Box
from medvistagym_segment._catalog import segmenter_names

if TYPE_CHECKING:
    _Name = str
else:
    _Name = Literal[segmenter_names()]

_GridPoint = Annotated[list[Annotated[int, Field(ge=0, le=BOX_GRID_SIZE)]], Field(min_length=2, max_length=2)]

Method = Annotated[
    _Name,
    Field(
        description="What to find. lung and bone: in CT; body: without table and air; otsu: the largest bright part; region: "
        "what is connected with the point and alike; brain: in a head MR volume of axial slices."
    ),
]
Point = Annotated[
    _GridPoint | None,
    Field(
        description="[x, y] on a grid from 0 to 1000 over the image, well inside the structure; for region and for models "
        "that are pointed at it."
    ),
]
PromptBox = Annotated[
    Box | None,
    Field(
        description="[left, top, right, bottom] on the same grid around the structure, for models that are pointed at it."
    ),
]
Tolerance = Annotated[
    Annotated[float, Field(gt=0)] | None,
    Field(description="For region: how far values may be from that at the point, in the image's unit."),
]
MarginMm = Annotated[float, Field(ge=0, le=1000)]
TIMEOUT_S: Final = 120.0
