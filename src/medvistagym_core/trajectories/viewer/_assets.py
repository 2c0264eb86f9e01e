"""The page's own files: its markup, its style, and its scripts in the order they are run."""

from __future__ import annotations

from typing import Final

from medvistagym_core.pages import page_document, read_asset

STYLES: Final = ("base.css", "page.css")
ICON: Final = "icon.svg"
SCRIPTS: Final = ("dom.js", "charts.js", "data.js", "list.js", "episode.js", "run.js", "main.js")


def asset(name: str) -> str:
    """The text of a file of the page."""
    return read_asset("medvistagym_core.trajectories.viewer", name)


def document(head: str, body: str, policy: str | None) -> str:
    """The page.

    Args:
        head: Markup that brings the style.
        body: Markup that brings scripts and data.
        policy: Content security policy as a meta element, for a page that no server sends one with.
    """
    return page_document(asset("page.html"), head, body, policy)
