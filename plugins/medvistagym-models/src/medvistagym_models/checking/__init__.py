"""Trying a model: its tool on a picture of its kind, beside the model's own pipeline, with memory, time and a drawing.

May use the tools of entries, the tasks and the networks. `medvistagym models check NAME` prints what it finds.
"""

from medvistagym_models.checking._check import CheckReport, Timing, check_model
from medvistagym_models.checking._comparison import Comparison
from medvistagym_models.checking._elsewhere import check_elsewhere
from medvistagym_models.checking._phantom import phantom

__all__ = ["CheckReport", "Comparison", "Timing", "check_elsewhere", "check_model", "phantom"]
