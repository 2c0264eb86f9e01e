"""The executor whose results are wrong now and then."""

from __future__ import annotations

from medvistagym_core.execution import Executor, LocalExecutor, ProcessExecutor
from medvistagym_core.tools import Toolbox
from medvistagym_models.perturbation._perturb import Perturber
from medvistagym_models.perturbation._settings import parse_settings


def make_perturbing_executor(toolbox: Toolbox, argument: str = "") -> Executor:
    """An executor for a toolbox, as `--executor perturb:ARGUMENT` has it.

    Args:
        toolbox: The tools that may be called.
        argument: As for `parse_settings`.

    Raises:
        ValueError: The argument says no settings, or names no tool of the toolbox.
    """
    settings = parse_settings(argument)
    names = [tool.name for tool in toolbox.values()]
    if settings.tools is not None and names and not any(map(settings.names, names)):  # a policy may have no tools
        raise ValueError(f"perturb: tools={settings.tools} names none of {', '.join(names)}")
    make = ProcessExecutor if settings.executor == "process" else LocalExecutor
    return make(toolbox, result_filter=Perturber(settings))
