"""Preprocessing and masks for MedVistaGym: foreground, spacing, intensity, parts, holes, and the labels of MONAI bundles.

The tools; uses the core, and `medvistagym_segment` for which bundles there are and the parts of masks.
For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core import Tool, hookimpl
from medvistagym_monai.tools import (
    components,
    crop_foreground,
    fill_holes,
    load_segment_bundle,
    resample,
    scale_intensity,
)
from medvistagym_segment import configured_bundles

__all__ = ["components", "crop_foreground", "fill_holes", "resample", "scale_intensity"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools; `segment_bundle` only where the environment names a bundle, since it could do nothing without."""
    tools = [crop_foreground, resample, scale_intensity, components, fill_holes]
    if configured_bundles():
        tools.append(load_segment_bundle())
    return tools
