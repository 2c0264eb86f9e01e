"""The arguments of a tool: their model, their JSON Schema and `check_arguments`, the one validator of a call's arguments."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, cast, get_args, get_origin

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools._argument_repair import repair_arguments
from medvistagym_core.tools._defaults import stray_bound, surely_fits, to_python_value
from medvistagym_core.tools._errors import ToolError, from_validation_error
from medvistagym_core.tools._json_schema import SchemaTooLargeError, inline_references, map_subschemas
from medvistagym_core.tools._signature import (
    ToolDefinitionError,
    is_image_list,
    mentions_image,
    strip_annotated,
    without_none,
)

if TYPE_CHECKING:
    import inspect

    from pydantic import BaseModel, ValidationError
    from pydantic.errors import PydanticUserError


class Arguments(Protocol):
    """What a tool takes."""

    @property
    def images(self) -> tuple[str, ...]:
        """The arguments that are images by handle, or lists of them."""
        ...

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        ...

    @property
    def model(self) -> type[BaseModel]:
        """The pydantic model of the arguments."""
        ...

    def validate(self, tool: str, text: str | bytes) -> dict[str, Any]:
        """The arguments that a JSON text holds, defaults filled in; raises `ToolError` (`bad_arguments`)."""
        ...


class CheckedArguments(NamedTuple):
    """Arguments that a tool can be run with, once images are in place of handles.

    Attributes:
        values: The arguments, defaults filled in.
        sent: The JSON values that were found valid: as they were sent, or as they were meant.
        repairs: What had to be mended in them (`_argument_repair`); empty where they were sent as the schema says.
    """

    values: dict[str, Any]
    sent: Mapping[str, Any]
    repairs: tuple[str, ...] = ()


def check_arguments(tool: str, accepted: Arguments, sent: Mapping[str, Any]) -> CheckedArguments:
    """The one validator of a call's arguments: as they are sent, or else, where that is clear, as they are meant.

    Args:
        tool: The tool's name, for errors.
        accepted: What it takes.
        sent: The arguments of a call, as JSON values.

    Raises:
        ToolError: `bad_arguments`, naming the argument and what is accepted.
    """
    text = _to_json(tool, sent)
    try:
        return CheckedArguments(accepted.validate(tool, text), sent)
    except ToolError:
        repaired, repairs = repair_arguments(json.loads(text), _without_references(accepted.schema))
        if not repairs:
            raise
    return CheckedArguments(accepted.validate(tool, _to_json(tool, repaired)), repaired, repairs)


def _without_references(schema: dict[str, Any]) -> dict[str, Any]:
    from referencing.exceptions import Unresolvable

    try:
        return inline_references(schema)
    except (SchemaTooLargeError, Unresolvable, RecursionError):
        return schema  # what a reference leads to is then left as it was sent


def _to_json(tool: str, arguments: Mapping[str, Any]) -> bytes | str:
    import pydantic_core

    try:
        return pydantic_core.to_json(arguments)
    except (ValueError, RecursionError):  # a lone surrogate, perhaps, which is JSON all the same
        pass
    try:
        return json.dumps(arguments)
    except (TypeError, ValueError, RecursionError):
        raise ToolError("bad_arguments", f"{tool}: the arguments are not JSON values.") from None


class SignatureArguments:
    """The arguments of a function as its author wrote them.

    Faults are found at once, but pydantic is asked for a model and a schema only when one is needed; listing needs neither.

    Args:
        name: The tool's name.
        signature: Of the function, every parameter annotated.
        descriptions: What its docstring says of each argument.

    Raises:
        ToolDefinitionError: An argument is not described, or one is described that does not exist.
    """

    def __init__(self, name: str, signature: inspect.Signature, descriptions: Mapping[str, str]) -> None:
        self._name = name
        self._fields: dict[str, tuple[Any, Any, str]] = {}
        images: list[str] = []
        for p in signature.parameters.values():
            annotation = without_none(p.annotation)
            if strip_annotated(annotation) is Image or is_image_list(annotation):
                images.append(p.name)
            elif mentions_image(annotation):
                raise ToolDefinitionError(
                    f"the argument {p.name} of the tool {name} holds images in another way than as Image or list[Image]; "
                    f"give it one of these types, which may be followed by | None"
                )
            if bound := stray_bound(_of_handles(annotation, int)):
                raise ToolDefinitionError(
                    f"the argument {p.name} of the tool {name} has the bound {bound}, which does not fit its type; "
                    f"numbers have ge, gt, le and lt, lists and text min_length and max_length"
                )
            if _is_field(p.default):
                raise ToolDefinitionError(
                    f"the argument {p.name} of the tool {name} has a Field for its default; "
                    f"write {p.name}: Annotated[..., Field(...)] = DEFAULT"
                )
            declared = [m.description for m in getattr(p.annotation, "__metadata__", ()) if _is_field(m)]
            description = descriptions.get(p.name) or next(filter(None, declared), None)
            if not description:
                raise ToolDefinitionError(
                    f"the argument {p.name} of the tool {name} is not described: add it under Args: in the docstring"
                )
            self._fields[p.name] = (
                annotation,
                ... if p.default is p.empty else to_python_value(p.default),
                description,
            )
        stray = sorted(set(descriptions) - set(self._fields))
        if stray:
            raise ToolDefinitionError(
                f"the docstring of the tool {name} describes {', '.join(stray)}, which it does not take"
            )
        self.images = tuple(images)
        if not all(_is_plain(_of_handles(annotation, int)) for annotation, _, _ in self._fields.values()):
            _ = self.schema  # only pydantic can tell whether the type has a JSON form
        for argument, (annotation, default, _) in self._fields.items():
            if default is ... or default is None or surely_fits(_of_handles(annotation, int), default):
                continue
            if self._fault_of_default(argument, default, json=False) and (
                fault := self._fault_of_default(argument, default, json=True)
            ):
                raise ToolDefinitionError(
                    f"the default of the argument {argument} of the tool {name} is no value that it takes: {fault}, "
                    f"and it is {default!r:.200}"
                )

    def _fault_of_default(self, argument: str, default: Any, *, json: bool) -> str:
        """What the argument finds wrong in its default, as it is or written as JSON; empty where it is taken."""
        import pydantic_core

        validator = self.model.__pydantic_validator__
        try:
            if json:
                validator.validate_json(pydantic_core.to_json({argument: default}, inf_nan_mode="constants"))
            else:
                validator.validate_python({argument: default})
        except pydantic_core.ValidationError as error:  # that others are missing, too
            said = [fault["msg"] for fault in error.errors(include_url=False) if fault["loc"][0] == argument]
            return said[0][0].lower() + said[0][1:] if said else ""
        except pydantic_core.PydanticSerializationError:
            return ""  # an object of Python's, which no schema shows
        return ""

    @cached_property
    def model(self) -> type[BaseModel]:
        """The strict pydantic model of the arguments, which forbids what it does not know."""
        import pydantic

        fields: dict[str, Any] = {}
        for name, (annotation, default, description) in self._fields.items():
            handles = _of_handles(annotation, Annotated[int, pydantic.Field(ge=0)])
            fields[name] = (handles, pydantic.Field(default, description=description))
        config = pydantic.ConfigDict(
            extra="forbid", strict=True, frozen=True, allow_inf_nan=False, arbitrary_types_allowed=False
        )
        try:
            with warnings.catch_warnings():  # an argument may well be called `copy`: the model is read by field only
                warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
                return pydantic.create_model(f"{self._name}_arguments", __config__=config, **fields)
        except pydantic.errors.PydanticUserError as error:
            raise self._without_json_form(error) from None

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The model's JSON Schema, without titles and null defaults."""
        import pydantic

        try:
            return normalize_schema(self.model.model_json_schema())
        except pydantic.errors.PydanticInvalidForJsonSchema as error:
            raise self._without_json_form(error) from None

    def _without_json_form(self, error: PydanticUserError) -> ToolDefinitionError:
        return ToolDefinitionError(
            f"the tool {self._name} has an argument of a type without JSON form: {error.message.splitlines()[0]}"
        )

    @cached_property
    def _validate_json(self) -> Callable[[str | bytes], BaseModel]:
        """The model's `model_validate_json` without the checks of its options, which take as long as the work."""
        return self.model.__pydantic_validator__.validate_json

    def validate(self, tool: str, text: str | bytes) -> dict[str, Any]:
        """The arguments that a JSON text holds, defaults filled in.

        Raises:
            ToolError: `bad_arguments`, naming the argument and what is accepted.
        """
        try:
            values = self._validate_json(text)
        except ValueError as error:  # pydantic's ValidationError, whose import nothing else here waits for
            raise from_validation_error(tool, self.model, cast("ValidationError", error), self.images) from None
        return dict(vars(values))


