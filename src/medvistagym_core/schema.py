"""One schema, every dialect: tool specs as each consumer expects them, and the system prompt.

All of them carry `ToolSpec.parameters` unchanged, the very schema that the validator's model gives; a test renders them all and
proves them equal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from medvistagym_core.spec import ToolSpec

Dialect = Literal["huggingface", "openai", "anthropic", "mcp", "text"]
DIALECTS: Final[tuple[str, ...]] = get_args(Dialect)


def render(spec: ToolSpec, dialect: Dialect) -> dict[str, Any] | str:
    """A spec in a dialect: a dict for programs, or text for models whose chat template knows no tools.

    Raises:
        ValueError: The dialect is not one of `DIALECTS`.
    """
    if dialect == "huggingface":
        return {"type": "function", "function": _named(spec, "parameters")}
    if dialect == "openai":
        function = _named(spec, "parameters")
        if _strict(spec.parameters):
            function["strict"] = True
        return {"type": "function", "function": function}
    if dialect == "anthropic":
        return _named(spec, "input_schema")
    if dialect == "mcp":
        hints = {"readOnlyHint": True, "idempotentHint": spec.deterministic, "openWorldHint": False}
        return {**_named(spec, "inputSchema"), "annotations": hints}
    if dialect == "text":
        return json.dumps(_named(spec, "parameters"), ensure_ascii=False)
    raise ValueError(f"{dialect!r} is not a dialect; choose one of {', '.join(DIALECTS)}")


def fingerprint(spec: ToolSpec) -> str:
    """SHA-256 of what a policy sees of a tool (name, description, parameters), as hexadecimal text."""
    seen = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return hashlib.sha256(json.dumps(seen, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def system_prompt(
    specs: Iterable[ToolSpec], *, rules: str = "", abstention: str | None = None, tools: bool = True
) -> str:
    """The system prompt for a toolbox.

    Args:
        specs: Tools in the order in which they are shown.
        rules: How to write thoughts, calls and answers (`Protocol.rules`).
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
        lines.append(f"Answer {abstention} when you cannot tell: it is better than a wrong answer.")
    if specs and tools:
        lines += ["Tools:", *(str(render(spec, "text")) for spec in specs)]
    return "\n".join(lines)


def _named(spec: ToolSpec, key: str) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, key: spec.parameters}


def _strict(node: Any) -> bool:
    """Whether OpenAI's strict mode can hold the schema as it is: every property required, nothing extra allowed."""
    if isinstance(node, list):
        return all(_strict(part) for part in node)
    if not isinstance(node, dict):
        return True
    if "properties" in node:
        required = set(node.get("required", []))
        if node.get("additionalProperties") is not False or required != set(node["properties"]):
            return False
        return all(_strict(part) for part in node["properties"].values())
    return "default" not in node and all(_strict(part) for part in node.values())
