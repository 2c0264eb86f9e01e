"""The architecture page is drawn from the contracts, and its links lead somewhere."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import medvistagym_core
from medvistagym_core import Image, LocalExecutor, Toolbox, ToolCall, tool
from medvistagym_core.environment import Answer, Case, Episode, step_episodes
from medvistagym_core.plugins._hooks import HookSpecs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ERRORS = (ROOT / "docs" / "errors.md").read_text("utf-8")


def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]


def test_the_diagram_shows_the_layers_of_the_contract():
    (layers,) = [contract["layers"] for contract in contracts() if contract["type"] == "layers"]
    rooms = [layer.split(" | ") for layer in layers]
    arrows = {(above, below) for a, b in itertools.pairwise(rooms) for above in a for below in b}
    assert set(re.findall(r"^    (\w+) --> (\w+)$", PAGE, re.MULTILINE)) == arrows
    assert re.findall(r'^    (\w+)\["', PAGE, re.MULTILINE) == [room for layer in rooms for room in layer]


def test_every_room_is_in_the_diagram():
    rooms = {module.name for module in pkgutil.iter_modules(medvistagym_core.__path__) if module.ispkg}
    assert rooms == set(re.findall(r'^    (\w+)\["', PAGE, re.MULTILINE))


@pytest.mark.parametrize("page", ["architecture.md", "errors.md"])
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "docs" / page).read_text("utf-8"))
    assert links or page == "errors.md"
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@tool(light=True)
def describe(image: Image, detail: int = 0) -> str:
    """Describe an image.

    Args:
        image: The image.
        detail: How much to say.
    """
    return "a square"


def test_the_life_of_a_call_lists_each_file_that_one_passes():
    table = PAGE.split("## The life of a call")[1].split("These are all")[0]
    case = Case(
        "c", "t", "test", 0, "f", "What is it?", (Image(pixels=np.zeros((8, 8), np.uint8)),), Answer("a square")
    )
    source = Path(medvistagym_core.__file__).parent
    passed = set()

    def note(frame, event, _):
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(source):
            passed.add(file.relative_to(source).as_posix())

    with LocalExecutor(Toolbox({"describe": describe})) as executor:
        for detail in (1, 2):  # the first builds what is built once, such as the model of the arguments
            episode = Episode(case, executor.toolbox)
            call = episode.settings.protocol.format_turn(
                calls=[ToolCall(name="describe", arguments={"image": 0, "detail": detail})]
            )
            sys.setprofile(note if detail == 2 else None)
            try:
                step_episodes(executor, [episode], [call])
                blocks = episode.new_blocks
            finally:
                sys.setprofile(None)
    assert blocks == [{"type": "text", "text": "a square"}]
    assert passed == set(re.findall(r"src/medvistagym_core/([\w/]+\.py)\)", table))


def test_every_hook_and_contract_is_in_the_table():
    rows = re.findall(r"^\| (.+?) \| `(medvistagym_core[\w.]*)` \| (.+?) \|$", PAGE, re.MULTILINE)
    hooks = {hook for *_, cell in rows for hook in re.findall(r"`(\w+)`", cell)}
    asked_again = {"medvistagym_segmentation_tools"}
    assert hooks == {name for name in vars(HookSpecs) if name.startswith("medvistagym_")} - asked_again
    for names, room, _ in rows:
        for name in re.findall(r"`@?(\w+)`", names):
            assert hasattr(importlib.import_module(room), name), (room, name)
            assert name in {*medvistagym_core.__all__}, name


def exceptions():
    found = {}
    for module in pkgutil.walk_packages(medvistagym_core.__path__, "medvistagym_core."):
        if module.name.endswith(("__main__", "_worker_main")):
            continue
        found |= {
            name: value
            for name, value in vars(importlib.import_module(module.name)).items()
            if inspect.isclass(value)
            and issubclass(value, BaseException)
            and value.__module__ == module.name
            and not issubclass(value, Warning)
        }
    return found


def drawn(block):
    """The exceptions above each exception of a tree, from the outermost on."""
    tree = {}
    path = []
    for line in ERRORS.split("```")[block].splitlines():
        if match := re.match(r"([│ ├└─]*)(\w+Error|Exception)\b", line):
            path = [*path[: len(match[1]) // 4], match[2]]
            tree[match[2]] = path[:-1]
    return tree


def test_the_tree_shows_every_exception_under_what_it_is():
    tree = drawn(1)
    between = ERRORS.split("never seen outside")[1]
    for name, value in exceptions().items():
        if name.startswith("_") or f"`{name}`" in between:
            continue
        assert [base.__name__ for base in value.__mro__ if base.__name__ == tree[name][-1]], name
    assert {name for name in tree if name not in {"Exception", "TypeError", "ValueError"}} <= exceptions().keys()


def test_the_second_tree_shows_every_exception_of_the_other_distributions():
    tree = drawn(3)
    classes = {}
    for path in [*ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("trainers/*/src/**/*.py")]:
        if "Error" in (text := path.read_text("utf-8")):
            nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef) and node.bases)
            classes |= {node.name: ast.unparse(node.bases[0]) for node in nodes}
    between = re.findall(r"`(\w+)`\s+\(becomes", ERRORS.split("never seen outside")[2])
    shown = {name: bases[-1] for name, bases in tree.items() if len(bases) > 1 and name != "SelectionError"}
    assert shown == {
        name: base
        for name, base in classes.items()
        if base in {"Exception", *tree} and not name.startswith("_") and name not in between
    }
