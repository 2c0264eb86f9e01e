"""The process in which plugins are loaded to try them (`_load_trial`)."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

from medvistagym_core.execution import answer_requests
from medvistagym_core.plugins._discovery import load
from medvistagym_core.plugins._hooks import GROUP
from medvistagym_core.plugins._plugin_report import PluginReport


def load_plugin(request: tuple[str, str, float]) -> bool:
    """Load a plugin and forget it; what it raises is reported by the process that needs it.

    Args:
        request: Its name, the module or object that it names, and the seconds that it may take.
    """
    name, value, limit_s = request
    report = PluginReport(name=name, distribution=name, version="0", state="loaded")
    load(EntryPoint(name, value, GROUP), report, limit_s=limit_s)
    return True


if __name__ == "__main__":
    answer_requests(load_plugin, sys.argv[1:])
