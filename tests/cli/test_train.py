"""`medvistagym train`: the run folder, what reaches the trainer, and what an interrupt leaves behind.

The trainer is a stand-in, installed the way a real one is: a module with an entry point.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.cli import main

TRAINER = """
import json
import os
import subprocess
import sys

from medvistagym_core import hookimpl
from medvistagym_core.plugins import SelectionError
from medvistagym_core.rollouts import TrainingPlan
from medvistagym_core.trajectories import ResultRow as Row, Results


class Trainer:
    name = "standin"
    description = "Writes what it was asked to do."

    def recipes(self):
        return {}

    def tool_schemas(self, toolbox):
        return toolbox.schemas()

    def load_policy(self, registry, path, task, toolbox, *, temperature=None, seed=0):
        raise NotImplementedError

    def launch_command(self, request):
        program = "import json, os, sys; open('launched.json', 'w').write(json.dumps(sys.argv[1:])); sys.exit(3)"
        program = os.environ.get("STANDIN_PROGRAM", program)
        return [sys.executable, "-c", program, str(request.gpus), str(request.parallel), *request.arguments]

    def check(self, registry, *, run, recipe, changes, tools, model, quick, resume, processes):
        if recipe == "unknown":
            raise SelectionError(f"there is no recipe 'unknown' for {processes} processes")

    def plan(self, registry, *, recipe, changes, tools, model, quick, launch=None):
        if launch is not None:
            return TrainingPlan(f"{launch.gpus} devices of {launch.device_gib} GiB for {' '.join(launch.arguments)}", {})
        if recipe == "missing":
            raise SelectionError("there is no recipe 'missing'")
        print("chatter of a library")
        return TrainingPlan(f"the plan of {recipe}", {"recipe": recipe, "changes": changes, "model": model})

    def train(self, registry, *, run, recipe, changes, tools, model, quick, resume):
        if recipe == "unknown":
            raise SelectionError("there is no recipe 'unknown'")
        print("chatter of a library")
        asked = {"recipe": recipe, "changes": changes, "tools": tools, "model": model, "quick": quick, "resume": resume}
        if recipe == "allowed":
            (run / "allowed.txt").write_text(os.environ.get("MEDVISTAGYM_PLUGINS", "all"))
            (run / "models.txt").write_text(os.environ.get("MEDVISTAGYM_MODELS", "none"))
        if recipe == "second":
            program = "from medvistagym_core import Registry; print(sorted(Registry.discover('none').tools))"
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            (run / "tools.txt").write_text(done.stdout)
        if recipe == "missing":
            raise ValueError("there is no recipe 'missing'")
        (run / "asked.json").write_text(json.dumps(asked))
        if recipe == "endless":
            raise KeyboardInterrupt
        if recipe == "forgetful":
            return
        row = Row.from_counts("SFT", "overall", "greedy", n=10, correct=9, calls=7, abstained=0)
        Results(task="t", split="test", seed=0, rows=(row,), notes=("A note.",)).save(run / "results.json")


@hookimpl
def medvistagym_trainers():
    return [Trainer()]
