"""The task that an exported package plays, and the texts that packages of every kind share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any, NamedTuple


class ExportedTask(NamedTuple):
    """What a package is about.

    Attributes:
        module: Name of the Python package.
        task: How the task is named, as `make_task` takes it.
        arguments: What the task is told.
        split: The split that is played.
        size: How many cases it has, or 1,000 of a task without an end.
        tools: The selection of tools.
        schemas: Their schemas in the form of Hugging Face.
    """

    module: str
    task: str
    arguments: Mapping[str, Any]
    split: str
    size: int
    tools: str
    schemas: Sequence[Mapping[str, Any]]


def fill(text: str, what: ExportedTask) -> str:
    make = {"task": what.task, "split": what.split, "tools": what.tools, "task_arguments": dict(what.arguments)}
    return Template(text).substitute(make=repr(make), module=what.module, size=what.size, task=one_line(what.task))


def pyproject(what: ExportedTask, requires: Sequence[str], packages: Sequence[str]) -> str:
    places = ", ".join(f'"{each}" = "{each.partition(".")[2] or "."}"' for each in packages)
    description = f"The MedVistaGym task {what.task}, as an environment (research use only, not for clinical use)."
    return f"""\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{what.module.replace("_", "-")}"
version = "0.1.0"
description = {json.dumps(description, ensure_ascii=False)}
requires-python = ">=3.11"
dependencies = ["medvistagym-core>=0.1,<0.2", {", ".join(requires)}]

[tool.setuptools]
packages = [{", ".join(f'"{each}"' for each in packages)}]
package-dir = {{ {places} }}
"""


def readme(what: ExportedTask, text: str) -> str:
    return Template(text).substitute(
        module=what.module, task=what.task, split=what.split, tools=what.tools or "no tools"
    )


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', "'")
