"""Reading a tool's signature and docstring: the arguments model, its JSON Schema and what the tool returns.

The signature is read once, when `@tool` is applied; what an author must mend is a `ToolDefinitionError`.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from medvistagym_core.imaging import Box, Image

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


LOCAL_PLUGIN: Final = "local"
TOOL_NAME_PATTERN: Final = re.compile(r"^[a-z][a-z0-9_]{0,63}$")


class ToolDefinitionError(TypeError):
    """A tool that its author must mend: the sentence says what and how."""


def parse_docstring(name: str, texts: Sequence[str | None]) -> tuple[str, dict[str, str]]:
    """The description and the arguments' descriptions in the first of `texts` (Google docstrings) that has one."""
    import docstring_parser

    for text in texts:
        if not text:
            continue
        parsed = docstring_parser.parse(inspect.cleandoc(text), docstring_parser.DocstringStyle.GOOGLE)
        description = " ".join(" ".join(filter(None, [parsed.short_description, parsed.long_description])).split())
        if description:
            return description, {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    raise ToolDefinitionError(
        f"the tool {name} needs a docstring: a first line that tells a policy what it does, then Args:"
    )


def validated_signature(name: str, body: Callable[..., Any], *, skip_self: bool) -> inspect.Signature:
    """The signature with annotations evaluated, refused unless every argument has a name and a type."""
    try:
        signature = inspect.signature(body, eval_str=True)
    except NameError as error:
        raise ToolDefinitionError(f"the tool {name} has an annotation that cannot be resolved: {error}") from None
    parameters = list(signature.parameters.values())[skip_self:]
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY):
            raise ToolDefinitionError(
                f"the tool {name} takes {p}; give every argument a name of its own, without * or /"
            )
        if p.annotation is p.empty:
            raise ToolDefinitionError(f"the argument {p.name} of the tool {name} needs a type annotation")
    return signature.replace(parameters=parameters)


class ArgumentsSchema:
    """The arguments of a tool as their author wrote them.

    Faults are found at once, but pydantic is asked for a model and a schema only when one is needed; listing needs neither.

    Attributes:
        names: The arguments, in order.
        images: Those that are images by handle.
    """

    def __init__(self, name: str, signature: inspect.Signature, described: Mapping[str, str]) -> None:
        self._name = name
        self._fields: dict[str, tuple[Any, Any, str]] = {}
        images: list[str] = []
        for p in signature.parameters.values():
            annotation = _without_none(p.annotation)
            if strip_annotated(annotation) is Image or is_image_list(annotation):
                images.append(p.name)
            declared = [m.description for m in getattr(p.annotation, "__metadata__", ()) if _is_field(m)]
            description = described.get(p.name) or next(filter(None, declared), None)
            if not description:
                raise ToolDefinitionError(
                    f"the argument {p.name} of the tool {name} is not described: add it under Args: in the docstring"
                )
            self._fields[p.name] = (annotation, ... if p.default is p.empty else p.default, description)
        stray = sorted(set(described) - set(self._fields))
        if stray:
            raise ToolDefinitionError(
                f"the docstring of the tool {name} describes {', '.join(stray)}, which it does not take"
            )
        self.names, self.images = tuple(self._fields), tuple(images)
        self._plain = all(name in images or _is_plain(annotation) for name, (annotation, _, _) in self._fields.items())
        if not self._plain:
            _ = self.schema

    @cached_property
    def model(self) -> type[BaseModel]:
        """The strict pydantic model of the arguments, which forbids what it does not know."""
        import pydantic

        handle = Annotated[int, pydantic.Field(ge=0)]
        fields: dict[str, Any] = {}
        for name, (annotation, default, description) in self._fields.items():
            if name in self.images:
                annotation = list[handle] if is_image_list(annotation) else handle
            fields[name] = (annotation, pydantic.Field(default, description=description))
        config = pydantic.ConfigDict(
            extra="forbid", strict=True, frozen=True, allow_inf_nan=False, arbitrary_types_allowed=False
        )
        try:
            with warnings.catch_warnings():  # an argument may well be called `copy`: the model is read by field only
                warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
                return pydantic.create_model(f"{self._name}_arguments", __config__=config, **fields)
        except pydantic.errors.PydanticSchemaGenerationError as error:
            raise ToolDefinitionError(
                f"the tool {self._name} has an argument of a type without JSON form: {error.message.splitlines()[0]}"
            ) from None

    @cached_property
    def invalid(self) -> type[ValidationError]:
        """What `validate_json` raises."""
        from pydantic import ValidationError

        return ValidationError

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The model's JSON Schema, cleaned."""
        return normalize_schema(self.model.model_json_schema())

    @cached_property
    def validate_fast(self) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
        """The validator of arguments that are plain JSON values (`SCALARS`, or lists of them), without a detour by JSON text.

        It gives a new dict with defaults filled in. None where an argument's type reads JSON text otherwise than Python values
        (a tuple, a date, an enumeration, ...), so that only `validate_json` can say.
        """
        if not self._plain:
            return None
        from pydantic_core import SchemaValidator, core_schema

        whole: Any = self.model.__pydantic_core_schema__
        if whole["type"] != "model" or whole["schema"]["type"] != "model-fields":
            return None
        fields = {
            name: core_schema.typed_dict_field(field["schema"], required=field["schema"]["type"] != "default")
            for name, field in whole["schema"]["fields"].items()
        }
        # The same fields as those of a dict: no model is made, nor a set of the fields that were given, which takes longer.
        plain = core_schema.typed_dict_schema(fields, strict=True, extra_behavior="forbid", config=whole["config"])
        return SchemaValidator(plain).validate_python

    @cached_property
    def validate_json(self) -> Callable[[str | bytes], BaseModel]:
        """The model's validator of JSON text."""
        return self.model.__pydantic_validator__.validate_json


