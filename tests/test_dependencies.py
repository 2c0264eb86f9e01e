"""Every package that a distribution imports is one that it declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = sorted(
    [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("trainers/*/pyproject.toml")]
)
NAMES = {
    "PIL": "pillow",
    "cc3d": "connected-components-3d",
    "cv2": "opencv-python-headless",
    "gdcm": "python-gdcm",
    "pydantic_core": "pydantic",
    "yaml": "pyyaml",
    "nrrd": "pynrrd",
}
# What the core works with where it is installed already, and never asks for: the checkpoint's own libraries (jinja2 renders its
# chat template), and `datasets`.
GUESTS = {"medvistagym-core": {"cv2", "datasets", "jinja2", "torch", "transformers"}}


def imports(source: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], file) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield (node.module or "").partition(".")[0], file


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.parent.name)
def test_what_is_imported_is_declared(project: Path) -> None:
    table = tomllib.loads(project.read_text())["project"]
    wanted = [
        *table.get("dependencies", []),
        *(one for extra in table.get("optional-dependencies", {}).values() for one in extra),
    ]
    declared = {re.split(r"[^\w.-]", one, maxsplit=1)[0].lower().replace("_", "-") for one in wanted}
    own = {path.name for path in (project.parent / "src").iterdir()}
    guests = GUESTS.get(table["name"], set())
    found = list(imports(project.parent / "src"))
    assert found
    undeclared = {
        f"{name} in {file.relative_to(ROOT)}"
        for name, file in found
        if name not in {*sys.stdlib_module_names, *own, *guests, "_typeshed"}
        and NAMES.get(name, name).lower().replace("_", "-") not in declared
    }
    assert not undeclared
