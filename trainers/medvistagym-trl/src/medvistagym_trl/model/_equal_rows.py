"""Equal rows of a batch are read once before they are gone on with.

The rollouts of a group begin with the same prompt, and those that called alike go on from the same conversation. Reading it is
most of what a short turn costs, and gives each of them the same keys and values: it is done for one of them, and laid out again
for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from medvistagym_trl.model._dropout import draws_dropout

_MODEL_TYPES: Final = ("qwen3_vl",)
"""Models whose language model takes embeddings (rows, tokens, width) and positions (axes, rows, tokens)."""


@contextmanager
def read_equal_rows_once(model: Any) -> Iterator[None]:
    """Let the language model of a model read equal rows of a prompt once, while it generates.

    On a CPU, where comparing rows costs little; other models, other devices, deep features of images, and models while they
    drop out, are left as they are.

    Args:
        model: The model, of transformers.
    """
    language = getattr(getattr(model, "model", None), "language_model", None)
    if getattr(model.config, "model_type", None) not in _MODEL_TYPES or language is None or model.device.type != "cpu":
        yield
        return
    whole = language.forward

    def forward(
        *, inputs_embeds: Any = None, attention_mask: Any = None, position_ids: Any = None, **kwargs: Any
    ) -> Any:
        given = {"inputs_embeds": inputs_embeds, "attention_mask": attention_mask, "position_ids": position_ids}
        cache = kwargs.get("past_key_values")
        shapes = [getattr(value, "ndim", 0) for value in given.values()]
        if cache is None or cache.get_seq_length() or torch.is_grad_enabled():  # nothing is generated, or it goes on
            return whole(**given, **kwargs)
        if shapes != [3, 2, 3] or kwargs.get("deepstack_visual_embeds") or draws_dropout(language):
            return whole(**given, **kwargs)
        first: dict[Any, int] = {}
        rows = zip(inputs_embeds, attention_mask, position_ids.transpose(0, 1), strict=True)
        places = [first.setdefault(tuple(map(_content, row)), len(first)) for row in rows]
        if len(first) == len(places):
            return whole(**given, **kwargs)
        chosen = torch.tensor([places.index(place) for place in range(len(first))])
        if kwargs.get("visual_pos_masks") is not None:
            kwargs["visual_pos_masks"] = kwargs["visual_pos_masks"][chosen]
        output = whole(
            inputs_embeds=inputs_embeds[chosen],
            attention_mask=attention_mask[chosen],
            position_ids=position_ids[:, chosen],
            **kwargs,
        )
        laid_out = torch.tensor(places)
        output.last_hidden_state = output.last_hidden_state[laid_out]
        cache.batch_select_indices(laid_out)
        return output

    language.forward = forward
    try:
        yield
    finally:
        del language.forward


def _content(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()
