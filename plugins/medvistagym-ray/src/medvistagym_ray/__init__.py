"""MedVistaGym on more than one machine: tools in Ray workers (`--executor ray[:ADDRESS]`), and episodes too (`--workers N`).

The hook alone; the rooms `cluster`, `workers` and `rollouts` import Ray when something is to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from medvistagym_core import hookimpl

if TYPE_CHECKING:
    from medvistagym_core.execution import Executor, ResultFilter
    from medvistagym_core.tools import Toolbox
    from medvistagym_ray.workers import RayExecutor

__all__ = ["make_executor"]
__version__ = "0.1.0"


def make_executor(toolbox: Toolbox, target: str = "", *, result_filter: ResultFilter | None = None) -> RayExecutor:
    """The executor that `--executor ray[:TARGET]` names.

    Args:
        toolbox: The tools that may be called.
        target: `[HOST:PORT][?pool=NAME&placement=FILE]`; see `medvistagym_ray.cluster.RayTarget`.
        result_filter: Makes the result that is handed on of what each call gave; None hands it on as it is.

    Raises:
        ValueError: It is none, Ray cannot be reached or started, or the tools cannot be placed.
    """
    from medvistagym_ray.workers import RayExecutor

    return RayExecutor(toolbox, target, result_filter=result_filter)


@hookimpl
def medvistagym_executors() -> Mapping[str, Callable[..., Executor]]:
    """The executor."""
    return {"ray": make_executor}
