"""The page as one file: what is in it, and what is not."""

import base64
import errno
import hashlib
import json
import os
import re

import pytest

from medvistagym_core import cli
from medvistagym_core.trajectories.viewer import EpisodeFilter, export, parse_episode_filter

from .plays import CROP, MALFORMED, WINDOW, read


def only(pattern, text):
    (match,) = re.findall(pattern, text, re.DOTALL)
    return match


def test_an_exported_page_holds_the_chosen_episodes_and_asks_for_nothing(write, tmp_path):
    run = read(write([WINDOW], [CROP], [], [MALFORMED]))
    size = export(run, tmp_path / "page.html", [0, 1])
    text = (tmp_path / "page.html").read_text()
    assert size == len(text.encode())
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "not for clinical use" in text
    policy = only(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    script = only(r"<script>(.*?)</script>", text)
    style = only(r"<style>(.*?)</style>", text)
    for part in (script, style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy
    assert "unsafe" not in policy
    blocks = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', text, re.DOTALL))
    data = json.loads(blocks["data"])
    assert data["here"] == [0, 1]
    assert len(data["rows"]) == 4
    assert {name for name in blocks if name.startswith("episode")} == {"episode-0", "episode-1"}
    for episode in (json.loads(blocks["episode-0"]), json.loads(blocks["episode-1"])):
        for image in episode["images"]:
            sha = image["picture"]
            assert base64.b64decode(blocks[f"picture-0-{sha}"]) == (run.path / "images" / f"{sha}.png").read_bytes()


def test_untrusted_text_cannot_end_a_block_of_data(write, tmp_path):
    payload = "</script><script>window.ran=1</script><!--<script>"
    run = read(write([payload], policy=payload))
    export(run, tmp_path / "page.html", [0])
    text = (tmp_path / "page.html").read_text()
    assert "window.ran=1" in text
    assert payload not in text
    assert "<!--" not in text.replace("<!doctype", "")
    assert text.count("<script>") == text.count('<script>"use strict"') == 1


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (EpisodeFilter(), [0, 1, 2, 3]),
        (EpisodeFilter(tool="window"), [0]),
        (EpisodeFilter(error="malformed_call"), [3]),
        (EpisodeFilter(family="direct"), [1, 3]),
        (EpisodeFilter(task="quadrants", outcome="no answer"), []),
        (EpisodeFilter(task="other"), []),
    ],
)
def test_episodes_are_chosen_by_what_they_are(write, choice, numbers):
    assert parse_episode_filter(read(write([WINDOW], [CROP], [], [MALFORMED])), choice) == numbers


def test_a_sample_is_drawn_by_its_seed(write):
    run = read(write(*[[]] * 30))
    some = parse_episode_filter(run, EpisodeFilter(episodes=10))
    assert len(some) == 10
    assert some == sorted(some) == parse_episode_filter(run, EpisodeFilter(episodes=10))
    assert some != parse_episode_filter(run, EpisodeFilter(episodes=10, seed=1))


def test_the_command_exports_a_page(write, tmp_path, capsys):
    folder = write([WINDOW], [CROP])
    out = tmp_path / "page.html"
    assert cli.main(["view", str(folder), "--export", str(out), "--tool", "crop", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"file": str(out), "episodes": 1, "of": 2, "bytes": out.stat().st_size}


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--tool", "windw", "no episode has the tool 'windw'; did you mean window?"),
        ("--error", "malformed", "no episode has the error 'malformed'; did you mean malformed_call?"),
        ("--family", "xyz", "no episode has the family 'xyz'; there are: "),
        ("--task", "quadrant", "no episode has the task 'quadrant'; did you mean quadrants?"),
    ],
)
def test_a_name_that_no_episode_has_is_refused(write, tmp_path, capsys, option, name, said):
    folder = write([WINDOW], [CROP], [MALFORMED])
    assert cli.main(["view", str(folder), "--export", str(tmp_path / "page.html"), option, name]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_names_that_no_episode_has_together_are_refused(write, tmp_path, capsys):
    folder, out = write([WINDOW], [MALFORMED]), tmp_path / "page.html"
    choice = ["--tool", "window", "--error", "malformed_call"]
    assert cli.main(["view", str(folder), "--export", str(out), *choice]) == 2
    assert (
        "no episode is left by --tool window and --error malformed_call; nothing was written" in capsys.readouterr().err
    )
    assert not out.exists()


def test_damaged_results_are_told_of_an_exported_page(write, tmp_path, capsys):
    folder = write([WINDOW])
    (folder / "results.json").write_text("{")
    assert cli.main(["view", str(folder), "--export", str(tmp_path / "page.html")]) == 0
    assert "left out: results.json: its results cannot be read (" in capsys.readouterr().err
    assert "its results cannot be read" in (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_leaves_nothing_behind(write, tmp_path, capsys, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = write([WINDOW])
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert cli.main(["view", str(folder), "--export", str(tmp_path / "page.html")]) == 1
    assert "page.html cannot be written: No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_command_says_what_is_wrong(write, tmp_path, capsys):
    folder = str(write([WINDOW]))
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"phase": "grpo", "step": 1}\n')
    for wrong, why in (
        ([str(tmp_path / "nowhere")], "no such file or folder"),
        ([folder, "--export", str(tmp_path / "page.txt")], ".html"),
        ([folder, "--export", str(tmp_path / "no" / "page.html")], "does not exist"),
        ([folder, "--episodes", "0", "--export", str(tmp_path / "page.html")], "at least 1"),
        ([folder, "--port", "99999"], "65535"),
        ([folder, "--outcome", "good"], "invalid choice"),
        ([folder, "--outcome", "wrong"], "--outcome chooses episodes for --export"),
        ([folder, "--seed", "0"], "--seed chooses episodes for --export"),
        ([str(metrics), "--export", str(tmp_path / "page.html")], "metrics.jsonl is no trajectory file ("),
    ):
        assert cli.main(["view", *wrong]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
