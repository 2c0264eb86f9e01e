"""From a server's tool to a spec: its name as an identifier, its schema with image handles, and the check of arguments."""

from __future__ import annotations

import base64
import dataclasses
import fnmatch
import io
import json
import keyword
import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image
from medvistagym_core.remote.config import ImageForm, RemoteServer, RemoteServerError
from medvistagym_core.tools import TOOL_NAME_PATTERN, ToolSpec, closest_match

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from mcp import types

_MOST_BYTES: Final = 65536
_OPEN: Final = ("additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref")


def chosen(server: RemoteServer, names: Iterable[str]) -> list[str]:
    """The server's names for the tools that its `tools` setting selects.

    Raises:
        RemoteServerError: Two tools have one name, or a pattern matches none.
    """
    names = list(names)
    for name in names:
        if names.count(name) > 1:
            raise RemoteServerError(f"the MCP server {server.name} offers two tools named {name!r:.80}")
    kept: list[str] = []
    for pattern in server.tools:
        found = [name for name in names if fnmatch.fnmatchcase(name, pattern.removeprefix("!"))]
        if not found and pattern != "*":
            shown = ", ".join(repr(name)[:80] for name in names[:20]) or "none"
            raise RemoteServerError(f"the MCP server {server.name} has no tool {pattern!r}; it offers {shown}")
        kept = [n for n in kept if n not in found] if pattern.startswith("!") else list(dict.fromkeys([*kept, *found]))
    return [name for name in names if name in kept]


def local_names(server: RemoteServer, names: Iterable[str]) -> dict[str, str]:
    """Names here by the server's names: lower-case identifiers, made the same way each time.

    Raises:
        RemoteServerError: No identifier can be made of a name, or two names make the same one.
    """
    made: dict[str, str] = {}
    for name in names:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        own = server.rename.get(name) or re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
        if not TOOL_NAME_PATTERN.match(own):
            shown = json.dumps(name[:80])
            raise RemoteServerError(
                f"the MCP server {server.name} offers {shown}, of which no tool name can be made (a lower-case letter, then "
                f'letters, digits or _, 64 at most); give one: rename = {{ {shown} = "..." }}, or leave it out: '
                f'tools = ["*", "!..."]'
            )
        other = next((known for known, taken in made.items() if taken == own), None)
        if other is not None:
            raise RemoteServerError(
                f"the MCP server {server.name} offers {other!r} and {name!r}, which both become {own}; give one another name: "
                f'rename = {{ {json.dumps(name)} = "..." }}'
            )
        made[name] = own
    return made


def spec_of(server: RemoteServer, offered: types.Tool, name: str) -> tuple[ToolSpec, dict[str, ImageForm]]:
    """The spec of a server's tool, and how its image arguments are sent.

    Raises:
        RemoteServerError: Its schema is none, or cannot be offered to a policy.
    """

    def refusal(reason: str) -> RemoteServerError:
        shown = json.dumps(offered.name[:80])
        leave = f'tools = ["*", {json.dumps("!" + offered.name[:80])}]'
        return RemoteServerError(f"the tool {shown} of the MCP server {server.name} {reason}; leave it out: {leave}")

    schema = offered.input_schema
    _check_schema(schema, refusal)
    if len(json.dumps(schema)) + len(offered.description or "") > _MOST_BYTES:
        raise refusal(f"describes itself in more than {_MOST_BYTES // 1024} KiB")
    properties = schema.get("properties", {})
    for argument in properties:
        if not argument.isidentifier() or keyword.iskeyword(argument):
            raise refusal(f"has an argument {argument[:80]!r}, which is no identifier")
    forms = _image_forms(server, offered.name, properties)
    parameters = {key: value for key, value in schema.items() if key not in ("$schema", "$id", "title")}
    parameters["properties"] = {
        argument: _handle(content) if argument in forms else content for argument, content in properties.items()
    }
    parameters.setdefault("required", [])
    if not any(key in schema for key in _OPEN):
        parameters["additionalProperties"] = False  # a wrong name should teach, and most servers drop it silently
    spec = ToolSpec(
        name=name,
        plugin=server.name,
        description=" ".join((offered.description or "").split()) or f"The tool {offered.name} of {server.name}.",
        parameters=parameters,
        images=tuple(forms),
        returns=("image", "text", "data"),
        deterministic=server.deterministic,
        timeout_s=server.timeout_s,
    )
    return spec, forms


