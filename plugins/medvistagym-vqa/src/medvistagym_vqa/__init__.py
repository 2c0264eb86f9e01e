"""Medical VQA benchmarks as tasks, read from the files that users have. For research only.

Eight tasks; uses the core alone. Importing it reads nothing: files are looked for when the first question is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_core import hookimpl

if TYPE_CHECKING:
    from medvistagym_core.environment import Task

__all__ = ["medvistagym_tasks"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tasks() -> list[Task]:
    """The benchmarks."""
    from medvistagym_vqa._medxpertqa import MEDXPERTQA_MM
    from medvistagym_vqa._mmmu import MMMU_HEALTH
    from medvistagym_vqa._omnimedvqa import OMNIMEDVQA
    from medvistagym_vqa._path_vqa import PATH_VQA
    from medvistagym_vqa._pmc_vqa import PMC_VQA, PMC_VQA_V2
    from medvistagym_vqa._slake import SLAKE
    from medvistagym_vqa._vqa_rad import VQA_RAD

    return [VQA_RAD, SLAKE, PATH_VQA, PMC_VQA, PMC_VQA_V2, MMMU_HEALTH, OMNIMEDVQA, MEDXPERTQA_MM]
