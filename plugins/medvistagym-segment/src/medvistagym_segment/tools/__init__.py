"""The tools, one a file: `segment` finds a structure, `crop_to_mask` cuts to what a mask holds, `segment_crop` does both.

They may use the catalog of segmenters and the core. They search and cut the full resolution of an image (`Image.detail`).
"""

from medvistagym_segment.tools._crop_to_mask import crop_to_mask
from medvistagym_segment.tools._segment import Segment
from medvistagym_segment.tools._segment_crop import SegmentCrop
from medvistagym_segment.tools._with_segmenters import with_segmenters

__all__ = ["Segment", "SegmentCrop", "crop_to_mask", "with_segmenters"]
