"""Segmentation-guided cropping for MedVistaGym: `segment`, `crop_to_mask`, and both in one, `segment_crop`.

For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from medvistagym_core import Tool, hookimpl
from medvistagym_segment.segmenters import Segmenter, Where
from medvistagym_segment.tools import Segment, SegmentCrop, crop_to_mask

__all__ = ["Segment", "SegmentCrop", "Segmenter", "Where", "crop_to_mask"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools."""
    return cast(list[Tool], [Segment, crop_to_mask, SegmentCrop])
