"""The system prompt that a toolbox gives a policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from medvistagym_core.tools import escape_control_marks, render_tool_schema

if TYPE_CHECKING:
    from medvistagym_core.tools import ToolSpec


def system_prompt(
    specs: Iterable[ToolSpec], *, rules: str = "", abstention: str | None = None, tools: bool = True
) -> str:
    """The system prompt for a toolbox.

    Args:
        specs: Tools in the order in which they are shown.
        rules: How to write thoughts, calls and answers (`TextProtocol.instructions`).
        abstention: The answer that says "I cannot tell", if the task has one.
        tools: Whether the tools are written into the text; False where the model's chat template shows them itself.
    """
    specs = list(specs)
    lines = ["You answer questions about medical images, for research only."]
    if specs:
        lines.append("Images are numbered from 0; a tool's new images get the next numbers.")
        lines.append("Boxes are [x0, y0, x1, y1] on a grid of 0 to 1000 over the image named.")
        lines.append("Call a tool when the images shown do not settle the question, and answer as soon as they do.")
    if rules:
        lines.append(rules)
    if abstention:
        lines.append(
            f"Answer {escape_control_marks(abstention)} when you cannot tell: it is better than a wrong answer."
        )
    if specs and tools:
        lines += ["Tools:", *(str(render_tool_schema(spec, "text")) for spec in specs)]
    return "\n".join(lines)
