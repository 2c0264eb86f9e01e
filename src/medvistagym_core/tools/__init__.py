"""What a tool is: spec, call, result, error; the toolbox chosen from tools, and its lock.

May use `imaging`.
"""

import sys
import types
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _CallableRoom(types.ModuleType):
    """This room, which is also the function `medvistagym_core.tools(...)`.

    A submodule takes its name in the package, so a function of the same name can only be the module itself
    ("Customizing module attribute access" in Python's data model).
    """

    def __call__(self, *select: Any, **options: Any) -> Any:
        """As `medvistagym_core.toolbox`: the installed tools as functions."""
        import medvistagym_core

        return medvistagym_core.toolbox(*select, **options)


sys.modules[__name__].__class__ = _CallableRoom
