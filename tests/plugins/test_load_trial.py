"""Plugins that end the process which loads them: a report each, and the others are loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = """
import os
from medvistagym_core import Image, hookimpl, tool

with open(os.environ["LOADS"], "a") as loads:
    loads.write("shine\\n")

@tool
def shine(image: Image) -> Image:
    '''Show the image as it is.

    Args:
        image: The image to show.
    '''
    return image

@hookimpl
def medvistagym_tools():
    return [shine]
"""

FATAL = {
    "exits": ("import os; os._exit(0)", "ended"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)"),
    "asked": (TOOL.replace("return [shine]", "os._exit(3)"), "ended"),
}


class Place:
    """A folder with distributions as pip lays them out, and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.site, self.cache, self.loads = folder / "site", folder / "cache", folder / "loads"
        self.site.mkdir()
        self.loads.touch()

    def install(self, name: str, source: str, version: str = "1.0") -> None:
        self.write(name, source)
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{name} = plugin_{name}\n")

    def write(self, name: str, source: str) -> None:
        (self.site / f"plugin_{name}.py").write_text(source)

    def reports(self, allow: str, **environment: str) -> dict[str, dict[str, Any]]:
        """Every report of the allowed, by name, as `plugins list --json` gives them."""
        done = self.run(allow, **environment)
        assert done.returncode == 0, done.stderr
        return {one["name"]: one for one in json.loads(done.stdout) if one["state"] != "disabled"}

    def run(self, allow: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "PYTHONPATH": str(self.site),
            "XDG_CACHE_HOME": str(self.cache),
            "LOADS": str(self.loads),
            "MEDVISTAGYM_CACHE": "",
            "MEDVISTAGYM_PLUGINS": allow,
            **environment,
        }
        command = [sys.executable, "-m", "medvistagym_core", "plugins", "list", "--json"]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=False)

    def count(self, **environment: str) -> int:
        """How often the plugin `shine` is loaded by a command, in whatever process."""
        before = len(self.loads.read_text())
        assert self.reports("shine", **environment)["shine"]["state"] == "loaded"
        return self.loads.read_text()[before:].count("shine")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_plugins_that_end_their_process_are_reported_each_time_and_the_others_loaded(place: Place) -> None:
    place.install("good", TOOL)
    place.install("zeal", TOOL.replace("shine", "gleam"))
    for name, (source, _) in FATAL.items():
        place.install(name, source)
    for _ in range(2):
        reports = place.reports(",".join(["good", "zeal", *FATAL]))
        assert [(reports[name]["state"], reports[name]["tools"]) for name in ("good", "zeal")] == [
            ("loaded", ["shine"]),
            ("loaded", ["gleam"]),
        ]
        for name, (_, what) in FATAL.items():
            assert reports[name]["state"] == "failed"
            assert what in reports[name]["reason"]
            assert f"uninstall {name}" in reports[name]["fix"]


@pytest.mark.slow
def test_a_plugin_that_never_lets_go_of_the_interpreter_is_given_up(place: Place) -> None:
    place.install("good", TOOL)
    place.install("holds", "import re; re.match('(a|aa)+$', 'a' * 100 + 'b')")  # a loop in C
    reports = place.reports("good,holds", MEDVISTAGYM_LOAD_SECONDS="5")
    assert reports["good"]["state"] == "loaded"
    assert (reports["holds"]["state"], reports["holds"]["reason"]) == (
        "failed",
        "tried in another process, it took more than 10 s",
    )


def test_a_plugin_is_tried_once_until_it_or_what_is_installed_changes(place: Place) -> None:
    place.install("shine", TOOL)
    assert [place.count(), place.count()] == [2, 1]
    place.write("shine", TOOL + "\n")
    assert place.count() == 2
    place.install("library", "")
    assert [place.count(), place.count()] == [2, 1]


def test_where_nothing_can_be_kept_it_is_tried_each_time_unless_that_is_turned_off(place: Place) -> None:
    place.install("shine", TOOL)
    place.cache.touch()  # a file, in which no folder can be made
    assert [place.count(), place.count()] == [2, 2]
    assert place.count(MEDVISTAGYM_CACHE="0") == 1


def test_a_limit_on_processes_costs_the_trial_alone(place: Place) -> None:
    place.install("shine", TOOL)
    program = place.site / "sitecustomize.py"
    program.write_text(
        "import subprocess\n"
        "def refuse(*args, **kwargs):\n"
        "    raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "subprocess.Popen = refuse\n"
    )
    assert [place.count(), place.count()] == [1, 1]
