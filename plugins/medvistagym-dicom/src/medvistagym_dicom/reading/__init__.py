"""DICOM files as images: physical values, geometry, display, and no identifiers.

May use: the core's images. Knows nothing of tools. pydicom, GDCM and NumPy are imported when the first file is read.
"""

from __future__ import annotations

from medvistagym_dicom.reading._errors import REASONS, DicomError, Reason
from medvistagym_dicom.reading._reader import MAX_BYTES, read, read_if_dicom, read_one, read_study
from medvistagym_dicom.reading._study import MAX_FILES, Study
from medvistagym_dicom.reading._tag_allowlist import MODULES as ATTRIBUTES_BY_MODULE

__all__ = [
    "ATTRIBUTES_BY_MODULE", "MAX_BYTES", "MAX_FILES", "REASONS", "DicomError", "Reason", "Study", "read", "read_if_dicom",
    "read_one", "read_study",
]  # fmt: skip
