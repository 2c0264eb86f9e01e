"""A stranger's path: the README's ten lines, built as a wheel outside this repository and pip-installed into a fresh virtual
environment, go through every command and into a training run, and no other file is touched. Broken ones harm nobody.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom.data
import pytest
from mcp import Client, StdioServerParameters

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECTS = (REPOSITORY.glob(f"{part}/*/pyproject.toml") for part in ("native", "plugins", "trainers"))
OURS = [REPOSITORY, *(file.parent for files in PROJECTS for file in sorted(files))]
SCAN = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))

PROJECT = """
[project]
name = "medvistagym-{name}"
version = "0.1.0"
dependencies = ["medvistagym-core"]
[project.entry-points.medvistagym]
{name} = "medvistagym_{name}"
"""

BROKEN = {
    "raises": '''
from medvistagym_core import Image, hookimpl, tool

@tool
def raises(image: Image) -> Image:
    """Never work.

    Args:
        image: Any image.
    """
    raise RuntimeError("the vessel has burst")

@hookimpl
def medvistagym_tools():
    return [raises]
''',
    "rubbish": '''
from medvistagym_core import Image, hookimpl, tool

@tool
def rubbish(image: Image) -> Image:
    """Return what is no result.

    Args:
        image: Any image.
    """
    return object()

@hookimpl
def medvistagym_tools():
    return [rubbish]
''',
    "absent": """
import a_module_that_nobody_has
""",
}

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def snippets() -> tuple[str, str]:
    """The two files of the README's plugin, as printed there."""
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    project = next(block for block in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "invert" in block)
    module = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "invert" in block)
    return project, module


def package(folder: Path, name: str, project: str, module: str) -> Path:
    home = folder / f"medvistagym-{name}"
    home.mkdir(parents=True)
    (home / "pyproject.toml").write_text(project, "utf-8")
    (home / f"medvistagym_{name}.py").write_text(module, "utf-8")
    return home


