"""From a server's tool to a spec: names as identifiers, a schema with image handles and without references."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.tools import (
    TOOL_NAME_PATTERN,
    SchemaTooLargeError,
    ToolSpec,
    closest_match,
    inline_references,
    references,
)
from medvistagym_mcp.client._config import ImageEncoding, McpServerConfig, McpServerError

if TYPE_CHECKING:
    from mcp import types

_MAX_BYTES: Final = 65536
_MAX_NAME: Final = 64
_OPEN: Final = ("additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref")
_APPLICATORS: Final = ("allOf", "anyOf", "oneOf", "if", "then", "else", "not")
_ARGUMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")  # as function calling of model providers has it
_MAX_DEPTH: Final = 50  # deeper schemas are refused where they are checked
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMAS: Final = (*_APPLICATORS, "items", "additionalItems", "prefixItems", "additionalProperties", "contains")
Refusal = Callable[[str], McpServerError]


@dataclasses.dataclass(frozen=True)
class ImportedSpec:
    """A server's tool as it is offered to a policy, and the way back.

    Attributes:
        spec: What a policy sees.
        schema: What arguments are checked against: the server's schema, with image handles.
        names: The server's names of arguments by those of `spec`.
        image_encodings: How image arguments, by their name in `spec`, are sent.
    """

    spec: ToolSpec
    schema: Mapping[str, Any]
    names: Mapping[str, str]
    image_encodings: Mapping[str, ImageEncoding]


def select_tools(server: McpServerConfig, names: Iterable[str]) -> list[str]:
    """The server's names for the tools that its `tools` setting selects.

    Raises:
        McpServerError: Two tools have one name, or a pattern matches none.
    """
    names = list(names)
    for name in names:
        if names.count(name) > 1:
            raise McpServerError(f"the MCP server {server.name} offers two tools named {name!r:.80}")
    selected: list[str] = []
    for pattern in server.tools:
        matching = [name for name in names if fnmatch.fnmatchcase(name, pattern.removeprefix("!"))]
        if not matching and pattern != "*":
            listed = ", ".join(repr(name)[:80] for name in names[:20]) or "none"
            raise McpServerError(f"the MCP server {server.name} has no tool {pattern!r}; it offers {listed}")
        selected = (
            [name for name in selected if name not in matching] if pattern.startswith("!") else [*selected, *matching]
        )
    return [name for name in names if name in selected]


def check_settings(server: McpServerConfig, arguments: Mapping[str, Iterable[str]]) -> None:
    """Refuse a setting for a tool, or for an image argument, that the server does not have.

    Args:
        server: The server.
        arguments: The names of the arguments of each of its tools.

    Raises:
        McpServerError: There is one.
    """
    places = {f"{tool}.{argument}" for tool, names in arguments.items() for argument in names}
    for setting, given, known in (
        ("rename", server.rename, set(arguments)),
        ("images", server.images, places.union(*arguments.values())),
    ):
        for name in sorted(given.keys() - known):
            near = closest_match(name, sorted(known))
            guess = f"; did you mean {near!r:.80}?" if near else ""
            what = "tool" if setting == "rename" else "argument"
            raise McpServerError(
                f"{setting} names {name!r:.80}, and the MCP server {server.name} has no such {what}{guess}"
            )


def to_identifiers(server: McpServerConfig, names: Iterable[str]) -> dict[str, str]:
    """Tool names here by the server's names: lower-case identifiers, made the same way each time.

    Of a name that is too long, the beginning is kept, with a digest of the whole.

    Raises:
        McpServerError: No identifier can be made of a name, or two names make the same one.
    """
    identifiers: dict[str, str] = {}
    for name in names:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        own = server.rename.get(name) or re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
        if len(own) > _MAX_NAME and name not in server.rename:
            own = f"{own[: _MAX_NAME - 9].rstrip('_')}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        if not TOOL_NAME_PATTERN.match(own):
            quoted = json.dumps(name[:80])
            raise McpServerError(
                f"the MCP server {server.name} offers {quoted}, of which no tool name can be made (a lower-case letter, then "
                f'letters, digits or _, {_MAX_NAME} at most); give one: rename = {{ {quoted} = "..." }}, or leave it out: '
                f'tools = ["*", "!..."]'
            )
        other = next((argument for argument, taken in identifiers.items() if taken == own), None)
        if other is not None:
            raise McpServerError(
                f"the MCP server {server.name} offers {other!r} and {name!r}, which both become {own}; give one another name: "
                f'rename = {{ {json.dumps(name)} = "..." }}'
            )
        identifiers[name] = own
    return identifiers


def to_argument_names(names: Iterable[str]) -> dict[str, str]:
    """Argument names here by the server's: identifiers, such as `study_id` for `study-id` and `from_` for `from`."""
    names = list(names)
    local = {name: name for name in names if _is_argument_name(name)}
    for name in names:
        if name in local:
            continue
        own = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:58] or "argument"
        if own[0].isdigit():
            own = f"n{own}"
        own = own if _is_argument_name(own) else f"{own}_"
        number = 2
        candidate = own
        while candidate in local.values():
            candidate, number = f"{own}_{number}", number + 1
        local[name] = candidate
    return {name: local[name] for name in names}


