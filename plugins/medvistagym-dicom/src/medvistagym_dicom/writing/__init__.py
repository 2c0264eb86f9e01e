"""Images written as DICOM secondary captures, for research and never for clinical use.

May use pydicom and the core's imaging.
"""

from medvistagym_dicom.writing._secondary_capture import STATEMENT, write_secondary_capture

__all__ = ["STATEMENT", "write_secondary_capture"]
