"""The published JSON Schemas: one for every document that is written to a file or handed to another program.

They are generated from the models that read and write those documents, so they cannot say anything else:
`python -m medvistagym_core.cli._published_schemas schemas/v1` writes them, and a test fails when the files have drifted.

Within v1 a document may gain optional fields, and a field may accept more than before; nothing is removed, renamed or
narrowed. So a document that was valid once stays valid; a change that would break one makes a v2 beside v1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from medvistagym_core.plugins import CatalogEntry, PluginReport
from medvistagym_core.scoring import EvaluationReport
from medvistagym_core.tools import ToolboxLock, ToolCall, ToolSpec
from medvistagym_core.trajectories import Results, ToolResultDocument, Trajectory

__all__ = ["PUBLISHED_MODELS", "VERSION", "published_schema", "write_schemas"]

VERSION: Final = "v1"
PUBLISHED_MODELS: Final[Mapping[str, type[Any]]] = {
    "evaluation": EvaluationReport,
    "plugin": PluginReport,
    "registry-entry": CatalogEntry,
    "results": Results,
    "tool": ToolSpec,
    "tool-call": ToolCall,
    "tool-result": ToolResultDocument,
    "toolbox-lock": ToolboxLock,
    "trajectory": Trajectory,
}


# Models that were published under a name that the code has since replaced: within v1 a name stays.
_PUBLISHED_NAMES: Final = {
    "CatalogEntry": "RegistryEntry",
    "CatalogTool": "ListedTool",
    "ResultRow": "Row",
    "ToolPin": "LockedTool",
}


def published_schema(name: str) -> dict[str, Any]:
    """Return a published schema (JSON Schema, draft 2020-12).

    Args:
        name: A key of `PUBLISHED_MODELS`.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:medvistagym:schema:{VERSION}:{name}",
        **_with_published_names(TypeAdapter(PUBLISHED_MODELS[name]).json_schema(mode="validation")),
    }


def _with_published_names(schema: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(schema)
    for model, published in _PUBLISHED_NAMES.items():
        text = text.replace(f'"{model}"', f'"{published}"').replace(f"#/$defs/{model}", f"#/$defs/{published}")
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema to `<folder>/<name>.schema.json`, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in PUBLISHED_MODELS:
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(published_schema(name), indent=2, ensure_ascii=False) + "\n", "utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    import sys

    write_schemas(Path(sys.argv[1]))