def _is_argument_name(name: str) -> bool:
    return _ARGUMENT.fullmatch(name) is not None and not keyword.iskeyword(name) and name != "self"


def to_tool_spec(server: McpServerConfig, offered: types.Tool, name: str) -> ImportedSpec:
    """The spec of a server's tool.

    Args:
        server: The server.
        offered: Its tool.
        name: The tool's name here.

    Raises:
        McpServerError: Its schema is none, or cannot be offered to a policy.
    """

    def refusal(reason: str) -> McpServerError:
        quoted = json.dumps(offered.name[:80])
        leave = f'tools = ["*", {json.dumps("!" + offered.name[:80])}]'
        return McpServerError(f"the tool {quoted} of the MCP server {server.name} {reason}; leave it out: {leave}")

    schema = offered.input_schema if "$schema" in offered.input_schema else _in_present_form(offered.input_schema)
    if len(json.dumps(schema)) + len(offered.description or "") > _MAX_BYTES:
        raise refusal(f"describes itself in more than {_MAX_BYTES // 1024} KiB")
    written = _written_out(schema, refusal)
    properties = written.get("properties", {})
    encodings = _image_encodings(server, offered.name, properties)
    handles = {argument: _handle(properties[argument]) for argument in encodings}
    closed = {} if any(key in schema for key in _OPEN) else {"additionalProperties": False}
    local = to_argument_names(properties)
    parameters = {key: value for key, value in written.items() if key not in ("$schema", "$id", "title")}
    parameters = {"required": [], **parameters, "properties": {**properties, **handles}, **closed}
    checked = {**schema, "properties": {**schema.get("properties", {}), **handles}, **closed}
    spec = ToolSpec(
        name=name,
        plugin=server.name,
        description=" ".join((offered.description or "").split()) or f"The tool {offered.name} of {server.name}.",
        parameters=_rename(parameters, local),
        images=tuple(local[argument] for argument in encodings),
        returns=("image", "text", "data"),
        deterministic=server.deterministic,
        timeout_s=server.timeout_s,
    )
    return ImportedSpec(
        spec,
        checked,
        {own: argument for argument, own in local.items()},
        {local[argument]: encoding for argument, encoding in encodings.items()},
    )


