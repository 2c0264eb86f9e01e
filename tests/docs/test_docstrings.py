"""Docstrings name arguments, attributes, exceptions and members that exist."""

from __future__ import annotations

import ast
import builtins
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Examples?):")
_ENTRY = re.compile(r"    \*{0,2}(\w+):")


class Documented(NamedTuple):
    """A module, class or function with a docstring."""

    place: str
    module: ast.Module
    node: ast.Module | ast.ClassDef | ast.FunctionDef
    text: str


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """A piece of code and the statements in it, at any depth, without their expressions."""
    yield node
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, block, ()):
            yield from statements(inner)


@functools.cache
def sources() -> tuple[list[Documented], list[ast.ClassDef]]:
    """What has a docstring in the sources of every distribution, and all their classes."""
    documented, classes = [], []
    for path in (*ROOT.glob("src/**/*.py"), *ROOT.glob("[pnt]*/*/src/**/*.py")):
        module = ast.parse(path.read_text("utf-8"))
        for node in statements(module):
            if isinstance(node, ast.ClassDef):
                classes.append(node)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {getattr(node, 'name', 'module')}"
                documented.append(Documented(place, module, node, text))
    return documented, classes


def entries(docstring: str, *sections: str) -> Iterator[str]:
    """The names under some of the sections "Args", "Attributes" and "Raises"."""
    section = ""
    for line in docstring.splitlines():
        if heading := _SECTION.fullmatch(line.strip()):
            section = heading[1]
        elif section in sections and (entry := _ENTRY.match(line)):
            yield entry[1]


def names(node: ast.AST) -> set[str]:
    """Every argument, attribute, import, class, function and variable that is named in a piece of code."""
    found: set[str] = set()
    for part in ast.walk(node):
        match part:
            case ast.arg(arg=name) | ast.Attribute(attr=name) | ast.Name(id=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name) | ast.alias(name=name):
                found.add(name)
    return found


def test_what_a_docstring_describes_exists() -> None:
    stray = []
    for place, _, node, text in sources()[0]:
        described = [*entries(text, "Args", "Attributes")]
        present = names(node) if described else set()
        stray += [f"{place} has no {name}" for name in described if name not in present]
    assert stray == []


def test_what_a_docstring_says_is_raised_exists() -> None:
    documented, classes = sources()
    present = {node.name for node in classes} | {*vars(builtins)}
    stray = []
    for place, module, _, text in documented:
        unknown = {*entries(text, "Raises")} - present
        stray += [f"{place} raises no {name}" for name in (unknown and unknown - names(module))]
    assert stray == []


def test_a_member_that_a_docstring_names_exists() -> None:
    documented, classes = sources()
    members: dict[str, set[str]] = {}
    for node in classes:
        members.setdefault(node.name, set()).update(names(node))
    stray = []
    for place, *_, text in documented:
        for owner, member in re.findall(r"`([A-Z]\w+)\.(\w+)[`(]", text):
            own = members.get(owner, {member})
            if member not in own and not any(member in members.get(base, set()) for base in own):
                stray.append(f"{place} names `{owner}.{member}`")
    assert stray == []
