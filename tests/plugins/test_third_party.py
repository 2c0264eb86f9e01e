"""A third party's package that brings one of each, installed by pip, at work through the command line; and broken ones of each
kind, which are reported by name and harm nothing. The package is docs/examples, the files that CONTRIBUTING shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import main
from medvistagym_core.environment import Reward
from medvistagym_core.plugins import CONTRIBUTION_KINDS, Registry
from medvistagym_core.trajectories import Results, TrajectoryReader

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
KINDS = {
    "tools": "brightest", "tasks": "lab_quadrants", "rewards": "lab_brief", "graders": "lab_quadrant", "readers": "read_pgm",
    "writers": "PgmWriter", "segmenters": "lab_half", "executors": "lab_serial", "trainers": "lab_frequent",
    "policies": "lab_looker", "action_formats": "lab_lines", "dialects": "lab_gemini",
}  # fmt: skip


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package, built and installed by pip into a folder of its own that Python imports from."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--target", str(site), str(EXAMPLES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "medvistagym_lab"]:
        del sys.modules[name]


@pytest.fixture
def run(lab: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def command(*argv: str | Path, code: int = 0) -> Said:
        capsys.readouterr()
        said = Said(main([str(part) for part in argv]), *capsys.readouterr())
        assert said.code == code, said.err
        return said

    return command


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    pixels = np.zeros((20, 40), np.uint8)
    pixels[15, 30] = 200
    PIL.Image.fromarray(pixels).save(file)
    return file


# -- one of each


def test_there_is_an_example_of_every_kind_and_a_row_of_each_in_contributing() -> None:
    files = {file.stem for file in (EXAMPLES / "medvistagym_lab").glob("*.py")} - {"__init__"}
    hooks = {
        re.search(r"def medvistagym_(\w+)", (EXAMPLES / "medvistagym_lab" / f"{name}.py").read_text("utf-8"))[1]  # type: ignore[index]
        for name in files
    }
    assert hooks == set(CONTRIBUTION_KINDS) == set(KINDS)
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(
        r"^\| .*\(docs/examples/medvistagym_lab/(\w+)\.py\) \| `medvistagym_(\w+)`", contributing, re.MULTILINE
    )
    assert {file for file, _ in rows} == files
    assert {hook for _, hook in rows} == hooks


def test_all_of_it_is_listed(run: Run) -> None:
    reports = json.loads(run("plugins", "list", "--json").out)
    (report,) = (report for report in reports if report["name"] == "lab")
    assert (report["state"], report["faults"], report["notes"]) == ("loaded", [], [])
    assert {kind: report[kind] for kind in CONTRIBUTION_KINDS} == {kind: [name] for kind, name in KINDS.items()}


def test_the_package_conforms(run: Run) -> None:
    report = json.loads(run("plugins", "check", "medvistagym-lab", "--examples", "1", "--json").out)
    checked = {outcome["kind"] for outcome in report["outcomes"] if outcome["status"] == "PASS" and outcome["kind"]}
    assert len(checked) == len(KINDS)


def test_its_tool_and_its_reader(run: Run, picture: Path, tmp_path: Path) -> None:
    assert run("tools", "call", "brightest", picture).out == "The brightest place is at [750, 750], lower right.\n"
    (tmp_path / "spot.pgm").write_text("P2\n# text\n3 2\n500\n0 0 0\n0 499 0\n")
    assert "[333, 500]" in run("tools", "call", "brightest", "spot.pgm").out
    (tmp_path / "short.pgm").write_text("P2\n3 2\n9\n0 0\n")
    assert "says 3 x 2 pixels" in run("tools", "call", "brightest", "short.pgm", code=1).err


def test_its_writer(run: Run, picture: Path, tmp_path: Path) -> None:
    run("tools", "call", "orient", picture, "--turn", "half", "--out", tmp_path / "part.pgm")
    assert (tmp_path / "part.pgm").read_text().startswith("P2\n")
    coloured = tmp_path / "coloured.png"
    PIL.Image.new("RGB", (8, 8)).save(coloured)
    refused = run("tools", "call", "orient", coloured, "--turn", "half", "--out", tmp_path / "coloured.pgm", code=1)
    assert refused.err == "medvistagym: coloured.pgm: a PGM file holds one grey frame\n"
    assert "[225, 200], upper left" in run("tools", "call", "brightest", "part.pgm").out
    assert not list(tmp_path.glob(".part-*"))


def test_its_segmenter(run: Run, picture: Path) -> None:
    shown = json.loads(run("tools", "show", "segment", "--json").out)
    assert "lab_half" in json.dumps(shown["parameters"])
    done = run("tools", "call", "segment", picture, "--method", "lab_half", "--json")
    assert json.loads(done.out)["error"] is None


def test_its_dialect(run: Run) -> None:
    shown = json.loads(run("tools", "show", "brightest", "--format", "lab_gemini").out)
    assert shown["functionDeclarations"][0]["name"] == "brightest"


@pytest.mark.parametrize("more", [[], ["--executor", "lab_serial"], ["--action-format", "lab_lines"]])
def test_its_task_grader_policy_executor_and_action_format(run: Run, more: list[str], tmp_path: Path) -> None:
    case = json.loads(run("tasks", "show", "lab_quadrants", "--json", "--answer").out)
    assert case["question"] == "Which quadrant is bright?"
    argv = ["--task", "lab_quadrants", "--policy", "lab_looker", "--cases", "6", *more]
    results = json.loads(run("eval", *argv, "--json").out)
    assert results["rows"][-1] == {**results["rows"][-1], "n": 6, "correct": 6, "calls_per_question": 1.0}
    run("sample", *argv, "--split", "test", "--out", tmp_path / "samples")
    (first, *_) = TrajectoryReader(tmp_path / "samples" / "trajectories.jsonl")
    assert first.turns[0].calls[0].name == "brightest"
    assert first.turns[0].text.startswith("WHY" if "lab_lines" in more else "<think>")
    for executor in ("local", "lab_serial"):
        replayed = run("replay", tmp_path / "samples" / "trajectories.jsonl", "--executor", executor)
        assert "6 episodes, 6 calls" in replayed.out


def test_its_reward_term(run: Run) -> None:
    argv = ["eval", "--task", "lab_quadrants", "--policy", "lab_looker", "--cases", "4"]
    plain = json.loads(run(*argv, "--reward", "scout", "--json").out)["rows"][-1]["reward"]
    long = json.loads(run(*argv, "--reward", "scout,lab_brief=1,calls=1", "--json").out)["rows"][-1]["reward"]
    assert long == pytest.approx(plain - 1)
    assert "reward" in run(*argv, "--reward", "scout,lab_brief=1").out
    assert "did you mean lab_brief" in run(*argv, "--reward", "scout,lab_brif=1", code=2).err


def test_its_trainer(run: Run, tmp_path: Path) -> None:
    train = ["train", "--trainer", "lab_frequent", "--task", "lab_quadrants", "--quick", "--run", tmp_path / "run"]
    table = run(*train, "--set", "executor=lab_serial", "--set", "reward=scout,lab_brief=1")
    assert "lab_frequent" in table.out
    assert Results.load(tmp_path / "run" / "results.json").task == "lab_quadrants"
    argv = ["eval", "--trainer", "lab_frequent", "--model", tmp_path / "run", "--task", "lab_quadrants", "--cases", "4"]
    assert json.loads(run(*argv, "--json").out)["rows"][-1]["n"] == 4


def test_what_a_trainer_takes_from_the_registry_is_there(lab: Path) -> None:
    registry = Registry.discover()
    reward = Reward.parse("scout,lab_brief=0.5", terms=registry.rewards)
    assert reward.weights["lab_brief"] == 0.5
    assert "lab_quadrant" in registry.graders
    toolbox = registry.toolbox("brightest")
    assert registry.executor("lab_serial")(toolbox).toolbox is toolbox
    assert registry.action_format("lab_lines").parse("ANSWER x").answer == "x"


# -- broken ones


SOUND = """
@tool
def {name}(image: Image) -> Image:
    '''Show an image as it is.

    Args:
        image: The image.
    '''
    return image

