"""Vision models on this machine as tools, by one entry each in models.toml; and results made wrong on purpose, for training.

What reads and checks that file, makes its tools, and what an adapter of another package implements. Uses the core and
medvistagym-segment. For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from medvistagym_core import Tool, hookimpl
from medvistagym_models._entry import TASKS, InputSettings, ModelEntry, Task
from medvistagym_models._model_files import check_pickle, read_json, weight_files
from medvistagym_models._models_file import (
    MODELS_ENV_VAR,
    ModelError,
    configuration_folder,
    default_models_file,
    read_models,
)
from medvistagym_models._tool import complete_entry, load_tools, make_tool
from medvistagym_models.networks import Adapter, load_adapters, load_model

if TYPE_CHECKING:
    from medvistagym_core.execution import Executor

__all__ = [
    "MODELS_ENV_VAR",
    "TASKS",
    "Adapter",
    "InputSettings",
    "ModelEntry",
    "ModelError",
    "Task",
    "check_pickle",
    "complete_entry",
    "configuration_folder",
    "default_models_file",
    "load_adapters",
    "load_model",
    "load_tools",
    "make_tool",
    "read_json",
    "read_models",
    "weight_files",
]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool | Exception]:
    """The tools of the models that models.toml names, if there is one."""
    return list(load_tools())


@hookimpl
def medvistagym_executors() -> Mapping[str, Callable[..., Executor]]:
    """`perturb`, whose results are wrong now and then."""
    from medvistagym_models.perturbation import make_perturbing_executor

    return {"perturb": make_perturbing_executor}
