"""Names that are kept between commands: the same to the byte as those of a new discovery, whatever has changed since."""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = '''
import os
import warnings
from pathlib import Path

from medvistagym_core import Image, hookimpl, tool

with open(os.environ["LOADS"], "a") as loads:
    loads.write("{name}\\n")
called = "{name}"
{more}

@tool(name=called, modalities=["CT"])
def {name}(image: Image) -> Image:
    """{summary}. It does no more than that.

    Args:
        image: The image to show.
    """
    return image

@hookimpl
def medvistagym_tools():
    return [{tools}]
'''


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the core needs, and no plugin of this repository."""
    folder = tmp_path_factory.mktemp("packages")
    for file in Path(sysconfig.get_path("purelib")).iterdir():
        if file.suffix != ".pth" and not file.name.startswith(("medvistagym", "__editable__")):
            (folder / file.name).symlink_to(file)
    core = importlib.util.find_spec("medvistagym_core")
    assert core is not None
    assert core.origin is not None
    (folder / "medvistagym_core").symlink_to(Path(core.origin).parent)
    return folder


class Place:
    """An environment with plugins of its own, which count how often they are loaded."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self.site, self.cache, self.loads = folder / "site", folder / "cache", folder / "loads"
        self.site.mkdir()
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{self.site}{os.pathsep}{packages}",
            "XDG_CACHE_HOME": str(self.cache),
            "LOADS": str(self.loads),
            "MEDVISTAGYM_CACHE": "",
            "PYTHONDONTWRITEBYTECODE": "1",  # Python itself would not see a change within a second that keeps a file's size
        }

    def write(self, name: str, summary: str = "Show it", more: str = "", tools: str | None = None) -> Path:
        file = self.site / f"plugin_{name}.py"
        file.write_text(SOURCE.format(name=name, summary=summary, more=more, tools=tools or name))
        return file

    def install(self, name: str, more: str = "", tools: str | None = None) -> None:
        self.write(name, more=more, tools=tools)
        info = self.site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{name} = plugin_{name}\n")

    def remove(self, name: str) -> None:
        for file in (*self.site.glob(f"{name}-1.0.dist-info/*"), self.site / f"plugin_{name}.py"):
            file.unlink()
        (self.site / f"{name}-1.0.dist-info").rmdir()

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", "-m", "medvistagym_core", *argv]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**self.environment, **environment}, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    def list(self, *argv: str, **environment: str) -> str:
        return self.run("tools", "list", *argv, **environment).stdout

    def count(self, work: Callable[[], object]) -> int:
        """How many plugins of this place were loaded by some work."""
        before = self.loads.read_text() if self.loads.exists() else ""
        work()
        return self.loads.read_text().removeprefix(before).count("\n")


@pytest.fixture
def place(tmp_path: Path, packages: Path) -> Place:
    place = Place(tmp_path, packages)
    place.install("shine")
    return place


def test_names_are_read_back_to_the_byte_and_nothing_is_loaded(place: Place) -> None:
    anew = place.list()
    assert "shine:shine" in anew
    again: list[str] = []
    assert place.count(lambda: again.append(place.list())) == 0
    assert place.count(lambda: again.append(place.list("--no-cache"))) == 1
    assert place.count(lambda: again.append(place.list(MEDVISTAGYM_CACHE="0"))) == 1
    assert again == [anew] * 3
    some: list[str] = []
    assert place.count(lambda: some.append(place.list("--modality", "MR"))) == 0
    assert some[0] == place.list("--no-cache", "--modality", "MR")
    assert "shine" not in some[0]
    words = ("completion", "words", "--", "tools", "call", "shi")
    assert place.count(lambda: some.append(place.run(*words).stdout)) == 0
    assert some[1] == "shine\n"


def test_what_changes_is_seen_at_once(place: Place) -> None:
    place.list()
    place.write("shine", "Show him")  # as long as before
    assert "Show him" in place.list()
    assert place.count(place.list) == 0
    place.install("gleam")
    assert "gleam:gleam" in place.list()
    assert place.count(place.list) == 0
    place.remove("gleam")
    assert "gleam:gleam" not in place.list()
    points = place.site / "shine-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("shine =", "other ="))
    assert "other:shine" in place.list()
    assert place.list(MEDVISTAGYM_PLUGINS="none") == ""


def test_what_a_plugin_reads_is_part_of_it(place: Place) -> None:
    names = place.site / "names.txt"
    names.write_text("bright")
    place.write(
        "shine", more="called = Path(__file__).with_name('names.txt').read_text() + os.environ.get('SHINE', '')"
    )
    assert "shine:bright " in place.list()
    assert place.count(place.list) == 0
    names.write_text("darker")
    assert "shine:darker " in place.list()
    assert "shine:darker_still " in place.list(SHINE="_still")


FAULTS = {
    "a module that is missing": ("import nothing_like_it", None, "plugin shine is not loaded"),
    "a tool that is none": ("", "shine, ValueError('no shine')", "left out: medvistagym_tools: no shine"),
    "a warning": ("warnings.warn('it will fade', UserWarning)", None, "it will fade"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_went_wrong_is_said_each_time(place: Place, fault: str) -> None:
    more, tools, sentence = FAULTS[fault]
    place.write("shine", more=more, tools=tools)
    first, second = place.run("tools", "list"), place.run("tools", "list")
    assert sentence in first.stderr
    assert (second.stdout, second.stderr) == (first.stdout, first.stderr)


def test_what_another_process_said_is_asked_again(place: Place) -> None:
    place.write("shine", more="import subprocess; subprocess.run(['true'], check=True)")
    place.list()
    assert place.count(place.list) == 1


def test_a_broken_foreign_or_locked_cache_is_no_error(place: Place) -> None:
    anew = place.run("tools", "list")
    (file,) = (place.cache / "medvistagym" / "listings").iterdir()
    kept = json.loads(file.read_text())
    wrong = {**kept, "tools": [{"id": 1, "name": "x", "summary": "y"}]}
    for content in ("", "[" * 100_000, "\0\xff", json.dumps(wrong), json.dumps({**kept, "paths": 3})):
        file.write_text(content, "latin-1")
        done = place.run("tools", "list")
        assert (done.stdout, done.stderr) == (anew.stdout, anew.stderr)
        assert json.loads(file.read_text())["tools"] == kept["tools"], "it is written anew"
    file.write_text(json.dumps({**kept, "tools": [{**kept["tools"][0], "summary": "\x1b[2J"}]}))
    assert (
        place.list() == f"{kept['tools'][0]['id']}  \\x1b[2J\n"
    )  # who may write there may lie, but not to the terminal
    file.unlink()
    os.mkfifo(file)
    assert place.run("tools", "list").stdout == anew.stdout
    done = place.run("tools", "list", XDG_CACHE_HOME=str(place.site / "plugin_shine.py"))  # where no folder can be made
    assert (done.stdout, done.stderr) == (anew.stdout, anew.stderr)


def test_listings_of_environments_that_are_gone_do_not_pile_up(place: Place) -> None:
    folder = place.cache / "medvistagym" / "listings"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number}.json").write_text("{}")
        os.utime(folder / f"{number}.json", (number, number))
    place.list()
    assert len(list(folder.iterdir())) == 8
    assert place.count(place.list) == 0
