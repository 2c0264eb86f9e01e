"""The tools of this plugin, one a file: display windows, zoom, measurements, planes and projections, acquisition.

May use: the core's images and tools, and `reformatting`. Knows nothing of DICOM files.
"""

from __future__ import annotations

from medvistagym_dicom.tools._acquisition import acquisition
from medvistagym_dicom.tools._area import area
from medvistagym_dicom.tools._auto_window import auto_window
from medvistagym_dicom.tools._distance import distance
from medvistagym_dicom.tools._measure import measure
from medvistagym_dicom.tools._presets import PRESETS
from medvistagym_dicom.tools._project import project
from medvistagym_dicom.tools._reformat import reformat
from medvistagym_dicom.tools._upsample import upsample
from medvistagym_dicom.tools._window import window
from medvistagym_dicom.tools._zoom import zoom

__all__ = [
    "PRESETS", "acquisition", "area", "auto_window", "distance", "measure", "project", "reformat", "upsample",
    "window", "zoom",
]  # fmt: skip
