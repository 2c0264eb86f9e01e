"""Trajectory files as tables of Hugging Face `datasets`.

One file loads as it is. Several, or one of more than ten megabytes, need the columns' types said: `datasets` infers them from
the first piece, in which a column that is mostly null, such as `error`, may hold nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.trajectories._trajectory import Trajectory

if TYPE_CHECKING:
    import datasets


__all__ = ["hf_features"]

_SCALAR_TYPES: Final = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}


def hf_features() -> datasets.Features:
    """The columns of a trajectory file, for `datasets.load_dataset("json", data_files=files, features=features())`.

    They follow the record's own schema. What differs from file to file (sampling settings, reward terms and weights) is of the
    type `datasets.Json` and comes back as a dict. `datasets` then keeps nine decimals of a number; a file itself keeps all.
    """
    import datasets

    schema = Trajectory.model_json_schema()
    return datasets.Features(_struct(schema, schema.get("$defs", {})))


def _struct(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _column(field, parts) for name, field in schema["properties"].items()}


def _column(field: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    import datasets

    if "$ref" in field:
        return _column(parts[field["$ref"].rpartition("/")[2]], parts)
    if "anyOf" in field:
        (kind,) = (one for one in field["anyOf"] if one.get("type") != "null")
        return _column(kind, parts)
    if field["type"] == "array":
        return datasets.List(_column(field["prefixItems"][0] if "prefixItems" in field else field["items"], parts))
    if field["type"] == "object":
        return _struct(field, parts) if "properties" in field else datasets.Json()
    return datasets.Value(_SCALAR_TYPES[field["type"]])
