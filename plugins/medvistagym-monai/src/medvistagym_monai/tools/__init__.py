"""The tools, one a file: foreground, spacing and intensity of images; parts and holes of masks; the labels of bundles.

They may use the core and `medvistagym_segment`; `segment_bundle` is imported only where there is a bundle.
"""

from __future__ import annotations

from typing import cast

from medvistagym_core.tools import Tool
from medvistagym_monai.tools._components import components
from medvistagym_monai.tools._crop_foreground import crop_foreground
from medvistagym_monai.tools._fill_holes import fill_holes
from medvistagym_monai.tools._resample import resample
from medvistagym_monai.tools._scale_intensity import scale_intensity

__all__ = ["components", "crop_foreground", "fill_holes", "load_segment_bundle", "resample", "scale_intensity"]


def load_segment_bundle() -> Tool:
    """`segment_bundle`, whose choices are the bundles that the environment names when it is first loaded."""
    from medvistagym_monai.tools._segment_bundle import SegmentBundle

    return cast(Tool, SegmentBundle)  # to a type checker a decorated class is still the class