class JsonSchemaArguments:
    """The arguments of a tool that a JSON Schema describes.

    Args:
        name: The tool's name.
        images: The arguments that are images by handle, or lists of them.
        schema: JSON Schema of the arguments.
        check: Raises ValueError, a sentence without the tool's name, for arguments that the schema does not allow.
    """

    def __init__(
        self, name: str, images: tuple[str, ...], schema: dict[str, Any], check: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._name = name
        self.images = images
        self.schema = schema
        self.check = check

    @cached_property
    def model(self) -> type[BaseModel]:
        """A model that allows anything: pydantic cannot say what the schema says."""
        import pydantic

        return pydantic.create_model(f"{self._name}_arguments", __config__=pydantic.ConfigDict(extra="allow"))

    def validate(self, tool: str, text: str | bytes) -> dict[str, Any]:
        """The arguments that a JSON text holds; None for an image left out.

        Raises:
            ToolError: `bad_arguments`, with the sentence of `check`.
        """
        values: dict[str, Any] = json.loads(text)
        try:
            self.check(values)
        except ValueError as error:
            raise ToolError("bad_arguments", f"{tool}: {error}") from None
        return {**dict.fromkeys(self.images), **values}


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


def _of_handles(annotation: Any, handle: Any) -> Any:
    """The annotation with `handle` in place of `Image`; a list of images keeps the bounds of its length."""
    if strip_annotated(annotation) is Image:
        return handle
    if not is_image_list(annotation):
        return annotation
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return Annotated[(list[handle], *marks)] if marks else list[handle]


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


def normalize_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without titles and null defaults, and always with `properties` and `required`."""

    def cleaned(node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        entries = {
            key: value
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
        }
        return map_subschemas(entries, cleaned)

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
