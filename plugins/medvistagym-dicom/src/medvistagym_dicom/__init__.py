"""DICOM for MedVistaGym: a reader that keeps identifiers out, and tools to look at images and to measure in them.

For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core import Image, Tool, hookimpl
from medvistagym_dicom.errors import DicomError
from medvistagym_dicom.lengths import area, distance
from medvistagym_dicom.percentile import auto_window
from medvistagym_dicom.presets import PRESETS
from medvistagym_dicom.reformat import project, reformat
from medvistagym_dicom.technique import acquisition
from medvistagym_dicom.tools import measure, window, zoom

if TYPE_CHECKING:
    from medvistagym_dicom.reader import read, read_one

__all__ = [
    "PRESETS", "DicomError", "acquisition", "area", "auto_window", "distance", "measure", "project", "read", "read_one",
    "reformat", "window", "zoom",
]  # fmt: skip
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools."""
    return [window, auto_window, zoom, measure, distance, area, reformat, project, acquisition]


@hookimpl
def medvistagym_readers() -> Sequence[Callable[[Path], Sequence[Image] | None]]:
    """The reader of DICOM files and folders."""
    return [read_if_dicom]


def read_if_dicom(path: str | Path) -> Sequence[Image] | None:
    """The images of a DICOM file or folder; None for a file that is not DICOM."""
    from medvistagym_dicom.reader import read_if_dicom as reader

    return reader(path)


def __getattr__(name: str) -> Any:
    # The reader is a third of what an import of this package costs, and listing tools needs none of it.
    if name in ("read", "read_one"):
        from medvistagym_dicom import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
