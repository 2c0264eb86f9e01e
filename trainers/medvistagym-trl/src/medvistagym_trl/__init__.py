"""SFT and GRPO on TRL for MedVistaGym toolboxes (research use only, not for clinical use)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medvistagym_core import hookimpl
from medvistagym_trl._trainer import TrlTrainer

if TYPE_CHECKING:  # it would load pydantic, before a command can see to broken metadata of other distributions
    from medvistagym_core import Trainer

__all__ = ["TrlTrainer", "medvistagym_trainers"]


@hookimpl
def medvistagym_trainers() -> Sequence[Trainer]:
    """The trainer of this package."""
    return [TrlTrainer()]
