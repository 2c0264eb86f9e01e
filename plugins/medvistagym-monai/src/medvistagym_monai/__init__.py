"""Preprocessing and masks for MedVistaGym: foreground, spacing, intensity, parts, holes, and the labels of MONAI bundles.

For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from medvistagym_core import Tool, hookimpl
from medvistagym_monai.cropping import crop_foreground
from medvistagym_monai.intensity import scale_intensity
from medvistagym_monai.parts import components, fill_holes
from medvistagym_monai.resampling import resample
from medvistagym_segment.segmenters import bundles

__all__ = ["components", "crop_foreground", "fill_holes", "resample", "scale_intensity"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools; `segment_bundle` only where the environment names a bundle, since it could do nothing without."""
    tools = [crop_foreground, resample, scale_intensity, components, fill_holes]
    if bundles():
        from medvistagym_monai.labels import SegmentBundle

        tools.append(cast(Tool, SegmentBundle))
    return tools
