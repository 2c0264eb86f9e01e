"""Environments as they are after ten years: whatever stands beside a plugin, it is found, and what is broken is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from medvistagym_core.plugins import Environment, discover, scan_environment

POINT = "[medvistagym]\nprobe = probe_plugin\n"
MODULE = '''
from medvistagym_core import hookimpl, tool

@tool
def probe(n: int) -> str:
    """Say a number.

    Args:
        n: The number.
    """
    return str(n)

@hookimpl
def medvistagym_tools():
    return [probe]
'''


class Site:
    """A folder of packages, as installers leave it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        name: str = "probe-plugin",
        *,
        version: str = "1.0",
        points: str | bytes | None = POINT,
        metadata: str | bytes | None = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        folder: str | None = None,
    ) -> Path:
        info = self.folder / (folder or f"{name.replace('-', '_')}-{version}.dist-info")
        info.mkdir(parents=True)
        if isinstance(metadata, str):
            metadata = metadata.replace("{name}", name).replace("{version}", version).encode()
        for file, content in (("METADATA", metadata), ("entry_points.txt", points)):
            if content is not None:
                (info / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path)


def probes(environment: Environment) -> list[tuple[str, str, str]]:
    return [(p.point.name, p.distribution, p.version) for p in environment.plugins if p.point.name == "probe"]


