"""One schema, every dialect: tool specs as each consumer expects them.

All of them carry `ToolSpec.parameters` unchanged, the very schema that the validator's model gives; a test renders them all and
proves them equal. Only control marks in an author's words are escaped, since most of a schema ends up in a prompt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from medvistagym_core.tools._errors import closest_match
from medvistagym_core.tools._json_schema import iterate_subschemas
from medvistagym_core.tools._safe_text import escape_control_marks, escape_json

if TYPE_CHECKING:
    from medvistagym_core.tools._spec import ToolSpec


class SchemaDialect(Protocol):
    """Renders specs as one kind of consumer expects them; a plugin offers some by the hook `medvistagym_dialects`."""

    def __call__(self, spec: ToolSpec) -> dict[str, Any] | str:
        """A spec: a dict for programs, or text for models whose chat template knows no tools."""
        ...


def _huggingface(spec: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": _name_schema(spec, "parameters")}


def _openai(spec: ToolSpec) -> dict[str, Any]:
    strict = {"strict": True} if _openai_strict_compatible(spec.parameters) else {}
    return {"type": "function", "function": {**_name_schema(spec, "parameters"), **strict}}


def _anthropic(spec: ToolSpec) -> dict[str, Any]:
    return _name_schema(spec, "input_schema")


def _mcp(spec: ToolSpec) -> dict[str, Any]:
    hints = {"readOnlyHint": True, "idempotentHint": spec.deterministic, "openWorldHint": False}
    return {**_name_schema(spec, "inputSchema"), "annotations": hints}


def _text(spec: ToolSpec) -> str:
    return json.dumps(_name_schema(spec, "parameters"), ensure_ascii=False)


DIALECTS: Final[Mapping[str, SchemaDialect]] = {
    "huggingface": _huggingface,
    "openai": _openai,
    "anthropic": _anthropic,
    "mcp": _mcp,
    "text": _text,
}
"""The dialects that come with the core, by name."""


def render_tool_schema(
    spec: ToolSpec, dialect: str, dialects: Mapping[str, SchemaDialect] = DIALECTS
) -> dict[str, Any] | str:
    """A spec in a dialect.

    Args:
        spec: The spec.
        dialect: Name of the dialect.
        dialects: The dialects there are.

    Raises:
        ValueError: There is no such dialect.
    """
    if dialect not in dialects:
        suggestion = closest_match(dialect, list(dialects))
        guess = f"did you mean {suggestion}?" if suggestion else f"choose one of {', '.join(dialects)}"
        raise ValueError(f"{dialect!r} is not a dialect; {guess}")
    return dialects[dialect](spec)


def _name_schema(spec: ToolSpec, key: str) -> dict[str, Any]:
    description = escape_control_marks(spec.description)
    return {"name": spec.name, "description": description, key: escape_json(spec.parameters)}


def schema_hash(spec: ToolSpec) -> str:
    """SHA-256 of what a policy sees of a tool (name, description, parameters), as hexadecimal text."""
    seen = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return hashlib.sha256(json.dumps(seen, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _openai_strict_compatible(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI's strict mode can hold the schema as it is: every property required, nothing extra allowed."""
    return all(
        "default" not in node
        and (
            "properties" not in node
            or (node.get("additionalProperties") is False and set(node.get("required", ())) == set(node["properties"]))
        )
        for node in iterate_subschemas(schema)
    )
