"""Access of the command line to `medvistagym-models`; where it is not installed, an error says how to install it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._errors import UsageError

if TYPE_CHECKING:
    from medvistagym_core.tools import Tool

__all__ = ["MISSING", "import_models", "model_tools"]

MISSING: Final = (
    "this needs medvistagym-models, which is not installed: pip install medvistagym-models, "
    "or from a clone: pip install ./plugins/medvistagym-models"
)


def import_models(room: str = "") -> Any:
    """The package that makes tools of models, or one of its rooms.

    Raises:
        UsageError: It is not installed, or not all of what it needs.
    """
    try:
        return importlib.import_module(f"medvistagym_models{room}")
    except ModuleNotFoundError as error:
        raise UsageError(MISSING if error.name == "medvistagym_models" else f"{MISSING} ({error})") from error


def model_tools(file: Path) -> list[Tool]:
    """The tools of the models that a file names.

    Raises:
        UsageError: The file cannot be read, or one of its models cannot be used.
    """
    models = import_models()
    try:
        tools = list(models.load_tools(file))
    except ValueError as error:
        raise UsageError(f"--models: {error}") from error
    faults = [str(one) for one in tools if isinstance(one, Exception)]
    if faults:
        raise UsageError(f"--models {file}: {'; '.join(faults)}")
    return tools