@hookimpl
def medvistagym_tools():
    return [{name}]
"""
TASK = """
class Quiz:
    name, description, families, splits, tools, abstention = "quiz", "A quiz.", ("all",), ("train",), (), None
    def case(self, split, index, seed=0): raise RuntimeError("no case today")
    def vocabulary(self): return ()
"""
UNDESCRIBED = TASK.replace("description, ", "").replace('"A quiz.", ', "")
# By plugin: its source, and what is said of it when everything is listed.
BROKEN = {
    "no_description": (UNDESCRIBED + "OFFER tasks [Quiz()]", "quiz (Quiz) has no description"),
    "odd_description": (
        UNDESCRIBED
        + "    @property\n    def description(self): raise RuntimeError('no words')\nOFFER tasks [Quiz()]",
        "the task quiz cannot be described: RuntimeError: no words",
    ),
    "exits_when_described": (
        UNDESCRIBED.replace("quiz", "quiz_exit")
        + "    @property\n    def description(self): raise SystemExit(3)\nOFFER tasks [Quiz()]",
        "the task quiz_exit cannot be described: SystemExit: 3",
    ),
    "a_class": (TASK.replace("quiz", "quiz_class") + "OFFER tasks [Quiz]", "offer an instance of it: Quiz()"),
    "hook_raises": ("OFFER tasks 1 / 0", "medvistagym_tasks: ZeroDivisionError: division by zero at hook_raises_plugin.py:"),
    "hook_exits": ("import sys\nOFFER rewards sys.exit(3)", "medvistagym_rewards: SystemExit: it called sys.exit(3)"),
    "no_mapping": ("OFFER rewards [print]", "medvistagym_rewards returns a mapping of names, not list"),
    "no_function": ("OFFER rewards {'brief': 3}", "brief (int) cannot be called"),
    "odd_name": ("OFFER graders {'a b': print}", "'a b' is no name"),
    "no_grader": ("OFFER graders {'kind': 'exact'}", "kind (str) cannot be called"),
    "no_reader": ("OFFER readers ['read']", "read (str) cannot be called"),
    "no_writer": ("OFFER writers [object()]", "object (object) has no suffixes, write"),
    "no_segmenter": ("OFFER segmenters {'lung': print}", "lung (builtin_function_or_method) has no segment"),
    "no_executor": ("OFFER executors {'far': 'host:1'}", "far (str) cannot be called"),
    "no_trainer": ("OFFER trainers [object()]", "object (object) has no name, description, recipes"),
    "no_policy": ("OFFER policies {'idle': None}", "idle (NoneType) cannot be called"),
    "no_format": ("OFFER action_formats {'json': object()}", "json (object) has no think"),
    "no_dialect": ("OFFER dialects {'latin': 3}", "latin (int) cannot be called"),
}  # fmt: skip


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each in a package of its own beside one that is sound; each also has a sound tool."""
    site = tmp_path_factory.mktemp("broken")
    for name, (source, _) in {**BROKEN, "sound": ("", "")}.items():
        source = re.sub(r"OFFER (\w+) (.*)", r"@hookimpl\ndef medvistagym_\1():\n    return \2", source)
        head = "from medvistagym_core import Image, hookimpl, tool\n"
        (site / f"{name}_plugin.py").write_text(head + textwrap.dedent(source) + SOUND.format(name=f"{name}_tool"))
        info = site / f"{name}_dist-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{name} = {name}_plugin\n")
    return site


