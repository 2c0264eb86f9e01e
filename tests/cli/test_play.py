"""`medvistagym prompt`, `tasks`, `sample` and `eval`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.cli import main
from medvistagym_core.trajectories import Results, TrajectoryReader

Run = Callable[..., Any]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must succeed, and gives what it printed."""

    def command(*argv: str | Path) -> str:
        capsys.readouterr()
        code = main([str(part) for part in argv])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return command


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must fail, and gives its exit code and its one sentence."""

    def command(*argv: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(part) for part in argv])
        out, err = capsys.readouterr()
        assert (out, "Traceback" in err) == ("", False)
        return code, err

    return command


# -- prompt


def test_the_prompt_names_each_tool_and_how_to_call_it(printed: Run) -> None:
    prompt = printed("prompt", "--tools", "window,zoom", "--task", "scoutvqa")
    assert "window" in prompt
    assert "zoom" in prompt
    assert '"measure"' not in prompt
    assert "<tool_call>" in prompt
    assert "unclear" in prompt
    assert "Tools" not in printed("prompt", "--tools", "")


def test_the_prompt_as_json_keeps_schemas_apart_for_a_chat_template(printed: Run) -> None:
    found = json.loads(printed("prompt", "--tools", "zoom", "--json"))
    shown = json.loads(printed("tools", "show", "zoom", "--format", "huggingface"))
    assert found["tools"] == [shown]
    assert '"parameters"' not in found["system"]


# -- tasks


def test_tasks_are_listed_with_what_they_offer(printed: Run) -> None:
    tasks = {task["name"]: task for task in json.loads(printed("tasks", "list", "--json"))}
    assert tasks["scoutvqa"]["families"] == ["window", "zoom", "measure", "direct"]
    assert "expert" in tasks["scoutvqa"]["offers"]
    assert "scoutvqa" in printed("tasks", "list")


def test_a_case_is_shown_without_its_answer(printed: Run, tmp_path: Path) -> None:
    argv = ["tasks", "show", "scoutvqa", "--split", "test", "--index", "2", "--out", tmp_path / "case"]
    case = json.loads(printed(*argv, "--json"))
    assert "answer" not in case
    assert Path(case["images"][0]["file"]).is_file()
    told = json.loads(printed(*argv, "--json", "--answer"))["answer"]
    assert "answer" not in printed(*argv)
    assert f"answer: {told}" in printed(*argv, "--answer")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["tasks", "show", "scoutvq"], "did you mean scoutvqa"),
        (["tasks", "show", "scoutvqa", "--split", "tset"], "its splits are"),
        (["tasks", "show", "scoutvqa", "--index", "-1"], "from 0"),
        (["tasks", "audit", "scoutvqa", "--cases", "0"], "at least 1"),
        (["sample", "--task", "scoutvqa", "--policy", "expert", "--split", "tset", "--out", "x"], "its splits are"),
        (["sample", "--task", "scoutvqa", "--policy", "expert", "--cases", "0", "--out", "x"], "at least 1"),
        (["sample", "--task", "scoutvqa", "--policy", "demonstration", "--skill", "2", "--out", "x"], "probability"),
        (["sample", "--task", "scoutvqa", "--policy", "expert", "--temperature", "1", "--out", "x"], "for a model"),
        (["sample", "--task", "scoutvqa", "--model", "no/such/run", "--out", "x"], "no such run"),
        (["sample", "--task", "scoutvqa", "--out", "x"], "one of the arguments"),
        (["eval", "--task", "scoutvqa", "--policy", "demonstration"], "there is no policy 'demonstration'"),
        (["eval", "--task", "scoutvqa", "--policy", "expert", "--out", "no/such/r.json"], "does not exist"),
        (["eval", "--task", "scoutvqa", "--policy", "expert", "--tools", "zom"], "did you mean zoom"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(
    refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, err = refused(*argv)
    assert code == 2
    assert said in err
    assert list(tmp_path.iterdir()) == []


# -- sample


def test_sampling_goes_on_where_it_stopped(printed: Run, tmp_path: Path) -> None:
    argv = ["sample", "--task", "scoutvqa", "--policy", "expert", "--out", tmp_path, "--json"]
    first = json.loads(printed(*argv, "--cases", "6"))
    assert (first["played"], first["kept"]) == (6, 6)
    second = json.loads(printed(*argv, "--cases", "9"))
    assert (second["played"], second["kept"]) == (3, 3)
    ids = [trajectory.id for trajectory in TrajectoryReader(second["file"])]
    assert len(ids) == len(set(ids)) == 9


def test_only_right_episodes_are_kept_when_asked(printed: Run, tmp_path: Path) -> None:
    argv = ["sample", "--task", "scoutvqa", "--policy", "random", "--cases", "24", "--keep", "correct"]
    said = json.loads(printed(*argv, "--out", tmp_path, "--json"))
    kept = list(TrajectoryReader(tmp_path / "trajectories.jsonl"))
    assert said["played"] == 24
    assert 0 < len(kept) == said["kept"] == said["correct"] < 24
    assert all(trajectory.outcome.correct for trajectory in kept)


def test_another_toolbox_does_not_go_into_the_same_file(printed: Run, refused: Run, tmp_path: Path) -> None:
    argv = ["sample", "--task", "scoutvqa", "--policy", "expert", "--cases", "2", "--out", tmp_path]
    printed(*argv)
    code, err = refused(*argv, "--tools", "zoom")
    assert code == 1
    assert "locked" in err


def test_an_interrupt_leaves_a_file_that_reads(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medvistagym_core.cli", "sample", "--task", "scoutvqa", "--policy", "expert"]
    command += ["--cases", "1000000", "--batch", "4", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "trajectories.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (file.is_file() and file.stat().st_size > 100_000):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (out, "Traceback" in err) == ("", False)
    assert "goes on with it" in err
    assert len(list(TrajectoryReader(file))) > 1


# -- eval


def test_eval_measures_with_tools_without_them_and_with_each_left_out(printed: Run, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    argv = ["eval", "--task", "scoutvqa", "--policy", "expert", "--cases", "32", "--without-tools", "--ablate"]
    text = printed(*argv, "--out", file)
    results = Results.load(file)
    assert results.row("expert").accuracy == 1
    assert results.row("expert, no tools").accuracy < 0.5
    for tool in ("window", "zoom", "measure"):
        assert results.row(f"expert, without {tool}", tool).accuracy < results.row("expert", tool).accuracy
        assert results.row(f"expert, without {tool}", "direct").accuracy == 1
    assert "expert, without zoom" in text


def test_eval_prints_the_document_it_writes(printed: Run, tmp_path: Path) -> None:
    argv = ["eval", "--task", "scoutvqa", "--policy", "random", "--cases", "8", "--json"]
    document = json.loads(printed(*argv, "--out", tmp_path / "results.json"))
    assert document == json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert printed(*argv) == printed(*argv)


def test_a_reward_that_is_asked_for_is_told(printed: Run, refused: Run) -> None:
    argv = ["eval", "--task", "scoutvqa", "--policy", "random", "--cases", "8"]
    plain = json.loads(printed(*argv, "--json"))
    assert "reward" not in plain["rows"][0]
    assert "reward" not in printed(*argv)
    rows = {
        reward: json.loads(printed(*argv, "--reward", reward, "--json"))["rows"][-1]
        for reward in ("scout", "scout,calls=1")
    }
    assert rows["scout"]["reward"] - rows["scout,calls=1"]["reward"] == pytest.approx(
        plain["rows"][-1]["calls_per_question"]
    )
    assert "reward" in printed(*argv, "--reward", "paper").splitlines()[0]
    assert "did you mean repairs" in refused(*argv, "--reward", "paper,repair=1")[1]


def test_a_strangers_tool_from_a_file_takes_part(printed: Run, tmp_path: Path) -> None:
    file = tmp_path / "tools.py"
    file.write_text(
        'from medvistagym_core import Image, tool\n\n\n@tool\ndef nothing(image: Image) -> str:\n    """Say nothing.\n\n'
        '    Args:\n        image: Any image.\n    """\n    return "nothing"\n',
        "utf-8",
    )
    argv = ["sample", "--task", "scoutvqa", "--policy", "random", "--cases", "8", "--tools", "nothing"]
    printed(*argv, "--tools-from", file, "--out", tmp_path / "out")
    calls = [
        call.name
        for trajectory in TrajectoryReader(tmp_path / "out" / "trajectories.jsonl")
        for turn in trajectory.turns
        for call in turn.calls
    ]
    assert set(calls) == {"nothing"}
