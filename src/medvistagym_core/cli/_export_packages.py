"""The texts of exported environment packages, by path: a task as other projects' training loops take environments."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Final

from medvistagym_core.cli._exported_task import ExportedTask
from medvistagym_core.cli._openenv_package import openenv_package
from medvistagym_core.cli._trl_package import trl_package
from medvistagym_core.cli._verifiers_package import verifiers_package

PACKAGES: Final[Mapping[str, Callable[[ExportedTask], dict[str, str]]]] = {
    "openenv": openenv_package,
    "trl": trl_package,
    "verifiers": verifiers_package,
}
"""What makes the package, by the name of the project that it is for."""


def module_name(task: str) -> str:
    """A name for the Python package of a task."""
    name = re.sub(r"\W+", "_", task.rsplit("/", 1)[-1].partition(".")[0]).strip("_").lower()
    return f"{name if name[:1].isalpha() and not keyword.iskeyword(name) else f'task_{name}'}_env"
