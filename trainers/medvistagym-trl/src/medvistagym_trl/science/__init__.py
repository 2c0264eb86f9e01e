"""A study: one recipe trained with several seeds and variations, its table and its figures (`make science`).

May use every other room; `python -m medvistagym_trl.science` is its command.
"""

from medvistagym_trl.science._figures import plot_policies, plot_tool_use, plot_trajectory_counts
from medvistagym_trl.science._report import CurvePoint, Study, format_study, read_study, write_study
from medvistagym_trl.science._statistics import (
    Difference,
    Episode,
    Share,
    collect,
    compare_paired,
    summarize_seeds,
)
from medvistagym_trl.science._study import StudyError, begin_study, run_seed, run_seeds

__all__ = [
    "CurvePoint",
    "Difference",
    "Episode",
    "Share",
    "Study",
    "StudyError",
    "begin_study",
    "collect",
    "compare_paired",
    "format_study",
    "plot_policies",
    "plot_tool_use",
    "plot_trajectory_counts",
    "read_study",
    "run_seed",
    "run_seeds",
    "summarize_seeds",
    "write_study",
]
