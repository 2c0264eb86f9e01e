"""SFT and GRPO on TRL for MedVistaGym toolboxes (research use only, not for clinical use)."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core import Trainer, hookimpl
from medvistagym_trl._trainer import TrlTrainer

__all__ = ["TrlTrainer", "medvistagym_trainers"]


@hookimpl
def medvistagym_trainers() -> Sequence[Trainer]:
    """The trainer of this package."""
    return [TrlTrainer()]
