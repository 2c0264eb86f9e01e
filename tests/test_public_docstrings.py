"""Docstrings of what doors open explain parameters and fields, and name the errors that can be raised.

The sources are read, not imported. A function, a constructor or a method with two parameters or more explains each of them; one
that implements a contract may say `See` and name it instead. Methods without a docstring are left to their class. What a tool
raises is what a policy reads, and is no part of its docstring.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import docstring_parser
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    path
    for home in (ROOT, *ROOT.glob("plugins/*"), *ROOT.glob("trainers/*"), *ROOT.glob("native/*"))
    for path in (home / "src").glob("medvistagym_*")
)
# Said by those who wrote a program, never to be caught by its users.
NOT_FOR_CALLERS = {"AssertionError", "NotImplementedError", "StopIteration", "SystemExit"}
ERROR_CLASS = re.compile(r"^class (\w+Error)\(([\w., ]+)\):", re.MULTILINE)
FIELD_BASES = {"BaseModel", "NamedTuple", "Protocol", "TypedDict"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def defined(tree: ast.Module) -> dict[str, Function | ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, Function | ast.ClassDef)}


def name_of(node: ast.expr | None) -> str:
    """The name that an expression ends in: `ToolError` of `ToolError("...")`, `BaseModel` of `pydantic.BaseModel`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def imported(tree: ast.Module) -> set[str]:
    """What a stub imports, all of which its door opens."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def exported(package: Path) -> Iterator[tuple[Path, Function | ast.ClassDef]]:
    """What the doors of a distribution open, where it is defined."""
    for door in sorted(package.rglob("__init__.py")):
        stub = door.with_suffix(".pyi")
        tree = parsed(stub if stub.exists() else door)
        stores = [node for node in tree.body if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "__all__"]
        opened = set(ast.literal_eval(stores[0].value)) if stores else imported(tree)
        yield from ((door, node) for name, node in defined(tree).items() if name in opened)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("_"):
                home = door.parent / f"{node.module.rpartition('.')[2]}.py" if node.module else door
                names = {alias.name for alias in node.names if (alias.asname or alias.name) in opened}
                if home.is_file():
                    yield from ((home, one) for name, one in defined(parsed(home)).items() if name in names)


def explained(*docstrings: str | None) -> set[str]:
    """Parameters and attributes that docstrings have an entry for."""
    texts = [docstring_parser.parse(text or "", docstring_parser.DocstringStyle.GOOGLE) for text in docstrings]
    return {entry.arg_name.lstrip("*") for text in texts for entry in text.params}


def named_errors(docstring: str) -> set[str]:
    entries = docstring_parser.parse(docstring, docstring_parser.DocstringStyle.GOOGLE).raises
    return {name.strip() for entry in entries for name in (entry.type_name or "").split(",")}


def parameters(function: Function) -> list[str]:
    a = function.args
    names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))]
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def is_tool(node: Function | ast.ClassDef | None) -> bool:
    return node is not None and any(name_of(one) == "tool" for one in node.decorator_list)


def raised(tree: ast.Module, function: Function, owner: ast.ClassDef | None, seen: set[ast.AST]) -> set[str]:
    """Errors that leave a function: its own, and those of private functions of its module and private methods of its class."""
    if function in seen:
        return set()
    seen.add(function)
    methods = {node.name: node for node in owner.body if isinstance(node, Function)} if owner else {}

    def callee(call: ast.Call) -> tuple[Function, ast.ClassDef | None] | None:
        if not name_of(call.func).startswith("_"):
            return None
        if isinstance(call.func, ast.Name):
            found = defined(tree).get(call.func.id)
            return (found, None) if isinstance(found, Function) else None
        if isinstance(call.func, ast.Attribute) and name_of(call.func.value) in ("self", "cls"):
            return (methods[call.func.attr], owner) if call.func.attr in methods else None
        return None

    def leaving(node: ast.AST) -> set[str]:
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            return set()
        if isinstance(node, ast.Try):
            caught = {name for handler in node.handlers for name in handled(handler)}
            inside = set[str]().union(*map(leaving, node.body))
            rest = (*(part for handler in node.handlers for part in handler.body), *node.orelse, *node.finalbody)
            kept = set[str]() if caught & {"Exception", "BaseException"} else inside - caught
            return kept.union(*map(leaving, rest))
        names = set[str]().union(*map(leaving, ast.iter_child_nodes(node)))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call | ast.Name):
            # a variable is not an error's name, and a call with a dot is one of another package, or makes what is told
            target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            names |= {target.id} if isinstance(target, ast.Name) and target.id[:1].isupper() else set()
        if isinstance(node, ast.Call) and (found := callee(node)):
            names |= raised(tree, *found, seen)
        return names

    return set[str]().union(*map(leaving, function.body)) - NOT_FOR_CALLERS


def handled(handler: ast.ExceptHandler) -> list[str]:
    if handler.type is None:
        return ["BaseException"]
    return [name_of(one) for one in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])]


@functools.cache
def error_bases() -> dict[str, set[str]]:
    """The errors of this repository, and what each is a kind of."""
    texts = [path.read_text("utf-8") for package in PACKAGES for path in package.rglob("*.py")]
    classes = [match.groups() for text in texts for match in ERROR_CLASS.finditer(text)]
    return {name: {base.strip() for base in bases.split(",")} for name, bases in classes}


def kinds(error: str) -> set[str]:
    return {error}.union(*(kinds(base) for base in error_bases().get(error, ())))


def undescribed_fields(node: ast.ClassDef) -> list[str]:
    is_dataclass = any(name_of(one) == "dataclass" for one in node.decorator_list)
    if not (is_dataclass or {name_of(base) for base in node.bases} & FIELD_BASES):
        return []
    names = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = ast.unparse(field)
            if "ClassVar" not in text and "description=" not in text and "= _field('" not in text:
                names.append(field.target.id)
    known = explained(ast.get_docstring(node))
    return [name for name in names if not name.startswith("_") and name not in known]


def callables(node: Function | ast.ClassDef) -> Iterator[tuple[str, Function, ast.ClassDef | None, str | None]]:
    """Functions, constructors and public methods, each with the docstring that stands for it."""
    if isinstance(node, Function):
        yield node.name, node, None, ast.get_docstring(node)
        return
    for method in node.body:
        if isinstance(method, Function) and not is_overload(method):
            if method.name in ("__init__", "__post_init__"):
                yield node.name, method, node, ast.get_docstring(node)
            elif not method.name.startswith("_"):
                yield f"{node.name}.{method.name}", method, node, ast.get_docstring(method)


def is_overload(function: Function) -> bool:
    return any(name_of(one) == "overload" for one in function.decorator_list)


def faults(tree: ast.Module, node: Function | ast.ClassDef) -> list[str]:
    found = []
    if isinstance(node, ast.ClassDef) and (fields := undescribed_fields(node)):
        found.append(f"{node.name} does not explain {', '.join(fields)}")
    for name, function, owner, docstring in callables(node):
        if docstring is None or "See `" in docstring:
            continue
        taken = parameters(function) if function.name != "__post_init__" else []
        missing = [each for each in taken if each not in explained(docstring)] if len(taken) > 1 else []
        if missing:
            found.append(f"{name} does not explain {', '.join(missing)}")
        if not is_tool(function) and not is_tool(owner):
            named = named_errors(docstring)
            silent = sorted(one for one in raised(tree, function, owner, set()) if not kinds(one) & named)
            if silent:
                found.append(f"{name} does not say when it raises {', '.join(silent)}")
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_what_a_door_opens_explains_itself(package: Path) -> None:
    assert [
        f"{path.relative_to(ROOT)}:{node.lineno} {fault}"
        for path, node in dict.fromkeys(exported(package))
        for fault in faults(parsed(path), node)
    ] == []


EXPLAINED = '''
class UnreadableError(ValueError):
    """It cannot be read."""

def read(path, side):
    """Read a file.

    Args:
        path: The file.
        side: Pixels.

    Raises:
        UnreadableError: It cannot be read.
    """
    try:
        return _open(path)
    except OSError as error:
        raise UnreadableError(path) from error

def _open(path):
    if not path:
        raise OSError(path)
'''


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("", "", []),
        ("        side: Pixels.\n", "", ["read does not explain side"]),
        ("Read a file.", "Read a file. See `Reader.read`.", []),
        ("        UnreadableError: It", "        KeyError: It", ["read does not say when it raises UnreadableError"]),
        ("raise OSError(path)", "raise KeyError(path)", ["read does not say when it raises KeyError"]),
    ],
)
def test_faults_of_a_function(old: str, new: str, fault: list[str]) -> None:
    tree = ast.parse(EXPLAINED.replace(old, new, 1) if old else EXPLAINED)
    assert faults(tree, defined(tree)["read"]) == fault


FIELDS = '''
@dataclasses.dataclass
class Cut:
    """A part of a picture.

    Attributes:
        left: First column.
    """

    left: int
    """0 or more."""
    top: int
    side: int = Field(description="Pixels.")
    _cached: int = 0
'''


def test_faults_of_fields() -> None:
    tree = ast.parse(FIELDS)
    assert faults(tree, defined(tree)["Cut"]) == ["Cut does not explain top"]