def cli(site: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medvistagym_core.cli", *map(str, argv)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.e2e
def test_a_broken_one_of_each_kind_is_reported_by_name_and_harms_nothing(broken: Path, picture: Path) -> None:
    listed = cli(broken, "plugins", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    reports: dict[str, Any] = {report["name"]: report for report in json.loads(listed.stdout)}
    tools, tasks = cli(broken, "tools", "list"), cli(broken, "tasks", "list", "--json")
    assert (tools.returncode, tasks.returncode) == (0, 0)
    for name, (_, said) in BROKEN.items():
        assert reports[name]["state"] == "loaded"
        assert said in "\n".join(reports[name]["faults"]) or said in tasks.stderr, (name, reports[name]["faults"])
        assert f"{name}:{name}_tool" in tools.stdout
    assert "scoutvqa" in [task["name"] for task in json.loads(tasks.stdout)]
    done = cli(broken, "tools", "call", "sound_tool", picture, "--json")
    assert json.loads(done.stdout)["error"] is None
    assert cli(broken, "plugins", "check", "sound-dist", "--examples", "1").returncode == 0
    check = cli(broken, "plugins", "check", "no-policy", "--examples", "1")
    assert check.returncode == 1
    assert "idle (NoneType) cannot be called" in check.stdout


USED = {
    "reads_nonsense": ("def read(path): return 3\nOFFER readers [read]", "read of the plugin reads_nonsense gave int"),
    "reads_exit": (
        "import sys\ndef leave(path): sys.exit(0)\nOFFER readers [leave]",
        "leave of the plugin reads_exit failed with SystemExit",
    ),
    "reads_crash": (
        "def crash(path): return 1 / 0\nOFFER readers [crash]",
        "crash of the plugin reads_crash failed with ZeroDivisionError",
    ),
}


def test_readers_that_return_nonsense_or_exit_are_named_and_the_next_is_asked(tmp_path: Path, picture: Path) -> None:
    for name, (source, _) in USED.items():
        source = re.sub(r"OFFER (\w+) (.*)", r"@hookimpl\ndef medvistagym_\1():\n    return \2", source)
        (tmp_path / f"{name}_plugin.py").write_text(f"from medvistagym_core import hookimpl\n{source}\n")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{name} = {name}_plugin\n")
    done = cli(tmp_path, "tools", "call", "measure", picture, "--box", "0,0,1000,1000")
    assert done.returncode == 0, done.stderr
    for _, said in USED.values():
        assert said in done.stderr


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fails when it is used, for Python to import from."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad_plugin.py").write_text(
        "from medvistagym_core import hookimpl\nfrom medvistagym_core.protocol import TextProtocol\n"
        "def bad(*given, **named): raise KeyError('no')\n"
        "class Task:\n"
        "    name, description, families, splits, tools, abstention = 'bad_task', 'Bad.', ('a',), ('test',), (), 'unclear'\n"
        "    def case(self, split, index, seed=0): return {}['lost']\n"
        "    def vocabulary(self): return ()\n"
        "class DictTask(Task):\n    name = 'dict_task'\n    def case(self, split, index, seed=0): return {}\n"
        "class LongTask(Task):\n    name = 'long_task'\n    def size(self, split): return 'ten'\n"
        "@hookimpl\ndef medvistagym_tasks(): return [Task(), DictTask(), LongTask()]\n"
        "@hookimpl\ndef medvistagym_policies(): return {'bad': bad, 'none': lambda *given, **named: None}\n"
        "@hookimpl\ndef medvistagym_executors(): return {'bad': bad}\n"
        "@hookimpl\ndef medvistagym_dialects():\n"
        "    return {'bad': bad, 'none': lambda spec: None, 'sets': lambda spec: {'name': {spec.name}}}\n"
        "@hookimpl\ndef medvistagym_action_formats(): return {'bad': TextProtocol()}\n"
    )
    info = folder / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medvistagym]\nbad = bad_plugin\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    sys.modules.pop("bad_plugin", None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["eval", "--task", "scoutvqa", "--policy", "bad"], "the policy bad cannot be made: KeyError"),
        (
            ["eval", "--task", "scoutvqa", "--policy", "none"],
            "the policy none gave NoneType, which has no name, sampling, act",
        ),
        (["tasks", "show", "bad_task"], "KeyError: 'lost'"),
        (
            ["tasks", "show", "dict_task"],
            "the task dict_task gave dict for case 0 of test; it must give an environment.Case",
        ),
        (
            ["eval", "--task", "dict_task", "--policy", "random", "--cases", "1"],
            "dict_task gave dict for case 0 of test",
        ),
        (
            ["eval", "--task", "long_task", "--policy", "random"],
            "long_task gave 'ten' for the size of test; it must give a number",
        ),
        (["eval", "--task", "scoutvqa", "--policy", "random", "--executor", "bad"], "the executor bad cannot be made"),
        (["tools", "show", "zoom", "--format", "bad"], "the dialect bad fails: KeyError"),
        (["tools", "show", "zoom", "--format", "none"], "the dialect none gave NoneType; it must give a dict or text"),
        (
            ["tools", "show", "zoom", "--format", "sets"],
            "the dialect sets fails: TypeError: Object of type set is not JSON",
        ),
        (["eval", "--task", "scoutvqa", "--policy", "random", "--action-format", "bid"], "did you mean bad?"),
    ],
)
def test_what_fails_when_it_is_used_is_one_sentence(
    bad: None, argv: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) in (1, 2)
    told = capfd.readouterr().err
    assert said in told
    assert "Traceback" not in told
