"""Equal pictures of a batch go through the vision tower once.

The rollouts of a group begin with the same picture, and often ask for the same one; the vision tower is more than half of what
a tiny model's prompt costs. What a picture becomes does not depend on the others of a batch, so it is computed once and laid
out again for each of its places; where it is learnt from, the gradients of all its places are added up before they go on. Only
where the tower drops out, which each picture does by a mask of its own, all of them are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from medvistagym_trl.model._dropout import draws_dropout

_MODEL_TYPES: Final = ("qwen3_vl",)
"""Models whose vision tower takes patches and the grid of each image, and gives tensors of patches or of merged patches."""


@contextmanager
def encode_equal_images_once(model: Any) -> Iterator[None]:
    """Let the vision tower of a model compute equal pictures once.

    On a CPU, where comparing pictures costs little; other models, other devices, and towers while they drop out, are left as
    they are.

    Args:
        model: The model, of transformers.
    """
    base = getattr(model, "model", None)
    tower = getattr(base, "visual", None)
    if getattr(model.config, "model_type", None) not in _MODEL_TYPES or tower is None or model.device.type != "cpu":
        yield
        return
    outer, whole = vars(tower).get("forward"), tower.forward
    merged = int(tower.spatial_merge_size) ** 2

    def forward(hidden_states: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        if draws_dropout(tower):
            return whole(hidden_states, grid_thw, **kwargs)
        sizes = grid_thw.prod(1).tolist()
        pictures = torch.split(hidden_states, sizes)
        first: dict[Any, int] = {}
        places = [
            first.setdefault((tuple(grid), picture.contiguous().view(torch.uint8).numpy().tobytes()), len(first))
            for grid, picture in zip(grid_thw.tolist(), pictures, strict=True)
        ]
        if len(first) == len(places):
            return whole(hidden_states, grid_thw, **kwargs)
        chosen = [places.index(place) for place in range(len(first))]
        output = whole(torch.cat([pictures[k] for k in chosen]), grid_thw[chosen], **kwargs)

        def lay_out(tensor: torch.Tensor) -> torch.Tensor:
            rows = [sizes[k] for k in chosen]
            if len(tensor) != sum(rows):
                rows = [count // merged for count in rows]
            parts = torch.split(tensor, rows)
            return torch.cat([parts[place] for place in places])

        for name, value in output.items():
            output[name] = lay_out(value) if isinstance(value, torch.Tensor) else type(value)(map(lay_out, value))
        return output

    tower.forward = forward
    try:
        yield
    finally:
        if outer is None:
            del tower.forward
        else:
            tower.forward = outer
