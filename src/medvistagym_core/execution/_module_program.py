"""How a module of ours is run as a process of its own.

As `python -m MODULE ...`, once the metadata of the environment can be read whatever is broken in it: pydantic and others read
the entry points of every installed distribution, and would end at the first that is malformed.
"""

from __future__ import annotations

from typing import Final

_CODE: Final = (
    "import runpy, sys; from medvistagym_core.plugins import tolerate_broken_metadata; tolerate_broken_metadata(); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_program(python: str, module: str, *arguments: str) -> list[str]:
    """The command line that runs a module.

    Args:
        python: The interpreter.
        module: Its name.
        arguments: What it finds in `sys.argv[1:]`.
    """
    return [python, "-P", "-c", _CODE, module, *arguments]
