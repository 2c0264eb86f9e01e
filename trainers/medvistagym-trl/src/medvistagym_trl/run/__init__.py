"""A training run: its folder, its stages in order, what is logged and drawn, and the process of the baselines.

May use every other room; `python -m medvistagym_trl.run` is the second process.
"""

from medvistagym_trl.run._baseline_process import BaselineProcess
from medvistagym_trl.run._callbacks import GrpoLogCallback, RunLogCallback
from medvistagym_trl.run._folder import RunFolder, RunFolderError, read_metrics, write_text_atomically
from medvistagym_trl.run._launch_plan import read_rates
from medvistagym_trl.run._load import load_trained_policy
from medvistagym_trl.run._memory import MemoryEstimate, estimate_memory
from medvistagym_trl.run._metrics import DriftDetector, episode_metrics
from medvistagym_trl.run._pipeline import TrainingPipeline
from medvistagym_trl.run._plan import plan_run
from medvistagym_trl.run._plot import plot_results
from medvistagym_trl.run._preflight import check_run
from medvistagym_trl.run._trajectory_log import TrainingTrajectoryLog
from medvistagym_trl.run._validation import ValidationCallback, answer_validation, validation_notes

__all__ = [
    "BaselineProcess",
    "DriftDetector",
    "GrpoLogCallback",
    "MemoryEstimate",
    "RunFolder",
    "RunFolderError",
    "RunLogCallback",
    "TrainingPipeline",
    "TrainingTrajectoryLog",
    "ValidationCallback",
    "answer_validation",
    "check_run",
    "episode_metrics",
    "estimate_memory",
    "load_trained_policy",
    "plan_run",
    "plot_results",
    "read_metrics",
    "read_rates",
    "validation_notes",
    "write_text_atomically",
]
