"""Access of the command line to `medvistagym-ray`; where it is not installed, an error says how to install it."""

from __future__ import annotations

import importlib
from typing import Any, Final, Literal

from medvistagym_core.cli._errors import UsageError

__all__ = ["MISSING", "import_ray"]

MISSING: Final = (
    "this needs medvistagym-ray, which is not installed: pip install 'medvistagym-core[ray]', "
    "or from a clone: pip install ./plugins/medvistagym-ray"
)


def import_ray(room: Literal["cluster", "rollouts", "workers"]) -> Any:
    """A room of the package.

    Raises:
        UsageError: It is not installed, or not all of what it needs.
    """
    try:
        return importlib.import_module(f"medvistagym_ray.{room}")
    except ModuleNotFoundError as error:
        raise UsageError(MISSING) from error