def state(folder: Path) -> dict[str, str]:
    """Contents of every file below a folder, apart from what Python caches."""
    return {
        str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


class Place:
    """A fresh virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=True, symlinks=True)
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "MEDVISTAGYM_PLUGINS")},
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *argv: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(part) for part in argv], env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == code, f"{' '.join(map(str, argv))}\n{done.stdout}\n{done.stderr}"
        return done

    def pip(self, *argv: str | Path) -> None:
        self.run(self.folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *argv)

    def medvistagym(self, *argv: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run(self.folder / "bin" / "medvistagym", *argv, code=code)

    def json(self, *argv: str | Path) -> Any:
        return json.loads(self.medvistagym(*argv, "--json").stdout)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of our distributions and the strangers', each built as a wheel."""
    sources, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheels")
    folders = [*OURS, package(sources, "invert", *snippets())]
    folders += [package(sources, name, PROJECT.format(name=name), module) for name, module in BROKEN.items()]
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", built, *folders], check=True, capture_output=True)
    return built


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Place:
    """A fresh environment with our wheels, and the stranger's installed after them.

    Third-party packages are not downloaded again: the fresh environment sees this one's through a path file, which is
    written only after our own wheels are in, so that pip really installs them.
    """
    place = Place(tmp_path_factory.mktemp("fresh"))
    names = [tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["name"] for folder in OURS]
    ours = [next(wheels.glob(f"{name.replace('-', '_')}-*.whl")) for name in names]
    place.pip("install", "--no-index", "--no-deps", *ours)
    (place.site / "third_party.pth").write_text("\n".join(site.getsitepackages()) + "\n", "utf-8")
    return place


@pytest.fixture(scope="module")
def newcomer(place: Place, wheels: Path) -> Iterator[Place]:
    """The place after `pip install medvistagym-invert`; at the end, nothing that was there before has changed."""
    before = {name: state(place.site / name) for name in ("medvistagym_core", "medvistagym_dicom", "medvistagym_trl")}
    assert all(before.values())
    place.pip("install", "--no-index", *wheels.glob("medvistagym_invert-*.whl"))
    yield place
    assert {name: state(place.site / name) for name in before} == before


def test_our_distributions_are_really_installed(place: Place) -> None:
    program = "import medvistagym_core, medvistagym_trl; print(medvistagym_core.__file__, medvistagym_trl.__file__)"
    for file in place.run(place.folder / "bin" / "python", "-c", program).stdout.split():
        assert Path(file).is_relative_to(place.folder)


def test_it_is_listed_and_shown(newcomer: Place) -> None:
    report = next(report for report in newcomer.json("plugins", "list") if report["name"] == "invert")
    assert (report["state"], report["tools"]) == ("loaded", ["invert"])
    assert "invert:invert" in newcomer.medvistagym("tools", "list").stdout
    shown = json.loads(newcomer.medvistagym("tools", "show", "invert", "--format", "openai").stdout)
    assert shown["function"]["name"] == "invert"
    assert shown["function"]["parameters"]["properties"]["image"]["description"] == "The image to invert."


def test_it_is_called_on_a_real_dicom(newcomer: Place, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    newcomer.medvistagym("tools", "call", "invert", "--image", SCAN, "--out", out)
    from medvistagym_dicom import read_one

    image = read_one(SCAN)
    inverted = image.with_pixels(image.pixels.max() + image.pixels.min() - image.pixels)
    with PIL.Image.open(out) as picture:
        assert np.array_equal(np.asarray(picture), inverted.view())


def test_it_is_in_the_prompt(newcomer: Place) -> None:
    prompt = newcomer.medvistagym("prompt", "--tools", "invert").stdout
    assert "Invert grey levels" in prompt
    assert '"invert"' in prompt


def test_the_environment_calls_it(newcomer: Place) -> None:
    program = """
from medvistagym_core.environment import Episode, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core import Registry

registry = Registry.discover()
toolbox = registry.toolbox("invert")
episode = Episode.from_task(registry.task("scoutvqa"), "train", 0, toolbox)
with LocalExecutor(toolbox) as executor:
    step_episodes(executor, [episode], ['<tool_call>{"name": "invert", "arguments": {"image": 0}}</tool_call>'])
result, = episode.observation().results
print(result.ok, result.handles, len(episode.observation().images))
"""
    done = newcomer.run(newcomer.folder / "bin" / "python", "-c", program)
    assert done.stdout.split() == ["True", "(1,)", "2"]


def test_it_conforms(newcomer: Place) -> None:
    checked = newcomer.medvistagym("plugins", "check", "medvistagym-invert")
    assert "schema-same" in checked.stdout
    assert "FAIL" not in checked.stdout


def test_any_mcp_client_can_call_it(newcomer: Place) -> None:
    arguments = ["serve", "--tools", "invert", "--image", str(SCAN)]
    server = StdioServerParameters(
        command=str(newcomer.folder / "bin" / "medvistagym"), args=arguments, env=newcomer.environment
    )

    async def work() -> None:
        async with Client(server, mode="auto") as client:
            assert "invert" in {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("invert", {"image": 0})
            assert not result.is_error
            assert any(part.type == "image" for part in result.content)

    asyncio.run(work())


def test_it_can_be_kept_out(newcomer: Place) -> None:
    states = {report["name"]: report["state"] for report in newcomer.json("plugins", "list", "--plugins", "dicom")}
    assert (states["invert"], states["dicom"]) == ("disabled", "loaded")


@pytest.fixture(scope="module")
def crowd(newcomer: Place, wheels: Path) -> Place:
    """The place after three broken plugins were installed as well."""
    newcomer.pip("install", "--no-index", *(next(wheels.glob(f"medvistagym_{name}-*.whl")) for name in BROKEN))
    return newcomer


def test_broken_plugins_are_named_with_reason_and_place(crowd: Place) -> None:
    reports = {report["name"]: report for report in crowd.json("plugins", "list")}
    assert {name: reports[name]["state"] for name in ("invert", "raises", "rubbish", "absent")} == {
        "invert": "loaded",
        "raises": "loaded",
        "rubbish": "loaded",
        "absent": "failed",
    }
    assert "a_module_that_nobody_has" in reports["absent"]["reason"]
    assert reports["absent"]["location"].endswith("medvistagym_absent.py:2")
    assert reports["absent"]["fix"]


def test_a_broken_tool_fails_in_one_sentence(crowd: Place) -> None:
    raised = crowd.medvistagym("tools", "call", "raises", "--image", SCAN, code=1)
    assert "the vessel has burst" in raised.stderr
    rubbish = crowd.medvistagym("tools", "call", "rubbish", "--image", SCAN, code=1)
    assert "object" in rubbish.stderr
    for said in (raised.stderr, rubbish.stderr):
        assert "Traceback" not in said


def test_a_run_that_names_a_tool_of_a_broken_plugin_stops_at_once(crowd: Place) -> None:
    stopped = crowd.medvistagym("train", "--quick", "--tools", "window,absent", code=2)
    assert "a_module_that_nobody_has" in stopped.stderr


def test_a_rollout_calls_the_strangers_tool_and_survives_the_broken_ones(crowd: Place, tmp_path: Path) -> None:
    argv = [
        "--task",
        "scoutvqa",
        "--policy",
        "random",
        "--cases",
        "64",
        "--tools",
        "invert,raises,rubbish",
        "--out",
        tmp_path,
    ]
    done = crowd.medvistagym("sample", *argv)
    assert "absent" in done.stderr
    worked, failed = outcomes(tmp_path / "trajectories.jsonl")
    assert "invert" in worked
    assert not {"raises", "rubbish"} & worked
    assert "the vessel has burst" in failed["raises"]
    assert "object" in failed["rubbish"]


def outcomes(file: Path) -> tuple[set[str], dict[str, str]]:
    """Tools whose calls gave a result, and what those that broke said, by tool."""
    from medvistagym_core.trajectories import TrajectoryReader

    calls = [call for trajectory in TrajectoryReader(file) for turn in trajectory.turns for call in turn.calls]
    worked = {call.name for call in calls if call.error is None}
    errors = [(call.name, call.error) for call in calls if call.error is not None]
    return worked, {name: error.message for name, error in errors if error.code == "tool_failed"}


def test_training_takes_the_strangers_tool_and_survives_the_broken_ones(crowd: Place, tmp_path: Path) -> None:
    from medvistagym_core.trajectories import Results

    run = tmp_path / "run"
    select = "dicom:window,dicom:zoom,dicom:measure,invert,raises,rubbish"
    done = crowd.medvistagym("train", "--quick", "--tools", select, "--run", run)
    assert "plugin absent is not loaded" in done.stderr
    assert "a_module_that_nobody_has" in done.stderr
    results = Results.load(run / "results.json")
    assert {row.policy for row in results.rows} >= {"no tools", "call format only", "SFT", "SFT + GRPO"}
    lock = json.loads((run / "toolbox.lock.json").read_text("utf-8"))
    assert {"invert:invert", "raises:raises", "rubbish:rubbish", "dicom:zoom"} <= {tool["id"] for tool in lock["tools"]}
    taught = [outcomes(file) for file in sorted((run / "trajectories").glob("lessons-*.jsonl"))]
    worked = set().union(*(names for names, _ in taught))
    failed = {name: said for _, errors in taught for name, said in errors.items()}
    assert "invert" in worked
    assert "the vessel has burst" in failed["raises"]
    assert "object" in failed["rubbish"]
