"""Plugins that mean harm, or do it: none stalls a command, garbles its output, takes a name or changes an order."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core import Image, Registry, tool
from medvistagym_core.plugins import (
    ALLOW_VARIABLE,
    LIMIT_VARIABLE,
    LoadedPlugin,
    PluginReport,
    SelectionError,
    discover,
)

TOOL = """
from medvistagym_core import Image, hookimpl, tool

@tool
def {name}(image: Image) -> Image:
    '''Show the image as it is.

    Args:
        image: The image to show.
    '''
    return image

@hookimpl
def medvistagym_tools():
    return [{name}]
"""


class Place:
    """A folder with distributions, as pip would lay them out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, source: str) -> str:
        (self.folder / f"plugin_{name}.py").write_text(source)
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: medvistagym-core>=0.1,<9\n"
        )
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{name} = plugin_{name}\n")
        return name

    def run(self, *argv: str, allow: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(self.folder), **environment}
        if allow is not None:
            env[ALLOW_VARIABLE] = allow
        return subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=env, timeout=50, check=False)

    def reports(self, allow: str, **environment: str) -> dict[str, dict[str, Any]]:
        """Every report, by name, as `plugins list --json` gives them."""
        done = self.run("-m", "medvistagym_core.cli", "plugins", "list", "--json", allow=allow, **environment)
        assert done.returncode == 0, done.stderr
        return {report["name"]: report for report in json.loads(done.stdout) if report["state"] != "disabled"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


HARM = {
    "sleeps": ("import time\n\ntime.sleep(60)\n", "not loaded within 1 s", "plugin_sleeps.py:3"),
    "asks": ("input('your name?')\n", "EOFError", "plugin_asks.py:1"),
    "interrupts": ("raise KeyboardInterrupt\n", "KeyboardInterrupt", "plugin_interrupts.py:1"),
    "recurs": (
        "import medvistagym_core\nmedvistagym_core.Registry.discover()\n",
        "is being loaded",
        "plugin_recurs.py:2",
    ),
}


def test_harm_on_import_is_reported_and_contained(place: Place) -> None:
    place.install("good", TOOL.format(name="shine"))
    for name, (source, _, _) in HARM.items():
        place.install(name, source)
    began = time.monotonic()
    reports = place.reports(",".join(["good", *HARM]), MEDVISTAGYM_LOAD_SECONDS="1")
    assert time.monotonic() - began < 30
    assert (reports["good"]["state"], reports["good"]["tools"]) == ("loaded", ["shine"])
    for name, (_, reason, location) in HARM.items():
        assert reports[name]["state"] == "failed"
        assert reason in reports[name]["reason"]
        assert reports[name]["location"] == location
        assert reports[name]["fix"]
    assert "MEDVISTAGYM_LOAD_SECONDS" in reports["sleeps"]["fix"]


def test_a_limit_that_is_no_number_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "soon")
    with pytest.raises(ValueError, match="a number of seconds above 0, not 'soon'"):
        discover()


NOISE = """
import ctypes, os, subprocess, sys
print("python")
sys.__stdout__.write("dunder")
os.write(1, b"descriptor")
subprocess.run(["echo", "child"])
ctypes.CDLL(None).printf(b"c")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs echo and a C library")
def test_what_a_plugin_prints_in_any_way_does_not_reach_stdout(place: Place) -> None:
    place.install("noisy", NOISE + TOOL.format(name="shine"))
    done = place.run("-m", "medvistagym_core.cli", "tools", "list", "--json", allow="noisy")
    assert [(spec["plugin"], spec["name"]) for spec in json.loads(done.stdout)] == [("noisy", "shine")]
    for said in ("python", "dunder", "descriptor", "child"):
        assert said in done.stderr


def test_threads_that_a_plugin_starts_do_not_keep_a_command_from_ending(place: Place) -> None:
    threads = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=False).start()\n"
    place.install("threads", threads + TOOL.format(name="shine"))
    began = time.monotonic()
    done = place.run("-m", "medvistagym_core.cli", "tools", "list", allow="threads")
    assert time.monotonic() - began < 30
    assert "threads:shine" in done.stdout


def test_a_tool_of_a_plugin_that_did_not_load_stops_a_run_with_its_reason(place: Place) -> None:
    place.install("broken", "raise RuntimeError('no licence')")
    done = place.run("-m", "medvistagym_core.cli", "prompt", "--tools", "broken:look", allow="broken")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "The plugin broken is not loaded (failed: RuntimeError: no licence)" in done.stderr


PRINT_ALL = """
from medvistagym_core.cli import main
for command in (["prompt", "--tools", "*"], ["tools", "list", "--json"], ["plugins", "list", "--json"]):
    print("\\nover:", main(command))
