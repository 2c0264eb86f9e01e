"""Whether a forward pass draws dropout: then what equal inputs become is not the same."""

from __future__ import annotations

from typing import Final

from torch import nn

_LAYERS: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def draws_dropout(module: nn.Module) -> bool:
    """Whether a module or a part of it drops out what it is given, in the mode of training or evaluation that it is in.

    Counts layers of dropout, those in front of adapters among them, and the `attention_dropout` of transformers' attention.
    """
    return any(part.training and _drop_share(part) > 0 for part in module.modules())


def _drop_share(part: nn.Module) -> float:
    return float(part.p if isinstance(part, _LAYERS) else getattr(part, "attention_dropout", 0.0))
