"""Whether arguments fit a server's JSON Schema; the check of `Tool.from_schema`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medvistagym_core.tools import closest_match

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


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

        if not _is_finite(arguments):
            raise ValueError("NaN and infinity are not values that can be sent.")
        taken = {original for name, original in self.names.items() if name != original}
        if stray := next((name for name in arguments if name in taken and name not in self.names), None):
            raise ValueError(self._unknown(stray))
        original = {self.names.get(name, name): value for name, value in arguments.items()}
        try:
            error = exceptions.best_match(self._validator.iter_errors(original))
        except (RecursionError, Unresolvable) as failure:
            raise ValueError(f"its schema cannot be applied ({type(failure).__name__}).") from None
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
        where = ".".join(str(part) for part in (local.get(path[0], path[0]), *path[1:])) if path else "arguments"
        given = json.dumps(error.instance, default=str)
        said = error.message.replace(repr(error.instance), "the value")
        return f"{where}: {said[:300]}, got {given if len(given) <= 60 else given[:57] + '...'}."

    def _unknown(self, name: str) -> str:
        renamed = next((own for own, original in self.names.items() if original == name), None)
        near = renamed or closest_match(name, list(self.names))
        guess = f"; did you mean {near}?" if near else "."
        takes = self._takes()
        return f"there is no argument {name[:80]}{guess} {takes[0].upper()}{takes[1:]}"

    def _takes(self) -> str:
        return f"it takes {', '.join(self.names) or 'no arguments'}."


def _make_validator(schema: Mapping[str, Any]) -> Validator:
    import jsonschema
    import referencing
    from jsonschema.validators import validator_for

    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    validator: Validator = kind(schema, registry=referencing.Registry())  # an empty registry: nothing is ever fetched
    return validator


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return all(_is_finite(part) for part in parts)
