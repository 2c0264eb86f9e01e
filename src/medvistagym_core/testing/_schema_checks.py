"""Checks of what a tool says of itself: nothing here runs the tool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import system_prompt
from medvistagym_core.testing._finding import PASS, Finding, several
from medvistagym_core.testing._strategies import invalid
from medvistagym_core.tools import (
    DIALECTS,
    Tool,
    Toolbox,
    ToolError,
    alternatives,
    inline_references,
    normalize_schema,
    render_tool_schema,
)

_SENTENCE: Final = 500
_EMPTY_WORDS: Final = re.compile(r"^(todo|tbd|fixme|xxx|\.+|-+|description|argument|the argument)\.?$", re.IGNORECASE)
_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ge": ("minimum",), "gt": ("exclusiveMinimum",), "le": ("maximum",), "lt": ("exclusiveMaximum",),
    "multiple_of": ("multipleOf",), "min_length": ("minLength", "minItems", "minProperties"),
    "max_length": ("maxLength", "maxItems", "maxProperties"), "pattern": ("pattern",),
}  # fmt: skip


def schema_valid(tool: Tool) -> Finding:
    """The metaschema of draft 2020-12 accepts the parameters."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(tool.spec.parameters)
    except jsonschema.SchemaError as error:
        location = ".".join(str(part) for part in error.absolute_path) or "parameters"
        return Finding("FAIL", f"{location}: {error.message}")
    return PASS


def arguments_described(tool: Tool) -> Finding:
    """Tool and arguments have descriptions that say something."""
    properties: Mapping[str, Any] = tool.spec.parameters.get("properties", {})
    descriptions = {"the tool itself": tool.spec.description}
    descriptions |= {name: str(schema.get("description", "")) for name, schema in properties.items()}
    faults = [
        f"{name} is described by {text!r}" for name, text in descriptions.items() if not _says_something(name, text)
    ]
    return several(faults)


def _says_something(name: str, text: str) -> bool:
    plain = re.sub(r"[\W_]+", " ", text).strip().lower()
    return len(plain) > 1 and not _EMPTY_WORDS.match(text.strip()) and plain != name.replace("_", " ").lower()


def constraints_kept(tool: Tool) -> Finding:
    """Each bound, length and pattern of the arguments model is in the schema."""
    faults = []
    properties = inline_references(tool.spec.parameters).get("properties", {})
    for name, field in tool.arguments.model_fields.items():
        schema = properties.get(name, {})
        for mark in field.metadata:
            for attribute, keywords in _KEYWORDS.items():
                bound = getattr(mark, attribute, None)
                if bound is not None and not any(_states(schema, key, bound) for key in keywords):
                    faults.append(
                        f"{name} must have {attribute} {bound}, and its schema has no {' or '.join(keywords)} {bound}"
                    )
    return several(faults)


def _states(schema: Any, key: str, bound: Any) -> bool:
    return any(option.get(key) == bound for option in alternatives(schema))


def schema_same(tool: Tool) -> Finding:
    """Every consumer sees the parameters as they are."""
    want = json.loads(json.dumps(tool.spec.parameters))
    faults = [f"{who} shows another schema" for who, seen in _seen(tool) if seen != want]
    return several(faults, max_faults=4)


def _seen(tool: Tool) -> Iterator[tuple[str, Any]]:
    spec = tool.spec
    if tool.arguments.model_config.get("extra") == "forbid":  # else a JSON Schema is its own validator
        yield "the validator", json.loads(json.dumps(normalize_schema(tool.arguments.model_json_schema())))
    for dialect in DIALECTS:
        yield f"the dialect {dialect}", _parameters(render_tool_schema(spec, dialect))
    lines = [line for line in system_prompt([spec]).splitlines() if line.startswith("{")]
    yield "the system prompt", _parameters(lines[-1]) if lines else None
    toolbox = Toolbox({tool.name: tool})
    for name, trainer in Registry.discover().trainers.items():
        if hasattr(trainer, "tool_schemas"):
            (schema,) = trainer.tool_schemas(toolbox)
            yield f"the trainer {name}", _parameters(schema)


def _parameters(rendered: Any) -> Any:
    body = json.loads(rendered) if isinstance(rendered, str) else json.loads(json.dumps(rendered))
    body = body.get("function", body)
    return next((body[key] for key in ("parameters", "input_schema", "inputSchema") if key in body), None)


def invalid_arguments(tool: Tool, valid: Mapping[str, Any]) -> Finding:
    """Each fault gives a `ToolError` of one line that names the argument and says what is accepted."""
    faults = []
    for arguments, culprit, accepted in invalid(tool.spec, valid):
        call_text = f"{culprit}={json.dumps(arguments[culprit])}" if culprit in arguments else f"without {culprit}"
        try:
            tool.validate(arguments)
        except ToolError as error:
            message = error.message
            if error.code != "bad_arguments" or "\n" in message or len(message) > _SENTENCE:
                faults.append(f"{call_text} gives no short bad_arguments sentence but {error.code}: {message[:200]!r}")
            elif culprit not in message:
                faults.append(f"the error for {call_text} does not name {culprit}: {message!r}")
            elif accepted and not any(text in message for text in accepted):
                faults.append(f"the error for {call_text} does not say what is accepted: {message!r}")
        except Exception as error:  # noqa: BLE001 that it is another exception is the finding
            faults.append(f"{call_text} raises {type(error).__name__} instead of ValueError")
        else:
            faults.append(f"{call_text} is taken, though the schema does not allow it")
    return several(faults)
