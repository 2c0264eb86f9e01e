"""DICOM for MedVistaGym: a reader that keeps identifiers out, and tools to look at images and to measure in them.

For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core import Image, Tool, hookimpl
from medvistagym_dicom.tools import (
    PRESETS,
    acquisition,
    area,
    auto_window,
    distance,
    measure,
    project,
    reformat,
    window,
    zoom,
)

if TYPE_CHECKING:
    from medvistagym_dicom.reading import DicomError, Study, read, read_one, read_study

__all__ = [
    "PRESETS", "DicomError", "Study", "acquisition", "area", "auto_window", "distance", "measure", "project", "read",
    "read_one", "read_study", "reformat", "window", "zoom",
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
    from medvistagym_dicom import reading

    return reading.read_if_dicom(path)


def __getattr__(name: str) -> Any:
    # Listing tools needs no reader, so the room is entered when one of its names is first asked for.
    if name in ("DicomError", "Study", "read", "read_one", "read_study"):
        from medvistagym_dicom import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
