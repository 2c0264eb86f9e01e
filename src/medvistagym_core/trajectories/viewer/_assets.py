"""The page's own files: its markup, its style, and its scripts in the order they are run."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

STYLE: Final = "page.css"
ICON: Final = "icon.svg"
SCRIPTS: Final = ("dom.js", "charts.js", "data.js", "list.js", "episode.js", "run.js", "main.js")


@functools.cache
def asset(name: str) -> str:
    """The text of a file in `static/`."""
    return resources.files("medvistagym_core.trajectories.viewer").joinpath("static", name).read_text("utf-8")


def document(head: str, body: str, policy: str | None) -> str:
    """The page.

    Args:
        head: Markup that brings the style.
        body: Markup that brings scripts and data.
        policy: Content security policy as a meta element, for a page that no server sends one with.
    """
    meta = "" if policy is None else f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    page = asset("page.html")
    for mark, text in (("<!-- policy -->\n", meta), ("<!-- head -->", head), ("<!-- body -->", body)):
        before, _, after = page.partition(mark)
        page = before + text + after
    return page