"""


def test_order_and_prompt_do_not_depend_on_the_order_of_installation_or_on_hashes(tmp_path: Path) -> None:
    names = [f"{letter}{n}" for n in range(4) for letter in "zmaq"]
    outputs = set()
    for seed in range(3):
        order = names.copy()
        random.Random(seed).shuffle(order)
        place = Place(tmp_path / str(seed))
        place.folder.mkdir()
        for name in order:
            place.install(name, TOOL.format(name=f"tool_{name[::-1]}"))
        done = place.run("-c", PRINT_ALL, allow=",".join(order), PYTHONHASHSEED=str(seed))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\nover: 0\n") == 3
        outputs.add(done.stdout)
    assert len(outputs) == 1


# -- names


class Puzzle:
    """Stands for a task; only its name matters here."""

    def __init__(self, name: str) -> None:
        self.name = name


def offer(plugin: str, **things: Any) -> LoadedPlugin:
    report = PluginReport(name=plugin, distribution=f"x-{plugin}", version="1", state="loaded")
    return LoadedPlugin(report, things)


def test_no_plugin_takes_the_name_of_anothers_task_trainer_or_reward() -> None:
    first, second, free = Puzzle("quiz"), Puzzle("quiz"), Puzzle("free")
    registry = Registry(
        [
            offer("a", tasks=[first], trainers=[first], rewards={"quick": 1}),
            offer("b", tasks=[second, free], trainers=[second], rewards={"quick": 2}),
        ]
    )
    assert list(registry.tasks) == ["a:quiz", "b:quiz", "free"]
    assert registry.task("b:quiz") is second
    assert registry.task("free") is free
    with pytest.raises(SelectionError, match="a:quiz and b:quiz share the name quiz"):
        registry.task("quiz")
    with pytest.raises(SelectionError, match="a:quiz and b:quiz share the name quiz"):
        registry.trainer("quiz")
    assert registry.rewards == {"a:quick": 1, "b:quick": 2}


@pytest.mark.parametrize("name", ["window", "dicom:window", "dicom:*"])
def test_a_known_tool_that_is_not_installed_names_its_distribution(name: str) -> None:
    said = "comes with medvistagym-dicom, which is not installed: pip install medvistagym-dicom"
    with pytest.raises(SelectionError, match=said):
        Registry().toolbox(name)


def test_known_tasks_and_trainers_name_their_distribution_too() -> None:
    with pytest.raises(SelectionError, match="pip install medvistagym-scoutvqa"):
        Registry().task("scoutvqa")
    with pytest.raises(SelectionError, match="pip install medvistagym-trl"):
        Registry().trainer("trl")


def test_a_known_tool_whose_plugin_is_disabled_says_how_to_enable_it() -> None:
    with pytest.raises(SelectionError, match=r"dicom is not loaded \(disabled: .*\); add dicom to MEDVISTAGYM_PLUGINS"):
        Registry.discover("no-such-plugin").toolbox("window")


# -- weight


def test_listing_twenty_plugins_imports_nothing_heavy(place: Place) -> None:
    for n in range(20):
        place.install(f"p{n:02d}", TOOL.format(name=f"shine_{n}"))
    program = (
        "import sys; from medvistagym_core.cli import main; code = main(['tools', 'list']); "
        "print(code, sorted({'torch', 'kornia', 'monai', 'SimpleITK', 'transformers', 'numpy', 'gymnasium', "
        "'hypothesis', 'PIL'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = place.run("-c", program, allow=",".join(f"p{n:02d}" for n in range(20)))
    assert done.stdout.splitlines()[-1] == "0 []"
    assert len(done.stdout.splitlines()) == 21


@pytest.mark.slow
def test_listing_twenty_plugins_takes_a_seventh_of_importing_torch(place: Place) -> None:
    for n in range(20):
        place.install(f"p{n:02d}", TOOL.format(name=f"shine_{n}"))
    allow = ",".join(f"p{n:02d}" for n in range(20))

    def seconds(*argv: str) -> float:
        began = time.perf_counter()
        done = place.run(*argv, allow=allow, PYTHONDONTWRITEBYTECODE="")
        assert done.returncode == 0
        return time.perf_counter() - began

    listing = ("-m", "medvistagym_core.cli", "tools", "list")
    seconds(*listing)  # compiles the plugins, as pip would have done
    pairs = [(seconds("-c", "import torch"), seconds(*listing)) for _ in range(5)]
    torch, ours = map(min, zip(*pairs, strict=True))
    assert ours <= torch / 7, f"listing took {ours:.3f} s, importing torch {torch:.3f} s"


# -- laziness keeps the promises of eagerness


def test_a_tool_listed_but_not_described_still_knows_everything_when_asked() -> None:
    @tool
    def look(image: Image, times: int = 1) -> str:
        """Look at the image.

        Args:
            image: The image to look at.
            times: How often.
        """
        return "seen" * times

    renamed = look.with_metadata(name="peek", plugin="p", version="2")
    assert (renamed.id, renamed.description) == ("p:peek", "Look at the image.")
    assert renamed.spec.parameters == look.spec.parameters
    assert (renamed.spec.id, renamed.spec.version, look.spec.id) == ("p:peek", "2", "local:look")
