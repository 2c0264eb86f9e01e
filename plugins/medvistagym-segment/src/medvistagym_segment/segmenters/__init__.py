"""The segmenters that come with this plugin: classical methods, and networks that are loaded from local files.

May use `medvistagym_segment._segmenter` and the core. Each brings in its libraries when it is loaded, not before.
"""

from __future__ import annotations

from typing import Final

from medvistagym_core.imaging import Segmenter
from medvistagym_segment.segmenters._bundle_config import BundleConfig
from medvistagym_segment.segmenters._deepbet import DeepBetSegmenter
from medvistagym_segment.segmenters._labels import label_components
from medvistagym_segment.segmenters._monai_bundle import MonaiBundleSegmenter, bundle_input, is_deflated
from medvistagym_segment.segmenters._sam import SamSegmenter

__all__ = [
    "CLASSICAL_METHODS",
    "BundleConfig",
    "DeepBetSegmenter",
    "MonaiBundleSegmenter",
    "SamSegmenter",
    "bundle_input",
    "is_deflated",
    "label_components",
    "load_classical",
]

CLASSICAL_METHODS: Final = ("body", "bone", "lung", "otsu", "region")


def load_classical(name: str) -> Segmenter:
    """One of `CLASSICAL_METHODS`."""
    from medvistagym_segment.segmenters._classical import SEGMENTERS

    return SEGMENTERS[name]