def _in_present_form(schema: Any, depth: int = 0) -> Any:
    """A schema that does not say of which draft it is, with what older drafts wrote otherwise as the present one has it.

    Draft 4 had exclusive bounds and required properties as booleans, drafts up to 7 lists of items; `required: null` and
    `type: "any"` are common errors.
    """
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return schema
    present: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            present[key] = {name: _in_present_form(part, depth + 1) for name, part in value.items()}
        elif key in _SCHEMAS:
            present[key] = (
                [_in_present_form(part, depth + 1) for part in value]
                if isinstance(value, list)
                else _in_present_form(value, depth + 1)
            )
        else:
            present[key] = value
    if isinstance(present.get("items"), list):
        present["prefixItems"] = present.pop("items")
        if "additionalItems" in present:
            present["items"] = present.pop("additionalItems")
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.title()}"
        if isinstance(present.get(exclusive), bool) and present.pop(exclusive) and bound in present:
            present[exclusive] = present.pop(bound)
    if "required" in present and not isinstance(present["required"], list):
        del present["required"]
    if present.get("type") == "any":
        del present["type"]
    return present


def _written_out(schema: Any, refusal: Refusal) -> dict[str, Any]:
    """The schema without references; refused unless it is a JSON Schema of an object."""
    import jsonschema
    import referencing.exceptions
    from jsonschema.validators import validator_for

    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise refusal("has a schema that does not describe an object")
    try:
        validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
        outside = next((reference for reference in references(schema) if not reference.startswith("#")), None)
        if outside is not None:
            raise refusal(f"has a schema that refers to another document, {outside[:100]!r}")
        written = inline_references(schema)
    except jsonschema.SchemaError as error:
        raise refusal(f"has a schema that is not JSON Schema ({error.message[:200]})") from None
    except referencing.exceptions.Unresolvable as error:
        reference = f"#{error.ref.removeprefix('#')}"
        raise refusal(f"has a schema that refers to {reference!r:.100}, which it does not define") from None
    except SchemaTooLargeError as error:
        raise refusal(f"has a schema that is too large: {error}") from None
    except RecursionError:
        raise refusal("has a schema that is nested too deeply") from None
    if not isinstance(written.get("properties", {}), dict):
        raise refusal("has a schema whose properties are not an object")
    return written


def _image_encodings(server: McpServerConfig, tool: str, properties: Mapping[str, Any]) -> dict[str, ImageEncoding]:
    encodings: dict[str, ImageEncoding] = {}
    for argument, content in properties.items():
        encoding = server.images.get(f"{tool}.{argument}") or server.images.get(argument)
        if encoding is None and isinstance(content, dict):
            media = str(content.get("contentMediaType", ""))
            is_image = media.startswith("image/") and content.get("contentEncoding") == "base64"
            encoding = "base64" if is_image else None
        if encoding is not None:
            encodings[argument] = encoding
    return encodings


def _handle(content: Any) -> dict[str, Any]:
    """The schema of a handle, or of a list of them, in place of that of a picture."""
    is_described = isinstance(content, dict) and "description" in content
    described = {"description": content["description"]} if is_described else {}
    handle: dict[str, Any] = {"type": "integer", "minimum": 0}
    if isinstance(content, dict) and content.get("type") == "array":
        return {"type": "array", "items": handle, **described}
    return {**handle, **described}


def _rename(schema: Any, names: Mapping[str, str]) -> Any:
    """The schema of an object with its properties under other names, wherever it names them."""
    if not isinstance(schema, dict) or all(name == own for name, own in names.items()):
        return schema
    renamed = dict(schema)
    for key in ("properties", "dependentSchemas", "dependentRequired"):
        if isinstance(schema.get(key), dict):
            renamed[key] = {names.get(name, name): part for name, part in schema[key].items()}
    if isinstance(schema.get("required"), list):
        renamed["required"] = [names.get(name, name) for name in schema["required"]]
    if isinstance(schema.get("dependentRequired"), dict):
        required = renamed["dependentRequired"].items()
        renamed["dependentRequired"] = {name: [names.get(part, part) for part in parts] for name, parts in required}
    for key in _APPLICATORS:
        if key in schema:
            part = schema[key]
            renamed[key] = [_rename(one, names) for one in part] if isinstance(part, list) else _rename(part, names)
    return renamed
