"""The rows of a turn, cut into parts that are sampled one after the other, so that fewer keys and values are kept at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch

from medvistagym_trl.stages._image_fields_trainer import Rows

_GRID: Final = "image_grid_thw"
_PIXELS: Final = "pixel_values"


class TurnPart(NamedTuple):
    """Some rows of a turn: the tokens to go on from, the images of each row, and what the model takes of those."""

    prompt_ids: Sequence[Sequence[int]]
    images: Rows | None
    fields: Mapping[str, Any]


def cut_turn(
    prompt_ids: Sequence[Sequence[int]], images: Rows | None, fields: Mapping[str, Any], rows: int
) -> Iterator[TurnPart]:
    """Parts of at most `rows` rows of a turn, for families whose images come as patches with a grid (Qwen).

    Args:
        prompt_ids: Tokens of each row.
        images: Images of each row; None where there are none.
        fields: `pixel_values` and `image_grid_thw` of all images, in their order, and fields with a value for each row.
        rows: Most rows of a part.

    Raises:
        ValueError: A field is neither of images nor of rows.
    """
    counts = [len(row or ()) for row in images] if images is not None else [0] * len(prompt_ids)
    for first in range(0, len(prompt_ids), rows):
        last = min(first + rows, len(prompt_ids))
        shown = slice(sum(counts[:first]), sum(counts[:last]))
        part = {}
        for name, value in fields.items():
            if name in (_GRID, _PIXELS):
                if shown.start < shown.stop:
                    part[name] = value[shown if name == _GRID else _patches(fields[_GRID], shown)]
            elif len(value) == len(prompt_ids):
                part[name] = value[first:last]
            else:
                raise ValueError(
                    f"{name} has {len(value)} values for {len(prompt_ids)} rows, so that it cannot be cut between them: set "
                    "grpo.generation_parts=1"
                )
        yield TurnPart(prompt_ids[first:last], None if images is None else images[first:last], part)


def _patches(grid: torch.Tensor, images: slice) -> slice:
    """The rows of `pixel_values` that some images take."""
    ends = [0, *torch.as_tensor(grid).prod(-1).cumsum(0).tolist()]
    return slice(int(ends[images.start]), int(ends[images.stop]))
