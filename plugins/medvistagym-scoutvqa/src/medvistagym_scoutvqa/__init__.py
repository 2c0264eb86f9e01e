"""ScoutVQA: visual question answering on real DICOM slices, with truth by construction. For research only.

The two tasks; uses the core and the tools of medvistagym-dicom. Importing it loads neither NumPy nor a reader: slices are read
when the first case is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_core import hookimpl
from medvistagym_scoutvqa._task import CHAIN, SCOUTVQA, ScoutVQA

if TYPE_CHECKING:
    from medvistagym_core.environment import Task

__all__ = ["CHAIN", "SCOUTVQA", "ScoutVQA", "medvistagym_tasks"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tasks() -> list[Task]:
    """The two tasks of this plugin."""
    return [SCOUTVQA, CHAIN]
