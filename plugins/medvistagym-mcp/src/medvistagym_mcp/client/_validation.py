"""Whether arguments fit a server's JSON Schema; the check of `Tool.from_schema`.

Neither the schema nor the arguments are ours, so a check is bounded: patterns are matched in linear time, and a schema that
takes more than `MAX_STEPS` on some arguments, or arguments nested deeper than `MAX_DEPTH`, are refused.
"""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.tools import closest_match

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from pydantic_core import SchemaValidator


MAX_STEPS: Final = 20_000
"""Keywords with subschemas that one check may apply."""
MAX_DEPTH: Final = 64
_APPLICATORS: Final = (
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "items",
    "prefixItems",
    "contains",
    "unevaluatedProperties",
    "unevaluatedItems",
)


_steps: Final = threading.local()
"""`left`: how many more the check that runs in a thread may take."""


class _TooManyStepsError(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class JsonSchemaValidator:
    """Checks arguments against a JSON Schema in which they may have other names.

    Attributes:
        schema: The JSON Schema of an object.
        names: The schema's names of arguments by those here.
    """

    schema: Mapping[str, Any]
    names: Mapping[str, str]

    @cached_property
    def _validator(self) -> Validator:
        return _make_validator(self.schema)

    def __getstate__(self) -> dict[str, Any]:
        return {"schema": self.schema, "names": self.names}

    def __call__(self, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError, one sentence without the tool's name, for arguments that do not fit."""
        from jsonschema import exceptions
        from referencing.exceptions import Unresolvable

        if _depth(arguments) > MAX_DEPTH:
            raise ValueError(f"the arguments are nested deeper than {MAX_DEPTH} levels.")
        if not _is_finite(arguments):
            raise ValueError("NaN and infinity are not values that can be sent.")
        taken = {original for name, original in self.names.items() if name != original}
        if stray := next((name for name in arguments if name in taken and name not in self.names), None):
            raise ValueError(self._unknown(stray))
        original = {self.names.get(name, name): value for name, value in arguments.items()}
        _steps.left = MAX_STEPS
        try:
            error = exceptions.best_match(self._validator.iter_errors(original))
        except (RecursionError, Unresolvable, _TooManyStepsError) as failure:
            reason = "it takes too many steps" if type(failure) is _TooManyStepsError else type(failure).__name__
            raise ValueError(f"its schema cannot be applied ({reason}).") from None
        if error is not None:
            raise ValueError(self._sentence(error, original))

    def _sentence(self, error: Any, original: Mapping[str, Any]) -> str:
        local = {name: own for own, name in self.names.items()}
        path = list(error.absolute_path)
        if error.validator == "required" and not path:
            missing = next((name for name in error.validator_value if name not in original), "?")
            return f"the argument {local.get(missing, missing)} is missing; {self._takes()}"
        if error.validator == "additionalProperties" and not path:
            return self._unknown(next((name for name in original if name not in local), "?"))
        location = ".".join(str(part) for part in (local.get(path[0], path[0]), *path[1:])) if path else "arguments"
        given = json.dumps(error.instance, default=str)
        message = error.message.replace(repr(error.instance), "the value")
        return f"{location}: {message[:300]}, got {given if len(given) <= 60 else given[:57] + '...'}."

    def _unknown(self, name: str) -> str:
        renamed = next((own for own, original in self.names.items() if original == name), None)
        suggestion = renamed or closest_match(name, list(self.names))
        guess = f"; did you mean {suggestion}?" if suggestion else "."
        takes = self._takes()
        return f"there is no argument {name[:80]}{guess} {takes[0].upper()}{takes[1:]}"

    def _takes(self) -> str:
        return f"it takes {', '.join(self.names) or 'no arguments'}."


def _make_validator(schema: Mapping[str, Any]) -> Validator:
    import jsonschema
    import referencing
    from jsonschema import validators
    from jsonschema.validators import validator_for

    kind = _bound_steps(validator_for(schema, default=jsonschema.Draft202012Validator))
    if "patternProperties" in json.dumps(schema, default=str):
        # To know what is left over, jsonschema matches names in time without bound. The server checks that itself.
        kind = validators.extend(kind, {"unevaluatedProperties": lambda *_: ()})
    validator: Validator = kind(schema, registry=referencing.Registry())  # an empty registry: nothing is ever fetched
    return validator


def _bound_steps(kind: Any) -> Any:
    """A class of validators that matches patterns in linear time, and takes no more steps than are left to its thread."""
    from jsonschema import validators

    def counted(apply: Any) -> Any:
        def counting(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            _steps.left -= 1
            if _steps.left < 0:
                raise _TooManyStepsError
            yield from apply(validator, value, instance, schema) or ()

        return counting

    changed = {name: counted(kind.VALIDATORS[name]) for name in _APPLICATORS if name in kind.VALIDATORS}
    others = {
        "pattern": _match_pattern,
        "patternProperties": _match_names,
        "additionalProperties": _match_others,
        "uniqueItems": _are_unique,
    }
    return validators.extend(kind, {**changed, **others})


def _match_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r:.100}")


def _match_names(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, part in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, part, path=name, schema_path=pattern)


def _match_others(validator: Any, others: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    listed, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [
        name for name in instance if name not in listed and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(others, "object"):
        for name in extras:
            yield from validator.descend(instance[name], others, path=name)
    elif not others and extras:
        names = ", ".join(repr(name)[:80] for name in extras[:5])
        yield ValidationError(f"Additional properties are not allowed ({names} unexpected)")


def _are_unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if wanted and validator.is_type(instance, "array"):
        written = [json.dumps(part, sort_keys=True) for part in instance]
        if len(set(written)) < len(written):
            yield ValidationError(f"{instance!r} has non-unique elements")


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text; True for a pattern that has no linear time, which the server checks itself."""
    search = _pattern(pattern)
    return search is None or search.isinstance_python(text)


@lru_cache(256)
def _pattern(pattern: str) -> SchemaValidator | None:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:  # looking around and back references
        return None


def _depth(value: Any, depth: int = 1) -> int:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return max((_depth(part, depth + 1) for part in parts), default=depth) if depth <= MAX_DEPTH else depth


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return all(_is_finite(part) for part in parts)
