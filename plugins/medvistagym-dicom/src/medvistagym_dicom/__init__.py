"""DICOM for MedVistaGym: a reader that keeps identifiers out, and the tools `window`, `zoom` and `measure`.

For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medvistagym_core import Image, Tool, hookimpl
from medvistagym_dicom.errors import DicomError
from medvistagym_dicom.presets import PRESETS
from medvistagym_dicom.reader import read, read_if_dicom, read_one
from medvistagym_dicom.tools import measure, window, zoom

__all__ = ["PRESETS", "DicomError", "measure", "read", "read_one", "window", "zoom"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools."""
    return [window, zoom, measure]


@hookimpl
def medvistagym_readers() -> Sequence[Callable[[Path], Sequence[Image] | None]]:
    """The reader of DICOM files and folders."""
    return [read_if_dicom]
