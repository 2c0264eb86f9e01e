"""Every distribution is described in full, in step with the others, and installs from its archives where nothing else is."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
HOMES = {
    tomllib.loads((home / "pyproject.toml").read_text("utf-8"))["project"]["name"]: home
    for home in [
        ROOT,
        *sorted(
            file.parent for part in ("native", "plugins", "trainers") for file in ROOT.glob(f"{part}/*/pyproject.toml")
        ),
    ]
}
PROJECTS: dict[str, dict[str, Any]] = {
    name: tomllib.loads((home / "pyproject.toml").read_text("utf-8"))["project"] for name, home in HOMES.items()
}
CORE = "medvistagym-core"
EXTRAS = PROJECTS[CORE]["optional-dependencies"]


def needs(name: str, extras: frozenset[str] = frozenset()) -> set[tuple[str, frozenset[str]]]:
    """All that a distribution asks for, through those of this repository; a foreign one is not looked into."""
    table = PROJECTS[name]
    lines = [
        *table.get("dependencies", []),
        *(one for extra in extras for one in table["optional-dependencies"][extra]),
    ]
    found = set()
    for one in map(Requirement, lines):
        found.add((canonicalize_name(one.name), frozenset(one.extras)))
        if one.name in PROJECTS:
            found |= needs(one.name, frozenset(one.extras))
    return found


@pytest.mark.parametrize("name", HOMES)
def test_a_distribution_is_described_in_full(name: str) -> None:
    table, home = PROJECTS[name], HOMES[name]
    assert "not for clinical use" in table["description"]
    assert (home / table["readme"]).read_text("utf-8").strip()
    assert (table["license"], table["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert (home / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert table["keywords"]
    assert table["authors"]
    assert {"Development Status :: 3 - Alpha", "Typing :: Typed"} <= set(table["classifiers"])
    (package,) = (path for path in (home / "src").iterdir() if path.is_dir() and not path.name.endswith(".egg-info"))
    assert (package / "py.typed").is_file()
    assert package.name == name.replace("medvistagym-core", "medvistagym_core").replace("-", "_")


def test_every_address_is_that_of_the_root() -> None:
    sentences = runpy.run_path(str(ROOT / "docs" / "install_sentences.py"))
    changed = [file for file, text in sentences["addressed"]().items() if file.read_text("utf-8") != text]
    assert changed == [], "run docs/install_sentences.py"
    urls = PROJECTS[CORE]["urls"]
    assert {"Repository", "Issues", "Changelog"} <= urls.keys()
    assert all(table["urls"] == urls for table in PROJECTS.values())
    entry = json.loads((ROOT / "plugins" / "medvistagym-mcp" / "server.json").read_text("utf-8"))
    assert entry["name"] == f"io.github.{urls['Repository'].split('/')[3]}/medvistagym-mcp"


def test_versions_are_in_step() -> None:
    (version,) = {table["version"] for table in PROJECTS.values()}
    for name, table in PROJECTS.items():
        wanted = [
            *table.get("dependencies", []),
            *(one for extra in table.get("optional-dependencies", {}).values() for one in extra),
        ]
        for one in map(Requirement, wanted):
            if one.name in PROJECTS and one.specifier:
                assert version in one.specifier, f"{name} wants {one}"
    for name, home in HOMES.items():
        source = (home / "src" / name.replace("-", "_") / "__init__.py").read_text("utf-8")
        assert set(re.findall(r'^__version__ = "(.*)"$', source, re.MULTILINE)) <= {version}, name


def test_all_is_everything_of_ours() -> None:
    assert {name for name, _ in needs(CORE, frozenset({"all"}))} >= PROJECTS.keys() - {CORE}


def test_extras_name_distributions_of_this_repository() -> None:
    named = {Requirement(one).name for extra, wanted in EXTRAS.items() if extra != "testing" for one in wanted}
    assert {name for name in named if name.startswith("medvistagym")} <= PROJECTS.keys()


def test_the_tools_are_all_there_and_need_no_torch() -> None:
    wanted = {name for name, _ in needs(CORE, frozenset({"tools"}))}
    with_tools = {
        table["distribution"]
        for file in (ROOT / "registry").glob("*.toml")
        if (table := tomllib.loads(file.read_text("utf-8"))).get("tools")
    }
    assert wanted >= with_tools & PROJECTS.keys()
    assert not wanted & {"torch", "transformers", "monai", "kornia", "trl"}


def test_install_commands_of_every_page_work_where_the_switch_says() -> None:
    sentences = runpy.run_path(str(ROOT / "docs" / "install_sentences.py"))
    published, rewrite = sentences["PUBLISHED"], sentences["rewrite"]
    pages = sentences["pages"]()
    assert any("pip install" in page.read_text("utf-8") for page in pages)
    assert [page.name for page in pages if rewrite(page.read_text("utf-8"), published) != page.read_text("utf-8")] == []


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        ("medvistagym-dicom", ". ./plugins/medvistagym-dicom"),
        ("medvistagym-monai", ". ./plugins/medvistagym-segment ./plugins/medvistagym-monai"),
        ("'medvistagym-kornia[gpu]'", ". './plugins/medvistagym-kornia[gpu]'"),
        ("'medvistagym-core[mcp]'", "'.[mcp]' ./plugins/medvistagym-mcp"),
        ("'medvistagym-core[testing]'", "'.[testing]'"),
    ],
)
def test_install_commands_are_switched_both_ways(names: str, folders: str) -> None:
    rewrite = runpy.run_path(str(ROOT / "docs" / "install_sentences.py"))["rewrite"]
    text = "```\npip install {}    # a comment\n```\nor `pip install {}`, and never `pip install -e '.[test]'`.\n"
    assert rewrite(text.format(names, names), published=False) == text.format(folders, folders)
    assert rewrite(text.format(folders, folders), published=True) == text.format(names, names)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` builds: every distribution as an sdist, and from that a wheel."""
    folder = tmp_path_factory.mktemp("dist")
    for home in HOMES.values():
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(home)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.e2e
def test_archives_hold_licence_types_and_description(archives: Path) -> None:
    for name, table in PROJECTS.items():
        stem = f"{name.replace('-', '_')}-{table['version']}"
        with tarfile.open(archives / f"{stem}.tar.gz") as sdist:
            held = sdist.getnames()
        assert {f"{stem}/LICENSE", f"{stem}/README.md", f"{stem}/pyproject.toml"} <= set(held)
        assert not [path for path in held if "/plugins/medvistagym-" in path or "/trainers/" in path]
        (wheel,) = archives.glob(f"{stem}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
            metadata = Parser().parsestr(archive.read(f"{stem}.dist-info/METADATA").decode())
        assert f"{name.replace('-', '_')}/py.typed" in files
        assert f"{stem}.dist-info/licenses/LICENSE" in files
        assert metadata["License-Expression"] == "Apache-2.0"
        assert metadata["Requires-Python"] == ">=3.11"
        assert "not for clinical use" in metadata["Summary"]
        assert metadata.get_payload().strip()


def other_pythons() -> dict[str, str]:
    """Later interpreters that this machine has, on the path or kept by pyenv, by version."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in ("3.12", "3.13"):
        places = [shutil.which(f"python{version}"), *sorted(map(str, kept.glob(f"{version}.*/bin/python{version}")))]
        working = [
            one
            for one in places
            if one and subprocess.run([one, "-c", "import venv"], capture_output=True).returncode == 0
        ]
        if working:
            found[version] = working[0]
    return found


class Place:
    """A fresh virtual environment that sees nothing of this one."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "MEDVISTAGYM_PLUGINS")
        self.environment = {key: value for key, value in os.environ.items() if key not in hidden}

    def run(self, program: str, *argv: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin" / program), *map(str, argv)]
        done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def install(self, archives: Path, *requirements: str, constraint: Path = ROOT / "constraints.txt") -> None:
        """Ours from the folder alone, and then what they declare, in the versions that the tests run with or in others."""
        pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        ours = {
            name for one in requirements for name, _ in needs(Requirement(one).name, frozenset(Requirement(one).extras))
        }
        ours = (ours | {Requirement(one).name for one in requirements}) & PROJECTS.keys()
        wheels = [wheel for name in sorted(ours) for wheel in archives.glob(f"{name.replace('-', '_')}-*.whl")]
        assert len(wheels) == len(ours), f"{archives} holds {wheels}, one wheel each of {sorted(ours)} is needed"
        self.run("python", *pip, "--no-deps", *wheels)
        self.run("python", *pip, "--constraint", constraint, *requirements)
        self.run("python", "-m", "pip", "--disable-pip-version-check", "check")

    def installed(self) -> set[str]:
        done = self.run("python", "-m", "pip", "--disable-pip-version-check", "list", "--format", "json")
        return {canonicalize_name(one["name"]) for one in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def tools(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("tools"))
    place.install(archives, f"{CORE}[tools,mcp]")
    return place


@pytest.fixture(scope="module")
def scan(tools: Place) -> Path:
    program = "import pydicom.data; print(pydicom.data.get_testdata_file('CT_small.dcm', download=False))"
    return Path(tools.run("python", "-c", program).stdout.strip())


@pytest.mark.slow
@pytest.mark.e2e
def test_the_core_installs_alone(archives: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "core")
    place.install(archives, CORE)
    assert not {name for name in place.installed() if name.startswith("medvistagym")} - {CORE}
    assert place.run("medvistagym", "tools", "list").stdout.strip() == ""
    assert "medvistagym-dicom" in place.run("medvistagym", "plugins", "search", "window").stdout
    assert "research only" in place.run("medvistagym", "prompt").stdout
    shutil.rmtree(place.folder)


@pytest.mark.slow
@pytest.mark.e2e
def test_tools_install_without_torch_and_all_load(tools: Place) -> None:
    assert not tools.installed() & {"torch", "transformers", "monai", "kornia", "trl"}
    reports = json.loads(tools.run("medvistagym", "plugins", "list", "--json").stdout)
    assert {report["state"] for report in reports} == {"loaded"}
    listed = {line.split()[0] for line in tools.run("medvistagym", "tools", "list").stdout.splitlines()}
    assert {"dicom:window", "kornia:denoise", "monai:components", "ocr:read_text", "segment:segment"} <= listed


def walk_roads(place: Place, scan: Path, folder: Path) -> None:
    """The commands of the README that need no model."""
    picture = folder / "soft.png"
    place.run("medvistagym", "tools", "call", "window", scan, "--preset", "soft_tissue", "--out", picture)
    with PIL.Image.open(picture) as image:
        assert image.size == (128, 128)
        assert image.getextrema() != (0, 0)
    said = place.run("medvistagym", "tools", "call", "measure", scan, "--box", "400,400,500,500").stdout
    assert re.search(r"mean -?\d+ HU", said)
    mask = folder / "body.png"
    assert "mm2" in place.run("medvistagym", "tools", "call", "segment", scan, "--method", "body", "--out", mask).stdout
    place.run("medvistagym", "tools", "call", "components", mask)
    shown = json.loads(place.run("medvistagym", "tools", "show", "zoom", "--format", "openai").stdout)
    assert shown["function"]["parameters"]["required"] == ["image", "box"]
    assert '"zoom"' in place.run("medvistagym", "prompt", "--tools", "zoom").stdout
    for command in ("serve", "play", "view", "sample", "eval", "replay", "train"):
        assert place.run("medvistagym", command, "--help").stdout.startswith("usage:")


@pytest.mark.slow
@pytest.mark.e2e
def test_the_roads_of_the_readme(tools: Place, scan: Path, tmp_path: Path) -> None:
    walk_roads(tools, scan, tmp_path)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize(("version", "python"), other_pythons().items())
def test_tools_work_on_later_pythons(archives: Path, scan: Path, tmp_path: Path, version: str, python: str) -> None:
    place = Place(tmp_path / "place", python)
    assert place.run("python", "--version").stdout.startswith(f"Python {version}.")
    place.install(archives, f"{CORE}[tools,mcp]")
    reports = json.loads(place.run("medvistagym", "plugins", "list", "--json").stdout)
    assert {report["state"] for report in reports} == {"loaded"}
    walk_roads(place, scan, tmp_path)
    for name in ("denoise", "hide_text"):
        place.run("medvistagym", "tools", "call", name, scan, "--out", tmp_path / f"{name}.png")
    place.run("medvistagym", "tools", "call", "read_text", scan)
    shutil.rmtree(place.folder)


def oldest_versions(names: set[str]) -> dict[str, str]:
    """The oldest version that distributions of this repository allow of each foreign one, its patches included."""
    floors: dict[str, Version] = {}
    for one in (Requirement(line) for name in names for line in PROJECTS[name].get("dependencies", [])):
        lowest = [Version(part.version) for part in one.specifier if part.operator in (">=", "==")]
        if one.name not in PROJECTS and lowest:
            floors[one.name] = max(floors.get(one.name, lowest[0]), *lowest)
    return {name: f"{floor.major}.{floor.minor}" for name, floor in floors.items()}


@pytest.mark.slow
@pytest.mark.e2e
def test_tools_work_with_the_oldest_versions_that_they_allow(archives: Path, scan: Path, tmp_path: Path) -> None:
    ours = {name for name, _ in needs(CORE, frozenset({"tools", "mcp"}))} & PROJECTS.keys() | {CORE}
    oldest = oldest_versions(ours)
    assert {"numpy", "pydantic", "pydicom"} <= oldest.keys()
    constraint = tmp_path / "oldest.txt"
    constraint.write_text("".join(f"{name}=={version}.*\n" for name, version in oldest.items()))
    place = Place(tmp_path / "place")
    place.install(archives, f"{CORE}[tools,mcp]", constraint=constraint)
    installed = json.loads(place.run("python", "-m", "pip", "list", "--format", "json").stdout)
    versions = {canonicalize_name(one["name"]): Version(one["version"]) for one in installed}
    found = {name: versions[canonicalize_name(name)] for name in oldest}
    assert {name: f"{version.major}.{version.minor}" for name, version in found.items()} == oldest
    reports = json.loads(place.run("medvistagym", "plugins", "list", "--json").stdout)
    assert {report["state"] for report in reports} == {"loaded"}
    walk_roads(place, scan, tmp_path)
    call = ("medvistagym", "tools", "call")
    place.run(*call, "zoom", scan, "--box", "200,200,800,800", "--out", tmp_path / "part.nii.gz")
    said = place.run(*call, "measure", tmp_path / "part.nii.gz", "--box", "0,0,500,500").stdout
    assert re.search(r"mean -?\d+ HU", said)
    for name, *flags in (["denoise"], ["enhance_contrast", "--method", "clahe"], ["hide_text"]):
        place.run(*call, name, scan, *flags, "--out", tmp_path / f"{name}.png")
    shutil.rmtree(place.folder)


@pytest.mark.slow
@pytest.mark.e2e
def test_what_is_not_installed_says_what_to_install(tools: Place) -> None:
    refused = tools.run("medvistagym", "train", code=2).stderr
    assert "pip install 'medvistagym-core[train]'" in refused
    assert "Traceback" not in refused
