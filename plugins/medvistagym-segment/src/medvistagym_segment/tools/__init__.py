"""The tools, one a file: `segment`, `crop_to_mask` and both in one, and for masks and boxes whoever made them `overlay` (a
picture to look at), `measure_mask` and `best_slice`.

They may use the catalog of segmenters and the core. They search and cut the full resolution of an image (`Image.detail`).
"""

from medvistagym_segment.tools._best_slice import best_slice
from medvistagym_segment.tools._crop_to_mask import crop_to_mask
from medvistagym_segment.tools._measure_mask import longest_diameter, measure_mask
from medvistagym_segment.tools._overlay import draw_overlay, overlay
from medvistagym_segment.tools._segment import Segment
from medvistagym_segment.tools._segment_crop import SegmentCrop
from medvistagym_segment.tools._with_segmenters import with_segmenters

__all__ = [
    "Segment",
    "SegmentCrop",
    "best_slice",
    "crop_to_mask",
    "draw_overlay",
    "longest_diameter",
    "measure_mask",
    "overlay",
    "with_segmenters",
]
