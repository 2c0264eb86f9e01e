"""`--task-file` in every command that plays, shows or audits a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import main
from medvistagym_core.trajectories import TrajectoryReader

Run = Callable[..., Any]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve questions, of which two cannot be used."""
    rng = np.random.default_rng(0)
    for k in range(3):
        PIL.Image.fromarray(rng.integers(0, 255, (20, 30), np.uint8)).save(tmp_path / f"{k}.png")
    rows = [
        {
            "picture": f"{k % 3}.png",
            "prompt": f"Question {k}?",
            "reply": ("yes", "no")[k % 2],
            "split": ("train", "test")[k > 3],
        }
        for k in range(10)
    ]
    rows.append({"picture": "gone.png", "prompt": "Lost?", "reply": "yes", "split": "test"})
    rows.append({"picture": "0.png", "prompt": "Empty?", "reply": "", "split": "test"})
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine.jsonl"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*argv: str | Path, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main([str(part) for part in argv]) == code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return out, err

    return command


COLUMN = ("--column", "answer=reply")


def test_show_says_how_many_there_are_what_was_left_out_and_what_it_takes(run: Run, table: Path) -> None:
    out, err = run("tasks", "show", "--task-file", table, *COLUMN, "--split", "test", "--index", "2")
    assert "case 2 of 6 in test" in out
    assert "Question 6?" in out
    assert "--task-arg test_share=NUMBER" in out
    assert (
        "2 rows of mine.jsonl cannot be used and are left out: line 11: the picture 'gone.png' does not exist; line 12"
        in err
    )
    shown = json.loads(run("tasks", "show", "mine.jsonl", *COLUMN, "--json")[0])
    assert shown["cases"] == 4
    assert {argument["name"] for argument in shown["arguments"]} >= {"columns", "pictures", "strict", "test_share"}


def test_the_audit_finds_the_rows(run: Run, table: Path) -> None:
    out, _ = run("tasks", "audit", table, *COLUMN, code=1)
    assert "FAIL  rows left out" in out
    table.write_text("".join(line + "\n" for line in table.read_text().splitlines()[:10]))
    assert "FAIL" not in run("tasks", "audit", table, *COLUMN)[0]


def test_sample_ends_at_the_end_of_a_split(run: Run, table: Path) -> None:
    out, err = run(
        "sample", "--task-file", table, *COLUMN, "--policy", "random", "--tools", "", "--out", "s", "--cases", "50"
    )
    assert "mine has 4 cases in train; all from 0 on are played" in err
    assert out.startswith("4 episodes played")
    assert [t.index for t in TrajectoryReader("s/trajectories.jsonl")] == [0, 1, 2, 3]
    _, err = run("sample", "--task-file", table, *COLUMN, "--policy", "random", "--out", "t", "--first", "4", code=2)
    assert "--first 4: mine has 4 cases in train, 0 to 3" in err


def test_eval_plays_the_whole_split_in_an_order_of_the_seed(run: Run, table: Path) -> None:
    out, err = run("eval", "--task-file", table, *COLUMN, "--policy", "random", "--tools", "", "--seed", "3")
    assert "mine test: 6 questions" in err
    assert out.splitlines()[2].split()[2] == "6"


def test_replay_finds_the_table_again(run: Run, table: Path) -> None:
    run(
        "sample",
        "--task-file",
        "mine.jsonl",
        *COLUMN,
        "--policy",
        "random",
        "--tools",
        "window",
        "--out",
        "s",
        "--seed",
        "2",
    )
    out, _ = run("replay", "s/trajectories.jsonl")
    assert out.strip().endswith("the same")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ("--task-file", "mine.jsonl"),
            "mine.jsonl has no column for the answer; its columns are picture, prompt, reply, split",
        ),
        (("--task-file", "mine.jsonl", *COLUMN, "--strict"), "mine.jsonl: 2 of 12 rows cannot be used: line 11"),
        (("--task-file", "none.jsonl"), "none.jsonl: there is no such file or folder"),
        (("--task-file", "none"), "none: there is no such file or folder"),
        (("--task-file", "mine.jsonl", *COLUMN, "--task", "scoutvqa"), "one of them, not both"),
        ((), "name a task with --task NAME, or a question table with --task-file FILE"),
        (("--task", "scoutvqa", "--task-arg", "path=x"), "the task scoutvqa takes no arguments"),
        (("--task-file", "mine.jsonl", "--task-arg", "path"), "--task-arg takes NAME=VALUE"),
        (
            ("--task-file", "mine.jsonl", *COLUMN, "--split", "dev"),
            "mine has no split 'dev'; its splits are train, test",
        ),
        (("--task-file", "mine.jsonl", *COLUMN, "--cases", "0"), "--cases must be at least 1, not 0"),
    ],
)
def test_wrong_usage_is_one_sentence(run: Run, table: Path, argv: tuple[str, ...], said: str) -> None:
    out, err = run("eval", "--policy", "random", "--tools", "", *argv, code=2)
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_overlaps_between_splits_are_listed(run: Run, table: Path) -> None:
    table.write_text(table.read_text().replace('"reply"', '"answer"'))
    found = json.loads(run("tasks", "overlap", "mine.jsonl", "--json")[0])
    assert found["pictures"] == {"mine train": 3, "mine test": 3}
    assert [pair["distance"] for pair in found["overlaps"]] == [None, None, None]
    out, _ = run("tasks", "overlap", "mine.jsonl")
    assert out.strip().splitlines()[-1].startswith("3 pictures are the same, 0 nearly so")