JSON_SCALARS: Final = frozenset({int, float, str, bool, type(None)})


def is_plain_list(value: Any) -> bool:
    """Whether it is a list of what a JSON parser gives for numbers, texts, booleans and nulls."""
    return type(value) is list and JSON_SCALARS.issuperset(map(type, value))


_CONSTRAINTS: dict[Any, frozenset[str]] = {
    int: frozenset({"Ge", "Gt", "Le", "Lt"}),
    float: frozenset({"Ge", "Gt", "Le", "Lt"}),
    str: frozenset({"MinLen", "MaxLen"}),
    list: frozenset({"MinLen", "MaxLen"}),
    bool: frozenset(),
    Box: frozenset(),
    Literal: frozenset(),
}


def _is_field(mark: Any) -> bool:
    """Whether it is a `pydantic.Field(...)`; without pydantic there are none."""
    fields = sys.modules.get("pydantic.fields")
    return fields is not None and isinstance(mark, fields.FieldInfo)


def _is_plain(annotation: Any) -> bool:
    """Whether a model of this annotation is known to be possible without making it."""
    bare = strip_annotated(annotation)
    kind = get_origin(bare) or bare
    if kind not in _CONSTRAINTS or (kind is list and not all(map(_is_plain, get_args(bare)))):
        return False
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    for mark in marks:
        if type(mark).__name__ in _CONSTRAINTS[kind] and type(mark).__module__ == "annotated_types":
            continue
        if not _is_field(mark) or mark.json_schema_extra is not None or mark.validation_alias or mark.alias:
            return False
        if not {type(constraint).__name__ for constraint in mark.metadata} <= _CONSTRAINTS[kind]:
            return False
    return True


def strip_annotated(annotation: Any) -> Any:
    """`X` of `Annotated[X, ...]`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _without_none(annotation: Any) -> Any:
    """`X | None` as `X`: an argument that may be left out is left out, not sent as null."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return Annotated[(_without_none(inner), *metadata)]
    if get_origin(annotation) in (Union, types.UnionType):
        rest = tuple(a for a in get_args(annotation) if a is not type(None))
        return Union[rest] if len(rest) < len(get_args(annotation)) else annotation  # noqa: UP007
    return annotation


def is_image_list(annotation: Any) -> bool:
    """Whether it is `list[Image]`, or that or None."""
    bare = strip_annotated(_without_none(annotation))
    return get_origin(bare) is list and strip_annotated(get_args(bare)[0]) is Image


def result_kinds(annotation: Any) -> tuple[Literal["image", "text", "data"], ...]:
    """What a return annotation says a result may hold."""
    found: set[str] = set()
    pending = [annotation]
    while pending:
        part = strip_annotated(pending.pop())
        if part is Image:
            found.add("image")
        elif part is str:
            found.add("text")
        elif part in (inspect.Signature.empty, Any) or getattr(part, "__name__", "") == "ToolResult":
            found |= {"image", "text", "data"}
        elif get_origin(part) in (Union, types.UnionType, list, tuple, Sequence):
            pending.extend(a for a in get_args(part) if a not in (..., type(None)))
        else:
            found |= {"text", "data"}
    return tuple(kind for kind in ("image", "text", "data") if kind in found)


def normalize_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without titles and null defaults, and always with `properties` and `required`."""

    def cleaned(node: Any) -> Any:
        if isinstance(node, list):
            return [cleaned(part) for part in node]
        if not isinstance(node, dict):
            return node
        return {
            key: {k: cleaned(v) for k, v in value.items()} if key in ("properties", "$defs") else cleaned(value)
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
        }

    body = cleaned(schema)
    out = {
        "type": "object",
        "properties": body.get("properties", {}),
        "required": body.get("required", []),
        "additionalProperties": False,
    }
    if "$defs" in body:
        out["$defs"] = body["$defs"]
    return out
