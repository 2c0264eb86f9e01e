"""An executor that perturbs a share of the results."""

from __future__ import annotations

import inspect

from medvistagym_core import Registry
from medvistagym_core.execution import Executor
from medvistagym_core.tools import Toolbox
from medvistagym_models.perturbation._perturb import Perturber
from medvistagym_models.perturbation._settings import BUILT_IN, parse_settings


def make_perturbing_executor(toolbox: Toolbox, argument: str = "") -> Executor:
    """An executor for a toolbox, as `--executor perturb:ARGUMENT` has it.

    Args:
        toolbox: The tools that may be called.
        argument: As for `parse_settings`.

    Raises:
        ValueError: The argument says no settings, names no tool of the toolbox, or names an executor that there is not or that
            cannot change results.
    """
    settings = parse_settings(argument)
    names = [tool.name for tool in toolbox.values()]
    if settings.tools is not None and names and not any(map(settings.names, names)):  # a policy may have no tools
        raise ValueError(f"perturb: tools={settings.tools} names none of {', '.join(names)}")
    registry = Registry() if settings.executor in BUILT_IN else Registry.discover()
    make = registry.executor(settings.executor)
    if "result_filter" not in inspect.signature(make).parameters:
        raise ValueError(f"perturb: executor={settings.executor}: it cannot change results; local, process and ray can")
    return make(toolbox, result_filter=Perturber(settings))  # type: ignore[call-arg] # as its signature says
