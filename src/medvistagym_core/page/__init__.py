"""A page to look at episodes: `Run` reads them, `serve` shows them on loopback, `export` writes one self-contained file.

Everything in a trajectory that a policy or a tool wrote is untrusted. It travels as JSON and becomes text nodes and nothing
else; a content security policy forbids every script but the page's own and every connection but to where it came from.
"""

from __future__ import annotations

from medvistagym_core.page.export import Choice, choose, export
from medvistagym_core.page.restore import Restorer
from medvistagym_core.page.run import Run
from medvistagym_core.page.server import Page

__all__ = ["Choice", "Page", "Restorer", "Run", "choose", "export"]
