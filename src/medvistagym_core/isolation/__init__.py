"""Running tools in processes of their own, where none can take this one with it.

`IsolatedExecutor` does what `LocalExecutor` does, but a tool that ends its process (`os._exit`, a segmentation fault,
the system's killer when memory runs out) costs the call it was at one error, and a call that exceeds its limit is
really stopped. `process` is a worker process as its parent sees it, `child` what runs in it, and `wire` what goes
between them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvistagym_core.isolation.executor import IsolatedExecutor
    from medvistagym_core.isolation.origin import IsolationError

__all__ = ["IsolatedExecutor", "IsolationError"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # not at once: a worker process needs neither
        module = "executor" if name == "IsolatedExecutor" else "origin"
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
