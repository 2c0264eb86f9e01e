"""The files of pages: markup, style and scripts in the `static/` folder of the page's package, and those that pages share."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

SHARED_ASSETS: Final = ("base.css", "dom.js", "icon.svg")
_SHARED_PACKAGE: Final = "medvistagym_core.pages"


@functools.cache
def read_asset(package: str, name: str) -> str:
    """The text of a file of a page.

    Args:
        package: Dotted name of the page's package, whose `static/` folder holds the file.
        name: Name of the file; one of `SHARED_ASSETS` is read from this room whatever the package.
    """
    owner = _SHARED_PACKAGE if name in SHARED_ASSETS else package
    return resources.files(owner).joinpath("static", name).read_text("utf-8")


def page_document(template: str, head: str, body: str, policy: str | None = None) -> str:
    """A page from its template.

    Args:
        template: Markup with the comments `<!-- policy -->`, `<!-- head -->` and `<!-- body -->`.
        head: Markup that brings the style.
        body: Markup that brings scripts and data.
        policy: Content security policy as a meta element, for a page that no server sends one with.
    """
    meta = "" if policy is None else f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    page = template
    for mark, text in (("<!-- policy -->\n", meta), ("<!-- head -->", head), ("<!-- body -->", body)):
        before, _, after = page.partition(mark)
        page = before + text + after
    return page
