"""One of each: what a plugin may bring, a file for each, offered by one entry point.

A plugin need not bring them all: any one of these files is a whole plugin, and could be the entry point itself.
"""

from .action_format import medvistagym_action_formats
from .dialect import medvistagym_dialects
from .executor import medvistagym_executors
from .grader import medvistagym_graders
from .policy import medvistagym_policies
from .reader import medvistagym_readers
from .reward import medvistagym_rewards
from .segmenter import medvistagym_segmenters
from .task import medvistagym_tasks
from .tool import medvistagym_tools
from .trainer import medvistagym_trainers
from .writer import medvistagym_writers

__all__ = [
    "medvistagym_action_formats", "medvistagym_dialects", "medvistagym_executors", "medvistagym_graders",
    "medvistagym_policies", "medvistagym_readers", "medvistagym_rewards", "medvistagym_segmenters", "medvistagym_tasks",
    "medvistagym_tools", "medvistagym_trainers", "medvistagym_writers",
]  # fmt: skip
