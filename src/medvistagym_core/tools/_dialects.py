"""One schema, every dialect: tool specs as each consumer expects them, and the system prompt.

All of them carry `ToolSpec.parameters` unchanged, the very schema that the validator's model gives; a test renders them all and
proves them equal.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from medvistagym_core.tools._spec import ToolSpec

SchemaDialect = Literal["huggingface", "openai", "anthropic", "mcp", "text"]
DIALECTS: Final[tuple[str, ...]] = get_args(SchemaDialect)


def render_tool_schema(spec: ToolSpec, dialect: SchemaDialect) -> dict[str, Any] | str:
    """A spec in a dialect: a dict for programs, or text for models whose chat template knows no tools.

    Raises:
        ValueError: The dialect is not one of `DIALECTS`.
    """
    if dialect == "huggingface":
        return {"type": "function", "function": _named(spec, "parameters")}
    if dialect == "openai":
        function = _named(spec, "parameters")
        if _openai_strict_compatible(spec.parameters):
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


def _named(spec: ToolSpec, key: str) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, key: spec.parameters}


def schema_hash(spec: ToolSpec) -> str:
    """SHA-256 of what a policy sees of a tool (name, description, parameters), as hexadecimal text."""
    seen = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return hashlib.sha256(json.dumps(seen, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _openai_strict_compatible(node: Any) -> bool:
    """Whether OpenAI's strict mode can hold the schema as it is: every property required, nothing extra allowed."""
    if isinstance(node, list):
        return all(_openai_strict_compatible(part) for part in node)
    if not isinstance(node, dict):
        return True
    if "properties" in node:
        required = set(node.get("required", []))
        if node.get("additionalProperties") is not False or required != set(node["properties"]):
            return False
        return all(_openai_strict_compatible(part) for part in node["properties"].values())
    return "default" not in node and all(_openai_strict_compatible(part) for part in node.values())
