"""Docstrings name arguments and attributes that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Examples?):")
_ENTRY = re.compile(r"    \*{0,2}(\w+):")


def entries(docstring: str) -> Iterator[str]:
    """The names under "Args" and "Attributes"."""
    section = ""
    for line in docstring.splitlines():
        if heading := _SECTION.fullmatch(line.strip()):
            section = heading[1]
        elif section in ("Args", "Attributes") and (entry := _ENTRY.match(line)):
            yield entry[1]


def names(node: ast.AST) -> set[str]:
    """Every argument, attribute and variable that is named in a class or function."""
    found: set[str] = set()
    for part in ast.walk(node):
        match part:
            case ast.arg(arg=name) | ast.Attribute(attr=name) | ast.Name(id=name) | ast.FunctionDef(name=name):
                found.add(name)
    return found


def test_what_a_docstring_describes_exists() -> None:
    stray = []
    for path in (*ROOT.glob("src/**/*.py"), *ROOT.glob("[pnt]*/*/src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                described = [*entries(ast.get_docstring(node) or "")]
                known = names(node) if described else set()
                place = f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
                stray += [f"{place} has no {name}" for name in described if name not in known]
    assert stray == []