"""

Train = Callable[..., int]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    site = tmp_path / "site"
    info = site / "standin-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "standin_trainer.py").write_text(TRAINER, "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 0.1\n", "utf-8")
    (info / "entry_points.txt").write_text("[medvistagym]\nstandin = standin_trainer\n", "utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    return lambda *argv: main(["train", "--trainer", "standin", *map(str, argv)])


def asked(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "asked.json").read_text())
    return found


def test_it_ends_with_the_table(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--run", "one", "--quick", "--seed", "3", "--set", "grpo.steps=5", "--set", "task=chain") == 0
    out = capsys.readouterr().out
    assert "0.900" in out
    assert "A note." in out
    assert asked(tmp_path / "one") == {
        "recipe": None,
        "changes": {"grpo.steps": 5, "task": "chain", "seed": 3},
        "tools": None,
        "model": None,
        "quick": True,
        "resume": False,
    }


def test_an_executor_is_a_setting_of_the_recipe(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--run", "one", "--executor", "process") == 0
    assert asked(tmp_path / "one")["changes"] == {"executor": "process"}
    assert train("--run", "two", "--executor", "proces") == 2
    assert "did you mean process?" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_the_recipe_may_be_the_first_word(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("paper", "--run", "one", "--sft-data", "a", "--sft-data", "b", "--executor", "process") == 0
    assert asked(tmp_path / "one")["recipe"] == "paper"
    assert asked(tmp_path / "one")["changes"] == {"executor": "process", "sft.data": ["a", "b"]}
    assert train("paper", "--recipe", "paper", "--run", "two") == 0
    capsys.readouterr()
    assert train("paper", "--recipe", "other", "--run", "three") == 2
    assert "two recipes are named, paper and other" in capsys.readouterr().err


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("paper", "--model", "DIR", "--set", "seed=3", "--dry-run") == 0
    assert capsys.readouterr().out == "the plan of paper\n"
    assert train("paper", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"recipe": "paper", "changes": {}, "model": None}
    assert train("missing", "--dry-run") == 2
    assert train("--dry-run", "--resume") == 2
    assert "leave --resume away" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_json_is_the_results_document(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--run", "one", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["accuracy"] == 0.9


def test_without_a_folder_one_is_made_in_runs(train: Train, tmp_path: Path) -> None:
    assert train() == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert asked(folder)["resume"] is False


def test_an_interrupt_says_how_to_go_on(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--run", "stopped run", "--recipe", "endless") == 130
    err = capsys.readouterr().err
    assert "medvistagym train --run 'stopped run' --resume" in err
    assert "Traceback" not in err
    assert train("--run", "stopped run", "--resume") == 0
    assert asked(tmp_path / "stopped run")["resume"] is True


def test_a_bare_resume_takes_the_newest_run(train: Train, tmp_path: Path) -> None:
    assert train("--recipe", "endless") == 130
    assert train("--resume") == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert asked(folder)["resume"] is True


def test_a_bare_resume_takes_no_newer_study_or_evaluation(train: Train, tmp_path: Path) -> None:
    for age, (name, file) in enumerate(
        (
            ("old", "toolbox.lock.json"),
            ("run", "toolbox.lock.json"),
            ("science", "recipe.yaml"),
            ("eval", "scores.json"),
        )
    ):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / file).write_text("{}")
        os.utime(tmp_path / "runs" / name, (age, age))
    assert train("--resume") == 0
    assert asked(tmp_path / "runs" / "run")["resume"] is True


def test_a_run_in_use_is_not_overwritten(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--run", "one") == 0
    before = asked(tmp_path / "one")
    assert train("--run", "one", "--quick") == 2
    assert "--resume" in capsys.readouterr().err
    assert asked(tmp_path / "one") == before


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--run", "none", "--resume"], 2, "no such run"),
        (["--resume"], 2, "no run to resume"),
        (["--tools", "no_such_tool"], 2, "no_such_tool"),
        (["--task", "no_such_task"], 2, "no_such_task"),
        (["--trainer", "no_such_trainer"], 2, "no_such_trainer"),
        (["--set", "grpo.steps"], 2, "SETTING=VALUE"),
        (["--recipe", "missing"], 1, "no recipe"),
        (["--recipe", "forgetful"], 1, "without results"),
    ],
)
def test_mistakes_are_one_sentence(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, said: str
) -> None:
    assert train(*argv) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    left = [folder for folder in tmp_path.rglob("*") if folder.is_dir() and not any(folder.iterdir())]
    assert left == [], "an empty folder was left behind"


def test_a_recipe_that_cannot_be_had_is_all_that_is_said(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--recipe", "unknown") == 2
    assert capsys.readouterr() == ("", "medvistagym: there is no recipe 'unknown'\n")


def test_the_run_folder_is_named_before_the_trainer_says_anything(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--run", "one") == 0
    assert capsys.readouterr().err.startswith("run folder: one\nchatter of a library\n")
    assert train("--run", "two", "--recipe", "endless") == 130
    said = capsys.readouterr().err
    assert said.startswith("run folder: two\n")
    assert train("--run", "two", "--resume") == 0
    assert "run folder" not in capsys.readouterr().err


def test_the_tool_that_did_not_load_stops_the_run_with_its_reason(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "site" / "broken-0.1.dist-info"
    info.mkdir()
    (tmp_path / "site" / "broken_plugin.py").write_text("raise RuntimeError('the licence has run out')\n", "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n", "utf-8")
    (info / "entry_points.txt").write_text("[medvistagym]\nbroken = broken_plugin\n", "utf-8")
    assert train("--tools", "broken_tool") == 2
    assert "the licence has run out" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert train("--run", "healthy") == 0
    assert "the licence has run out" in capsys.readouterr().err


def test_processes_of_the_trainer_obey_the_allow_list(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDVISTAGYM_PLUGINS", raising=False)
    assert train("--run", "one", "--recipe", "allowed", "--plugins", "standin") == 0
    assert (tmp_path / "one" / "allowed.txt").read_text() == "standin"
    assert train("--run", "two", "--recipe", "allowed") == 0
    assert (tmp_path / "two" / "allowed.txt").read_text() == "all"


def test_processes_of_the_trainer_have_the_tools_of_files_too(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my_tools.py"
    file.write_text(
        "from medvistagym_core import Image, tool\n\n@tool\ndef nothing(image: Image) -> str:\n"
        '    """Say nothing.\n\n    Args:\n        image: Any.\n    """\n    return ""\n',
        "utf-8",
    )
    assert train("--run", "one", "--recipe", "second", "--tools-from", "my_tools.py", "--tools", "nothing") == 0
    assert (tmp_path / "one" / "tools.txt").read_text() == "['local:nothing']\n"
    assert train("--run", "two", "--recipe", "second") == 0
    assert (tmp_path / "two" / "tools.txt").read_text() == "[]\n"
    assert train("--run", "three", "--recipe", "endless", "--tools-from", "my_tools.py") == 130
    assert "--run three --resume --tools-from my_tools.py" in capsys.readouterr().err


def test_processes_of_the_trainer_have_the_models_of_a_file_too(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MEDVISTAGYM_MODELS", raising=False)
    (tmp_path / "models.toml").write_text("", "utf-8")
    assert train("--run", "one", "--recipe", "allowed", "--models", "models.toml") == 0
    assert (tmp_path / "one" / "models.txt").read_text() == str(tmp_path / "models.toml")
    assert train("--run", "two", "--recipe", "allowed") == 0
    assert (tmp_path / "two" / "models.txt").read_text() == "none"
    assert train("--run", "three", "--recipe", "endless", "--models", "models.toml") == 130
    assert "--run three --resume --models models.toml" in capsys.readouterr().err


def test_several_processes_are_started_with_the_same_words(train: Train, tmp_path: Path) -> None:
    words = ("paper", "--seed", "3", "--set", "grpo.steps=5", "--gpus", "2", "--parallel=fsdp2", "--run", "one")
    assert train(*words) == 3
    launched = json.loads((tmp_path / "launched.json").read_text())
    assert launched[:2] == ["2", "fsdp2"]
    assert launched[2:] == ["--trainer", "standin", "paper", "--seed", "3", "--set", "grpo.steps=5", "--out", "one"]
    assert train("--gpus", "4") == 3
    launched = json.loads((tmp_path / "launched.json").read_text())
    assert launched[:4] == ["4", "None", "--trainer", "standin"]
    assert launched[4] == "--out"  # the folder has to be the same in all of them
    assert not (tmp_path / "one").exists()


def test_a_file_is_no_run_folder(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.dcm").touch()
    assert train("--run", "scan.dcm") == 2
    assert capsys.readouterr().err == "medvistagym: scan.dcm is a file; name a folder for the run\n"


def test_what_a_trainer_refuses_is_said_once_and_nothing_is_started(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("unknown", "--gpus", "2", "--run", "one") == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "medvistagym: there is no recipe 'unknown' for 2 processes\n")
    assert not (tmp_path / "launched.json").exists()
    assert not (tmp_path / "one").exists()


def test_a_launch_is_planned_without_starting_it(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("paper", "--gpus", "8", "--gpu-memory", "24", "--rate", "sync=8", "--dry-run", "--model", "DIR") == 0
    assert capsys.readouterr().out == "8 devices of 24.0 GiB for --trainer standin paper --model DIR\n"
    assert not (tmp_path / "launched.json").exists()
    for words, sentence in (
        (("--gpus", "0"), "--gpus is at least 1, not 0"),
        (("--parallel", "ddp"), "say how many with --gpus"),
        (("--gpus", "2", "--rate", "sync=8"), "are for a plan: add --dry-run"),
        (("--gpus", "2", "--gpu-memory", "0", "--dry-run"), "--gpu-memory is above 0 GiB, not 0"),
    ):
        assert train(*words) == 2
        assert sentence in capsys.readouterr().err


def test_a_launch_that_a_signal_ends_says_which(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setenv("STANDIN_PROGRAM", program)
    assert train("--gpus", "2", "--run", "one") == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_processes_are_started_leaves_none_behind(
    train: Train, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def interrupted(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(*words, **options))
        os.kill(os.getpid(), number)
        return started[-1]

    program = "import time; time.sleep(600)"
    monkeypatch.setenv("STANDIN_PROGRAM", program)
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.getsignal(number)
    assert train("--gpus", "2", "--run", "one") == 128 + signal.SIGTERM
    assert started[0].poll() == -signal.SIGTERM
    assert signal.getsignal(number) == before
