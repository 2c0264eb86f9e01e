"""The published JSON Schemas: one for every document that is written to a file or handed to another program.

They are generated from the models that read and write those documents, so they cannot say anything else:
`python -m medvistagym_core.schemas schemas/v1` writes them, and a test fails when the published files have drifted.

Within v1 a document may gain optional fields, and a field may accept more than before; nothing is removed, renamed or
narrowed. So a document that was valid once stays valid; a change that would break one makes a v2 beside v1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from medvistagym_core.document import ToolResultDocument
from medvistagym_core.index import RegistryEntry
from medvistagym_core.plugins import PluginReport
from medvistagym_core.registry import ToolboxLock
from medvistagym_core.report import Results
from medvistagym_core.tool import ToolCall, ToolSpec
from medvistagym_core.trajectory import Trajectory

__all__ = ["MODELS", "VERSION", "schema", "write_schemas"]

VERSION: Final = "v1"
MODELS: Final[Mapping[str, type[Any]]] = {
    "plugin": PluginReport,
    "registry-entry": RegistryEntry,
    "results": Results,
    "tool": ToolSpec,
    "tool-call": ToolCall,
    "tool-result": ToolResultDocument,
    "toolbox-lock": ToolboxLock,
    "trajectory": Trajectory,
}


def schema(name: str) -> dict[str, Any]:
    """Return a published schema (JSON Schema, draft 2020-12).

    Args:
        name: A key of `MODELS`.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:medvistagym:schema:{VERSION}:{name}",
        **TypeAdapter(MODELS[name]).json_schema(mode="validation"),
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema to `<folder>/<name>.schema.json`, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in MODELS:
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n", "utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    import sys

    write_schemas(Path(sys.argv[1]))
