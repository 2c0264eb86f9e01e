"""Rooms are entered by their doors, doors say what they open, and tests stand where the rooms stand."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    path
    for home in (ROOT, *ROOT.glob("plugins/*"), *ROOT.glob("trainers/*"))
    for path in (home / "src").glob("medvistagym_*")
    if (path / "__init__.py").is_file()
)
SOURCES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
ROOMS = sorted({door.parent for package in PACKAGES for door in package.glob("*/**/__init__.py")} - {*PACKAGES})
# The module that gymnasium's ids name is one file above the rooms, so that the ids stay short.
ALIASES = {"medvistagym_core/gym.py"}
# What no single room is tested by: hostile input, the documentation, what tests share, a real vLLM, and benchmarks as a whole.
FOLDERS_OF_NO_ROOM = {"attacks", "docs", "engine", "real_vllm", "realsmoke", "support", "vqa_formats"}


def dotted(path: Path) -> tuple[str, ...]:
    """The package that a file stands in, such as ("medvistagym_core", "tools")."""
    src = next(parent for parent in path.parents if parent.name == "src")
    return path.parent.relative_to(src).parts


def imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and names of each import from this repository, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names if alias.name.startswith("medvistagym_"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medvistagym_"):
            yield node.lineno, str(node.module), [alias.name for alias in node.names]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_nothing_is_imported_past_a_door(package: Path) -> None:
    past = []
    for path in sorted(package.rglob("*.py")):
        here = dotted(path)
        if f"{here[0]}/{path.name}" in ALIASES and len(here) == 1:
            continue
        for line, module, names in imports(path):
            parts = [*module.split("."), *(name for name in names if name.startswith("_") and not name.endswith("__"))]
            private = next((i for i, part in enumerate(parts) if part.startswith("_")), None)
            if private is not None and here[:private] != tuple(parts[:private]):
                past.append(f"{path.relative_to(ROOT)}:{line} imports {'.'.join(parts)}")
    assert past == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_door_says_what_lives_there_what_it_may_use_and_what_it_offers(room: Path) -> None:
    door = ast.parse((room / "__init__.py").read_text("utf-8"))
    text = (ast.get_docstring(door) or "").lower()
    assert any(word in text for word in ("may use", "uses ", "use the"))
    stored = {node.id for node in ast.walk(door) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert "__all__" in stored


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_stands_behind_a_door_is_private(room: Path) -> None:
    inner = {path.parent for path in room.glob("*/__init__.py")}
    public = [path.name for path in room.iterdir() if not path.name.startswith(("_", ".")) and path not in inner]
    assert {name for name in public if name.endswith(".py")} == set()


def lines_of_code(path: Path) -> int:
    """Lines of a file without its docstrings: an argument that is explained makes no second noun."""
    text = path.read_text("utf-8")
    documented = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    ]
    prose = sum((node.body[0].end_lineno or 0) - node.body[0].lineno + 1 for node in documented)
    return len(text.splitlines()) - prose


def test_a_file_holds_one_noun() -> None:
    assert {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := lines_of_code(path)) > 360} == {}


def test_every_room_of_the_core_has_its_tests() -> None:
    core = ROOT / "src" / "medvistagym_core"
    rooms = [room.relative_to(core) for room in ROOMS if room.is_relative_to(core)]
    assert [str(room) for room in rooms if not [*(ROOT / "tests" / room).glob("test_*.py")]] == []


def test_folders_of_tests_are_rooms() -> None:
    rooms = {room.name for room in ROOMS}
    folders = {
        path.parent.relative_to(home)
        for home in (ROOT, *ROOT.glob("plugins/*"), *ROOT.glob("trainers/*"))
        for path in (home / "tests").rglob("test_*.py")
    }
    strange = {part for folder in folders for part in folder.parts if part != "tests"} - rooms - FOLDERS_OF_NO_ROOM
    assert strange == set()


def test_the_contracts_name_every_distribution() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    names = {package.name for package in PACKAGES}
    contracts = {contract["type"]: contract for contract in linter["contracts"]}
    assert set(linter["root_packages"]) == names
    assert set(contracts["acyclic_siblings"]["ancestors"]) == names
    assert names - {"medvistagym_core"} <= set(contracts["forbidden"]["forbidden_modules"])
