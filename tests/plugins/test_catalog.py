"""The index of known plugins: its entries, its compiled form, and how it is searched."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from medvistagym_core.plugins import build_catalog, load_catalog

HERE = Path(__file__).resolve().parents[2]
ENTRIES = sorted((HERE / "registry").glob("*.toml"))

MINIMAL = """
distribution = "medvistagym-invert"
plugin = "invert"
summary = "Inverts grey levels."
license = "Apache-2.0"
api = ">=1"
maintainers = ["A. Stranger"]
"""


def write(folder: Path, text: str = MINIMAL, name: str = "medvistagym-invert") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text, "utf-8")
    return file


def test_the_shipped_index_is_the_compiled_registry() -> None:
    assert load_catalog() == build_catalog(ENTRIES), "run `make docs`"


@pytest.mark.parametrize("file", ENTRIES, ids=lambda file: file.stem)
def test_every_entry_validates_against_the_published_schema(file: Path) -> None:
    import jsonschema

    schema = json.loads((HERE / "schemas/v1/registry-entry.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(tomllib.loads(file.read_text("utf-8")))
    assert not validator.is_valid({"distribution": "x"})


def test_every_first_party_plugin_has_an_entry_that_tells_the_truth() -> None:
    projects = sorted([*HERE.glob("plugins/*/pyproject.toml"), *HERE.glob("trainers/*/pyproject.toml")])
    assert projects
    entries = {entry.distribution: entry for entry in load_catalog().entries}
    for file in projects:
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        if "medvistagym" not in project.get("entry-points", {}):  # a protocol or adapters, and no plugin
            assert project["name"] in ("medvistagym-mcp", "medvistagym-specialists")
            continue
        entry = entries[project["name"]]
        assert [entry.plugin] == list(project["entry-points"]["medvistagym"])
        assert entry.license == project["license"]


def test_what_the_entries_list_is_what_the_plugins_bring() -> None:
    from medvistagym_core.plugins import Registry

    registry = Registry.discover()
    for entry in load_catalog().entries:
        brought = sorted(tool.name for tool in registry.tools.values() if tool.plugin == entry.plugin)
        assert brought == [tool.name for tool in entry.tools]
    assert {name for entry in load_catalog().entries for name in entry.tasks} <= set(registry.tasks)
    assert {name for entry in load_catalog().entries for name in entry.trainers} <= set(registry.trainers)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('license = "Apache-2.0"', 'license = "Nonsense-1.0"'), "SPDX"),
        (('api = ">=1"', 'api = "one or so"'), "version specifier"),
        (('plugin = "invert"', 'plugin = "Invert!"'), "plugin"),
        (('maintainers = ["A. Stranger"]', "maintainers = []"), "maintainers"),
        (('api = ">=1"', 'api = ">=1"\nspeed = "fast"'), "speed"),
        (('distribution = "medvistagym-invert"', 'distribution = "medvistagym-other"'), "must be named"),
    ],
)
def test_a_bad_entry_is_refused_with_its_file_and_reason(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    file = write(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(ValueError, match=said) as caught:
        build_catalog([file])
    assert file.name in str(caught.value)


def test_two_entries_cannot_claim_one_tool(tmp_path: Path) -> None:
    tool = '\n[[tools]]\nname = "invert"\nsummary = "Inverts."\n'
    first = write(tmp_path, MINIMAL + tool)
    second = write(tmp_path, MINIMAL.replace("invert", "negative") + tool, "medvistagym-negative")
    with pytest.raises(ValueError, match=r"tool 'invert' is claimed more than once") as caught:
        build_catalog([first, second])
    assert "medvistagym-negative" in str(caught.value)


def test_search_finds_by_word_and_modality() -> None:
    index = load_catalog()
    assert index.search(["window"], "CT")[0].distribution == "medvistagym-dicom"
    assert index.search(["WINDOW"], "ct") == index.search(["window"], "CT")
    assert "medvistagym-dicom" not in [entry.distribution for entry in index.search(["window"], "SM")]
    assert index.search(["no", "such", "words"]) == ()
    assert len(index.search()) == len(index.entries)


def test_a_known_tool_names_its_distribution() -> None:
    entry = load_catalog().entry_for_tool("zoom")
    assert entry is not None
    assert entry.install == "pip install medvistagym-dicom"
    assert load_catalog().entry_for_tool("no_such_tool") is None
