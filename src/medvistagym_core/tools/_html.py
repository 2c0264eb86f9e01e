"""Results and toolboxes as a notebook shows them."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import figure_html, text_html

if TYPE_CHECKING:
    from medvistagym_core.tools._errors import ToolError
    from medvistagym_core.tools._result import ToolResult
    from medvistagym_core.tools._spec import ToolSpec

_MAX_IMAGES: Final = 12
_CELL: Final = "text-align:left;vertical-align:top"


def error_html(error: ToolError) -> str:
    """An error as a policy reads it."""
    style = "margin:0 0 8px;padding:6px 10px;border-left:4px solid #c62828;font:13px/1.5 system-ui,sans-serif"
    return f'<p style="{style}"><code>{html.escape(error.code)}</code> {html.escape(error.message)}</p>'


def result_html(result: ToolResult) -> str:
    """What a call gave back: its error, or its text and images."""
    if result.error is not None:
        return error_html(result.error)
    parts = [text_html(result.text)] if result.text else []
    several = len(result.images) > 1
    parts += [figure_html(image, str(k) if several else "") for k, image in enumerate(result.images[:_MAX_IMAGES])]
    if len(result.images) > _MAX_IMAGES:
        parts.append(text_html(f"... and {len(result.images) - _MAX_IMAGES} more images"))
    if result.data is not None and not result.text:
        parts.append(text_html(json.dumps(result.data)))
    return "".join(parts) or text_html("nothing")


def toolbox_html(specs: Sequence[ToolSpec]) -> str:
    """Tools as a table: what each does, takes and gives."""
    rows = []
    for spec in specs:
        required = spec.parameters.get("required", ())
        taken = ", ".join(name if name in required else f"[{name}]" for name in spec.parameters["properties"])
        summary = spec.description.partition(". ")[0].rstrip(".")
        cells = (f"<code>{html.escape(spec.name)}</code>", *map(html.escape, (summary, taken, ", ".join(spec.returns))))
        rows.append("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>")
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("tool", "what it does", "takes", "gives"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
