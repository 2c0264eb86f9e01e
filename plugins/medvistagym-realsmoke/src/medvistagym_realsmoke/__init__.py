"""Small benchmarks on real pictures: CT, MR, films, ultrasound, and scans with masks. For research only.

Two tasks; uses the core and the tools and readers of medvistagym-dicom, -files, -ocr and -segment. Importing it reads nothing:
pictures are read when the first question is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_core import hookimpl
from medvistagym_realsmoke._task import REALSMOKE, REALSMOKE_MASKS, RealSmoke

if TYPE_CHECKING:
    from medvistagym_core.environment import Task

__all__ = ["REALSMOKE", "REALSMOKE_MASKS", "RealSmoke", "medvistagym_tasks"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tasks() -> list[Task]:
    """The two tasks of this plugin."""
    return [REALSMOKE, REALSMOKE_MASKS]
