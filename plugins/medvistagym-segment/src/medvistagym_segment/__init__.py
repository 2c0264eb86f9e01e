"""Segmentation-guided cropping for MedVistaGym: `segment`, `crop_to_mask`, and both in one, `segment_crop`; and what goes
with masks: `overlay`, `measure_mask`, `best_slice`.

The tools, what a segmenter is, the segmenters that the environment names, and the components of masks, for other plugins.
Uses the core alone.
For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from medvistagym_core import Tool, hookimpl
from medvistagym_core.imaging import Segmenter
from medvistagym_segment._catalog import (
    SEGMENTERS_ENV_VAR,
    configured_bundles,
    load_bundle,
    load_segmenter,
    segmenter_names,
)
from medvistagym_segment.segmenters import label_components
from medvistagym_segment.tools import (
    Segment,
    SegmentCrop,
    best_slice,
    crop_to_mask,
    draw_overlay,
    measure_mask,
    overlay,
    with_segmenters,
)

__all__ = [
    "SEGMENTERS_ENV_VAR",
    "Segment",
    "SegmentCrop",
    "best_slice",
    "configured_bundles",
    "crop_to_mask",
    "draw_overlay",
    "label_components",
    "load_bundle",
    "load_segmenter",
    "measure_mask",
    "overlay",
    "segmenter_names",
]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools."""
    return cast(list[Tool], [Segment, crop_to_mask, SegmentCrop, overlay, measure_mask, best_slice])


@hookimpl
def medvistagym_segmentation_tools(segmenters: Mapping[str, Segmenter]) -> Sequence[Tool]:
    """The tools that segment, with the segmenters of other plugins among their methods."""
    return with_segmenters(segmenters)