HEALTHY = [("probe", "probe-plugin", "1.0")]
BESIDE = {
    "a malformed line": b"[console_scripts]\nfoo\n",
    "another malformed line": b"[console_scripts]\nfoo = = bar !\n",
    "a line before any group": b"foo = bar\n",
    "an unclosed group": b"[console_scripts\nfoo = bar:baz\n",
    "Latin-1": "[console_scripts]\nm\xfcller = m:main\n".encode("latin-1"),
    "UTF-16": "[console_scripts]\nfoo = bar\n".encode("utf-16"),
    "zeros": b"\0" * 100,
    "nothing": b"",
    "a kilobyte of noise": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("what", BESIDE)
def test_another_distributions_entry_points_take_nothing_along(site: Site, what: str) -> None:
    site.install()
    before = len(scan_environment().plugins)
    info = site.install("broken-other", points=BESIDE[what])
    environment = scan_environment()
    assert probes(environment) == HEALTHY
    assert len(environment.plugins) == before
    assert environment.broken == ()
    if "malformed line" in what:
        assert any(str(info / "entry_points.txt") in fault and "line" in fault for fault in environment.faults)


METADATA = {
    "Latin-1": "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nAuthor: M\xfcller\n".encode("latin-1"),
    "none": None,
    "no name": "Metadata-Version: 2.1\nVersion: 1.0\n",
    "no version": "Metadata-Version: 2.1\nName: {name}\n",
    "an empty name": "Name: \nVersion: \n",
    "Windows line ends": "Metadata-Version: 2.1\r\nName: {name}\r\nVersion: 1.0\r\n\r\nName: other\r\n",
    "nothing": "",
}


@pytest.mark.parametrize("what", METADATA)
def test_metadata_of_others_and_of_the_plugin_itself_may_be_anything(site: Site, what: str) -> None:
    own = METADATA[what]
    own = own.replace(b"{name}", b"probe-plugin") if isinstance(own, bytes) else own
    info = site.install(metadata=own)
    site.install("other", points="[console_scripts]\nx = y:z\n", metadata=own)
    environment = scan_environment()
    assert probes(environment) == HEALTHY
    (plugin,) = (p for p in environment.plugins if p.point.name == "probe")
    if what in ("Latin-1", "none", "no name", "nothing"):
        assert any(str(info) in note for note in plugin.notes)


def test_what_an_installer_left_behind_is_no_plugin(site: Site) -> None:
    site.install()
    site.install(folder="~robe_plugin-0.9.dist-info", version="0.9")
    site.install("gone", points=POINT.replace("probe", "gone"), folder="~one-1.0.dist-info")
    environment = scan_environment()
    assert probes(environment) == HEALTHY
    assert not [p for p in environment.plugins if p.point.name == "gone"]


def test_of_two_versions_in_one_folder_the_newer_counts_and_both_are_told(site: Site) -> None:
    for version in ("0.9", "0.10", "0.2"):
        site.install(version=version)
    environment = scan_environment()
    assert probes(environment) == [("probe", "probe-plugin", "0.10")]
    assert any("3 installations of probe-plugin" in fault and "0.10" in fault for fault in environment.faults)


def test_the_first_on_the_path_hides_the_same_distribution_behind_it(site: Site, tmp_path: Path) -> None:
    site.install(version="1.0")
    Site(tmp_path / "later").install(version="2.0")
    sys.path.append(str(tmp_path / "later"))
    try:
        assert probes(scan_environment()) == HEALTHY
    finally:
        sys.path.remove(str(tmp_path / "later"))


@pytest.mark.parametrize(
    ("line", "name"),
    [("probe_plugin", "probe_plugin"), ("probe = ", "probe"), ("probe = a b", "probe"), ("= probe_plugin", "?"),
     ("probe: probe_plugin", "probe: probe_plugin")],
)  # fmt: skip
def test_a_malformed_line_of_the_plugins_own_is_a_failure_by_name(site: Site, line: str, name: str) -> None:
    info = site.install(points=f"[medvistagym]\n{line}\nprobe_too = probe_plugin\n")
    environment = scan_environment()
    assert [p.point.name for p in environment.plugins if p.distribution == "probe-plugin"] == ["probe_too"]
    ((broken, distribution, version, sentence),) = environment.broken
    assert (broken, distribution, version) == (name, "probe-plugin", "1.0")
    assert f"line 2 of {info / 'entry_points.txt'}" in sentence
    assert "NAME = MODULE" in sentence


@pytest.mark.parametrize(
    "points",
    [
        "[medvistagym]\nprobe = probe_plugin [gpu]\n",
        "\ufeff[medvistagym]\nprobe=probe_plugin\n",
        "# a comment\n; another\n\n[ medvistagym ]\n  probe  =  probe_plugin  # why\n",
        "[medvistagym]\r\nprobe = probe_plugin\r\n",
        "[console_scripts]\nfoo\n[medvistagym]\nprobe = probe_plugin\n[other]\nbar\n",
    ],
)
def test_a_plugin_is_found_however_its_file_is_laid_out(site: Site, points: str) -> None:
    site.install(points=points)
    assert probes(scan_environment()) == HEALTHY


def test_egg_info_of_old_setuptools_is_read_too(site: Site) -> None:
    info = site.folder / "probe_plugin.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: probe-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINT)
    (info / "requires.txt").write_text("medvistagym-core>=99\n\n[gpu]\ntorch\n")
    (site.folder / "distutils_only-1.0.egg-info").write_text("Metadata-Version: 1.0\nName: distutils-only\n")
    environment = scan_environment()
    assert probes(environment) == HEALTHY
    assert [p.requires for p in environment.plugins if p.point.name == "probe"] == [("medvistagym-core>=99",)]


def test_files_in_the_place_of_folders_and_folders_in_the_place_of_files(site: Site) -> None:
    site.install()
    (site.folder / "file-1.0.dist-info").write_text("no folder")
    (site.folder / "folders-1.0.dist-info" / "entry_points.txt").mkdir(parents=True)
    (site.folder / "folders-1.0.dist-info" / "METADATA").mkdir()
    site.install("leads-nowhere", points=None)
    (site.folder / "leads_nowhere-1.0.dist-info" / "entry_points.txt").symlink_to("gone.txt")
    (site.folder / "loop-1.0.dist-info").symlink_to(site.folder / "loop-1.0.dist-info")
    (site.folder / "broken.egg").write_bytes(b"PK\x03\x04 no archive")
    sys.path.append(str(site.folder / "broken.egg"))
    try:
        environment = scan_environment()
        assert probes(environment) == HEALTHY
    finally:
        sys.path.remove(str(site.folder / "broken.egg"))
    for where, reason in (("folders-1.0", "cannot be read"), ("leads_nowhere-1.0", "leads to no file")):
        assert [fault for fault in environment.faults if where in fault and f"entry_points.txt {reason}" in fault]


def test_a_finder_that_fails_hides_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_spec(*given: object) -> None:
            return None

        @staticmethod
        def find_distributions(context: object) -> object:
            raise RuntimeError("out of order")

    site.install()
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    environment = scan_environment()
    assert probes(environment) == HEALTHY
    assert any("out of order" in fault for fault in environment.faults)


@pytest.mark.e2e
def test_every_command_lives_in_such_an_environment(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "probe_plugin.py").write_text(MODULE)
    site.install(metadata=METADATA["Latin-1"].replace(b"{name}", b"probe-plugin"))  # type: ignore[union-attr]
    site.install("one-line", points="[medvistagym]\nnothing\n")
    site.install("twice", points="[medvistagym]\ntwin = probe_plugin\ntwin = other_module\n")
    for number, (_, content) in enumerate(BESIDE.items()):
        site.install(f"beside-{number}", points=content, metadata=METADATA["no name"])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medvistagym_core.cli", *argv]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    listed = run("plugins", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    reports = {report["name"]: report for report in json.loads(listed.stdout)}
    assert (reports["probe"]["state"], reports["probe"]["tools"]) == ("loaded", ["probe"])
    assert "Latin-1" in reports["probe"]["notes"][0]
    assert (reports["nothing"]["state"], reports["nothing"]["distribution"]) == ("failed", "one-line")
    assert reports["twin"]["state"] == "failed" or "twice" in reports["twin"]["reason"]
    assert reports["dicom"]["state"] == "loaded"
    assert "beside_0" in listed.stderr
    for argv in (["tools", "list"], ["plugins", "search", "window"], ["--version"]):
        done = run(*argv)
        assert done.returncode == 0, done.stderr
    # From here on pydantic, gymnasium and others read the metadata of every distribution for themselves.
    assert run("tools", "call", "probe:probe", "--n", "3").stdout == "3\n"
    assert run("tasks", "list").returncode == 0
    played = run("eval", "--task", "scoutvqa", "--policy", "random", "--cases", "2", "--json")
    assert json.loads(played.stdout)["rows"][-1]["n"] == 2, played.stderr
    # So they do in the processes that a command starts.
    checked = run("plugins", "check", "probe", "--examples", "1")
    assert checked.returncode == 0, checked.stdout
    (tmp_path / "by_hand.py").write_text(MODULE + "\nimport pydantic\n\nclass Pair(pydantic.BaseModel):\n    n: int\n")
    by_hand = ("--tools-from", str(tmp_path / "by_hand.py"), "--plugins", "", "--executor", "process")
    assert run("tools", "call", "probe", "--n", "3", *by_hand).stdout == "3\n"
    PIL.Image.new("L", (8, 8)).save(tmp_path / "a.tif")
    (tmp_path / "q.jsonl").write_text('{"question": "Is it?", "answer": "yes", "image": "a.tif"}\n')
    audited = run("tasks", "audit", "--task-file", str(tmp_path / "q.jsonl"))
    assert audited.returncode == 0
    assert "was left out" not in audited.stderr


BESIDE_THE_PLUGIN: dict[str, dict[str, Any]] = {
    "a byte-order mark before the name": {"metadata": "\ufeffName: probe-plugin\nVersion: 1.0\n"},
    "UTF-16": {"metadata": "Metadata-Version: 2.1\nName: probe-plugin\nVersion: 1.0\n".encode("utf-16")},
    "old Mac line ends": {"metadata": "Metadata-Version: 2.1\rName: probe-plugin\rVersion: 1.0\r"},
    "a description that reads like fields": {
        "metadata": "Name: probe-plugin\nVersion: 1.0\nDescription: a\n        Requires-Dist: medvistagym-core>=99\n\tName: b\n"
    },
    "a second name": {"metadata": "Name: probe-plugin\nVersion: 1.0\nName: two\nVersion: 2\n"},
    "a requirement for another Python": {
        "metadata": "Name: probe-plugin\nVersion: 1.0\nRequires-Dist: medvistagym-core>=99; python_version < '3'\n"
    },
    "a requirement of an extra": {
        "metadata": "Name: probe-plugin\nVersion: 1.0\nRequires-Dist: medvistagym-core>=99; extra == 'x'\n"
    },
    "a requirement by address": {
        "metadata": "Name: probe-plugin\nVersion: 1.0\nRequires-Dist: medvistagym-core @ file:///core.whl\n"
    },
    "a copy of its folder": {"folder": "probe_plugin-1.0 (1).dist-info"},
    "a folder without a version": {"folder": "probe_plugin.dist-info"},
    "an object": {"points": "[medvistagym]\nprobe = probe_plugin : plugin [gpu]\n"},
    "the same line twice": {"points": POINT + "probe = probe_plugin\n"},
}


@pytest.mark.parametrize("what", BESIDE_THE_PLUGIN)
def test_a_plugin_loads_whatever_its_installer_wrote(site: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.delitem(sys.modules, "probe_plugin", raising=False)
    (site.folder / "probe_plugin.py").write_text(f"{MODULE}\nimport sys\nplugin = sys.modules[__name__]\n")
    if what == "a copy of its folder":
        site.install()
    site.install(**BESIDE_THE_PLUGIN[what])
    (plugin,) = (each for each in discover(["probe"]) if each.report.state != "disabled")
    report = plugin.report
    assert (report.name, report.distribution, report.version, report.state) == (
        "probe",
        "probe-plugin",
        "1.0",
        "loaded",
    )
    assert report.tools == ("probe",)
    assert report.faults == ()


@pytest.mark.parametrize(
    "requirement",
    [
        "medvistagym-core>=99",
        "medvistagym-core (>=99)",
        "MedVistaGym.Core ~= 99.0",
        "medvistagym_core[x,y]>=99",
        "medvistagym-core>=99; python_version >= '3.8'",
        "medvistagym-core>=99 ; sys_platform != 'amiga' and python_version > '3'",
    ],
)
def test_a_requirement_on_a_later_core_is_read_in_every_spelling(site: Site, requirement: str) -> None:
    site.install(metadata=f"Name: probe-plugin\nVersion: 1.0\nRequires-Dist: {requirement}\n")
    (plugin,) = (each for each in discover(["probe"]) if each.report.state != "disabled")
    assert plugin.report.state == "incompatible"
    assert "99" in plugin.report.reason


def test_names_with_dashes_in_a_folder_are_not_taken_for_versions(site: Site) -> None:
    for name in ("probe-a", "probe-b"):
        metadata = f"Name: {name}\nVersion: 1.0\n"
        site.install(name, folder=f"{name}-1.0.dist-info", points=f"[medvistagym]\n{name} = m\n", metadata=metadata)
    environment = scan_environment()
    assert {"probe-a", "probe-b"} <= {plugin.point.name for plugin in environment.plugins}
    assert environment.faults == ()


@pytest.mark.parametrize("group", ["MedVistaGym", "medvistagym.plugins", "medvistagym_plugin", "medvistagym-core"])
def test_a_group_that_is_nearly_the_right_one_is_told(site: Site, group: str) -> None:
    info = site.install(points=f"[{group}]\nprobe = probe_plugin\nprobe_too = probe_plugin\n")
    environment = scan_environment()
    assert not probes(environment)
    (fault,) = environment.faults
    assert fault == f"{info / 'entry_points.txt'} has a group {group}; plugins are found in the group medvistagym alone"


@pytest.mark.parametrize("name", ["my plugin", "a:b", "a,b", "*", "[x]"])
def test_a_name_that_cannot_be_asked_for_is_told(site: Site, name: str) -> None:
    site.install(points=f"[medvistagym]\n{name} = probe_plugin\n")
    ((_, _, _, sentence),) = [line for line in scan_environment().broken if line[1] == "probe-plugin"]
    assert "the NAME of a plugin has no blanks, commas, colons or brackets" in sentence


@pytest.mark.parametrize("kind", ["zip", "egg", "zipped egg", "develop"])
def test_a_plugin_is_found_in_whatever_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.delitem(sys.modules, "probe_plugin", raising=False)
    info = {"zip": "probe_plugin-1.0.dist-info", "develop": "probe_plugin.egg-info"}.get(kind, "EGG-INFO")
    metadata = "METADATA" if kind == "zip" else "PKG-INFO"
    files = {f"{info}/{metadata}": "Name: probe-plugin\nVersion: 1.0\n", f"{info}/entry_points.txt": POINT}
    files["probe_plugin.py"] = MODULE
    place = tmp_path / {"zip": "all.zip", "develop": "src"}.get(kind, "probe_plugin-1.0-py3.11.egg")
    if "zip" in kind:
        with zipfile.ZipFile(place, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(content)
    monkeypatch.syspath_prepend(str(place))
    (plugin,) = (each for each in discover(["probe"]) if each.report.state != "disabled")
    assert (plugin.report.state, plugin.report.version, plugin.report.tools) == ("loaded", "1.0", ("probe",))


HEAD = MODULE.partition("@hookimpl")[0]
SAYS_NOTHING = {
    "no hooks": (HEAD, "it offers nothing: "),
    "a hook without its mark": (MODULE.replace("@hookimpl\n", ""), "medvistagym_tools is not marked with @hookimpl"),
    "a misspelt one without its mark": (
        HEAD + "def medvistagym_tool():\n    return [probe]\n",
        "medvistagym_tool is not marked with @hookimpl",
    ),
    "no return": (MODULE.replace("return [probe]", "[probe]"), "returns a list, not None; is its return missing?"),
    "a mapping that is none": (
        MODULE + "\n@hookimpl\ndef medvistagym_rewards():\n    pass\n",
        "medvistagym_rewards returns a mapping of names, not None",
    ),
    "an async hook": (
        MODULE.replace("def medvistagym_tools", "async def medvistagym_tools"),
        "medvistagym_tools is a plain function, not an async one",
    ),
    "an argument": (MODULE.replace("tools()", "tools(config)"), "Argument(s) {'config'} are declared in the hookimpl"),
    "a misspelt hook": (MODULE.replace("medvistagym_tools", "medvistagym_tool"), "unknown hook 'medvistagym_tool'"),
    "one tool": (MODULE.replace("return [probe]", "return probe"), "medvistagym_tools returns a list, not Tool"),
    "null bytes": ("\0" + MODULE, "source code string cannot contain null bytes"),
    "a group of exceptions": ("raise ExceptionGroup('several', [ValueError('one')])", "ExceptionGroup: several"),
    "endless recursion": ("def f():\n    f()\nf()\n", "RecursionError"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAYS_NOTHING)
def test_a_plugin_that_offers_nothing_says_why(site: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.delitem(sys.modules, "probe_plugin", raising=False)
    source, says = SAYS_NOTHING[what]
    (site.folder / "probe_plugin.py").write_text(source)
    site.install()
    (plugin,) = (each for each in discover(["probe"]) if each.report.state != "disabled")
    assert any(says in sentence for sentence in (*plugin.report.faults, *plugin.report.notes, plugin.report.reason)), (
        plugin.report
    )


def test_a_plugin_that_goes_elsewhere_takes_nobody_along(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "probe_plugin", raising=False)
    monkeypatch.chdir(tmp_path)
    (site.folder / "probe_plugin.py").write_text(f"import os\nos.chdir('/')\n{MODULE}")
    site.install()
    assert "loaded" in [plugin.report.state for plugin in discover(["probe"])]
    assert Path.cwd() == tmp_path
