"""Named windows for computed tomography.

Centers and widths in Hounsfield units, as radiologists commonly set them. Source: A. Murphy, M. Wilczek, J. Feger et al.,
"Windowing (CT)", Radiopaedia.org, doi:10.53347/rID-52108. Where it gives ranges (subdural, soft tissues of the head) their
middle or a common value was taken, where it gives two windows (stroke, temporal bones) the usual one.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Preset = Literal[
    "abdomen",
    "bone",
    "brain",
    "liver",
    "lung",
    "mediastinum",
    "soft_tissue",
    "spine",
    "stroke",
    "subdural",
    "temporal_bone",
]
# Name -> (center, width) in HU.
PRESETS: Final[dict[Preset, tuple[float, float]]] = {
    "abdomen": (50, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft_tissue": (40, 400),
    "spine": (50, 250),
    "stroke": (40, 40),
    "subdural": (75, 215),
    "temporal_bone": (600, 2800),
}
assert set(PRESETS) == set(get_args(Preset))
