"""Connected components by number; cc3d is loaded when the first mask is labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def label_components(mask: np.ndarray) -> np.ndarray:
    """The number of each pixel's component in a mask `(H, W)` or `(N, H, W)`: from 1, by their first pixels; 0 outside.

    Components are connected by faces, in a volume across its slices.
    """
    import cc3d
    import numpy as np

    labels: np.ndarray = cc3d.connected_components(
        np.require(mask, bool, ["C", "W"]), connectivity=6 if mask.ndim == 3 else 4
    )
    return labels