def _check_schema(schema: Any, refusal: Any) -> None:
    import jsonschema
    import referencing.exceptions
    import referencing.jsonschema
    from jsonschema.validators import validator_for

    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise refusal("has a schema that does not describe an object")
    try:
        validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
        references = _references(schema)
        missing = ""
        outside = [ref for ref in references if not ref.startswith("#")]
        where = referencing.Resource.from_contents(schema, default_specification=referencing.jsonschema.DRAFT202012)
        resolver = referencing.Registry().with_resource("", where).resolver()
        for ref in references:
            if ref.startswith("#"):
                missing = ref
                resolver.lookup(ref)
    except jsonschema.SchemaError as error:
        raise refusal(f"has a schema that is not JSON Schema ({error.message[:200]})") from None
    except referencing.exceptions.Unresolvable:
        raise refusal(f"has a schema that refers to {missing!r:.100}, which it does not define") from None
    except RecursionError:
        raise refusal("has a schema that is nested too deeply") from None
    if outside:
        raise refusal(f"has a schema that refers to another document, {outside[0][:100]!r}")
    if not isinstance(schema.get("properties", {}), dict):
        raise refusal("has a schema whose properties are not an object")


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for part in node for ref in _references(part)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("$ref", "$dynamicRef") if isinstance(node.get(key), str)]
    return own + [ref for part in node.values() for ref in _references(part)]


def _image_forms(server: RemoteServer, tool: str, properties: Mapping[str, Any]) -> dict[str, ImageForm]:
    forms: dict[str, ImageForm] = {}
    for argument, content in properties.items():
        form = server.images.get(f"{tool}.{argument}") or server.images.get(argument)
        if form is None and isinstance(content, dict):
            media = str(content.get("contentMediaType", ""))
            form = "base64" if media.startswith("image/") and content.get("contentEncoding") == "base64" else None
        if form is not None:
            forms[argument] = form
    return forms


def _handle(content: Any) -> dict[str, Any]:
    described = (
        {"description": content["description"]} if isinstance(content, dict) and "description" in content else {}
    )
    handle: dict[str, Any] = {"type": "integer", "minimum": 0}
    if isinstance(content, dict) and content.get("type") == "array":
        return {"type": "array", "items": handle, **described}
    return {**handle, **described}


@dataclasses.dataclass(frozen=True)
class SchemaCheck:
    """Whether arguments fit a JSON Schema; the way `Tool.from_schema` wants it."""

    schema: Mapping[str, Any]

    @cached_property
    def _checker(self) -> Validator:
        return _validator(self.schema)

    def __getstate__(self) -> dict[str, Any]:
        return {"schema": self.schema}

    def __call__(self, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError, one sentence without the tool's name, for arguments that do not fit."""
        from jsonschema import exceptions
        from referencing.exceptions import Unresolvable

        if not _finite(arguments):
            raise ValueError("NaN and infinity are not values that can be sent.")
        try:
            error = exceptions.best_match(self._checker.iter_errors(arguments))
        except (RecursionError, Unresolvable) as failure:
            raise ValueError(f"its schema cannot be applied ({type(failure).__name__}).") from None
        if error is not None:
            raise ValueError(self._sentence(error, arguments))

    def _sentence(self, error: Any, arguments: Mapping[str, Any]) -> str:
        known = list(self.schema.get("properties", {}))
        takes = f"it takes {', '.join(known) or 'no arguments'}."
        top = not error.absolute_path
        if error.validator == "required" and top:
            missing = [name for name in error.validator_value if name not in arguments]
            return f"the argument {missing[0] if missing else '?'} is missing; {takes}"
        if error.validator == "additionalProperties" and top:
            strange = next((name for name in arguments if name not in known), "?")
            near = closest_match(strange, known)
            guess = f"; did you mean {near}?" if near else "."
            return f"there is no argument {strange[:80]}{guess} {takes[0].upper()}{takes[1:]}"
        where = ".".join(str(part) for part in error.absolute_path) or "arguments"
        given = json.dumps(error.instance, default=str)
        said = error.message.replace(repr(error.instance), "the value")
        return f"{where}: {said[:300]}, got {given if len(given) <= 60 else given[:57] + '...'}."


def _validator(schema: Mapping[str, Any]) -> Validator:
    import jsonschema
    import referencing
    from jsonschema.validators import validator_for

    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    checker: Validator = kind(schema, registry=referencing.Registry())  # an empty registry: nothing is ever fetched
    return checker


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return all(_finite(part) for part in parts)


def encoded(image: Image, form: ImageForm) -> str:
    """An image's view as text: PNG in base64, or as a data URL.

    Args:
        image: What to send.
        form: "base64" or "data_url".
    """
    data = io.BytesIO()
    image.to_pil().save(data, "PNG", compress_level=4)
    text = base64.b64encode(data.getvalue()).decode()
    return f"data:image/png;base64,{text}" if form == "data_url" else text
