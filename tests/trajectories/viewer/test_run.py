"""Rows, figures and boxes of a run, from its files."""

import json
import math
import os

import numpy as np
import pytest

from medvistagym_core.tools import ToolCall
from medvistagym_core.trajectories import ResultRow, Results, Trajectory, TrajectoryWriter
from medvistagym_core.trajectories.viewer import EpisodeIndex

from .plays import CROP, CROP_OF_CROP, LINE, MALFORMED, OUTLINE, OUTSIDE, TILTED, TURNED, WINDOW, forget_expected, read


def texts(run, column):
    table = run.table()
    return [table["strings"][row[table["columns"].index(column)]] for row in table["rows"]]


# -- reading


def test_rows_tell_of_each_episode_and_the_record_follows(write):
    run = read(write([WINDOW], [MALFORMED, OUTSIDE], []))
    table = run.table()
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    strings = table["strings"]
    assert texts(run, "family") == ["window", "direct", "window"]
    assert texts(run, "policy") == ["hand"] * 3
    assert texts(run, "question")[0].startswith("Which quadrant is bright?")
    assert [[strings[n] for n in row["tools"]] for row in rows] == [["window"], ["crop"], []]
    assert [[(strings[c], strings[t]) for c, t in row["errors"]] for row in rows] == [
        [],
        [("malformed_call", ""), ("bad_value", "crop")],
        [],
    ]
    assert [row["turns"] for row in rows] == [2, 3, 1]
    assert rows[0]["seconds"] > 0.5
    episode = run.episode(1)
    assert episode["turns"][1]["calls"][0]["arguments"] == OUTSIDE.arguments
    assert sum(episode["parts"].values()) == pytest.approx(episode["reward"])
    assert run.picture(0, episode["images"][0]["picture"]).is_file()
    with pytest.raises(IndexError):
        run.episode(3)


def test_an_answer_is_neither_right_nor_wrong_where_nobody_has_said_what_is(write):
    table = read(forget_expected(write([WINDOW]))).table()
    assert table["outcomes"][table["rows"][0][table["columns"].index("outcome")]] == "answered"


def test_what_is_appended_later_is_taken_up_and_an_unfinished_line_waits(write, monkeypatch):
    folder = write([WINDOW], [])
    run = read(folder)
    assert len(run.rows) == 2
    whole = (folder / "test.jsonl").read_bytes()
    with (folder / "test.jsonl").open("ab") as file:
        file.write(whole[:500])
    assert run.poll() == 0
    with (folder / "test.jsonl").open("ab") as file:
        file.write(whole[500:])
    assert run.poll() == 2
    assert run.table(2)["rows"][0][1] == run.rows[0][1]
    assert run.trajectory(3) == run.trajectory(1)
    write([CROP], name="other", policy="second")
    monkeypatch.setattr(
        "medvistagym_core.trajectories.viewer._index.time.monotonic", lambda: math.inf
    )  # new files are looked for now and then
    assert run.poll() == 1
    assert run.files == ["test.jsonl", "other.jsonl"]
    assert texts(run, "policy")[-1] == "second"


def test_reading_goes_in_steps(write):
    run = EpisodeIndex(write(*[[]] * 7))
    assert [run.poll(3), run.poll(3), run.poll(3), run.poll(3)] == [3, 3, 1, 0]


def test_a_line_that_cannot_be_read_is_named_and_left_out(write):
    folder = write([WINDOW], [])
    lines = (folder / "test.jsonl").read_text().splitlines()
    (folder / "test.jsonl").write_text("\n".join([lines[0], '{"version": 9}', "no json", lines[1], ""]))
    run = read(folder)
    assert len(run.rows) == 2
    assert [p.split(": ")[0] for p in run.problems] == ["test.jsonl, line 2", "test.jsonl, line 3"]
    assert run.trajectory(1).index == 1


def test_a_record_that_cannot_be_shown_hides_no_other(write, monkeypatch):
    folder = write([WINDOW], [], [WINDOW])
    row = EpisodeIndex._row

    def fails_on_one(self, number, trajectory):
        if trajectory.index == 1:
            raise TypeError("this row")
        return row(self, number, trajectory)

    monkeypatch.setattr(EpisodeIndex, "_row", fails_on_one)
    run = read(folder)
    assert [run.trajectory(k).index for k in range(2)] == [0, 2]
    assert run.problems == ["test.jsonl, line 2: it cannot be shown (TypeError: this row)"]


def test_numbers_without_end_are_shown(write):
    folder = write([WINDOW])
    line = (folder / "test.jsonl").read_text()
    record = json.loads(line)
    record["turns"][0]["policy_seconds"] = record["reward"] = "@"
    (folder / "test.jsonl").write_text(json.dumps(record).replace('"@"', "1e999") + "\n" + line)
    run = read(folder)
    assert len(run.rows) == 2
    assert run.episode(0)["reward"] == math.inf


def test_only_regular_files_are_opened(write):
    folder = write([WINDOW])
    (folder / "pipe.lock.json").write_text("{}")
    for name in ("pipe.jsonl", "below/metrics.jsonl", "below/results.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        os.mkfifo(folder / name)
    (folder / "zero.lock.json").write_text("{}")
    (folder / "zero.jsonl").symlink_to("/dev/zero")
    run = read(folder)
    assert run.files == ["test.jsonl"]
    assert run.charts() == {"curves": [], "results": [], "problems": []}


def test_a_line_longer_than_any_record_is_left_out(write, monkeypatch):
    folder = write([WINDOW], [])
    lines = (folder / "test.jsonl").read_text().splitlines()
    longest = max(map(len, lines)) + 10
    for module in ("trajectories._lines", "trajectories.viewer._index"):
        monkeypatch.setattr(f"medvistagym_core.{module}.MAX_LINE_BYTES", longest, raising=False)
    (folder / "test.jsonl").write_text("\n".join([lines[0], "x" * 3 * longest, lines[1], ""]))
    run = read(folder)
    assert [row[0] for row in run.rows] == [0, 0]
    assert run.trajectory(1).index == 1
    (folder / "test.jsonl").write_text("\n".join([lines[0], "x" * 3 * longest, lines[1], lines[1], ""]))
    assert run.poll() == 1


def test_a_file_alone_is_a_run_and_a_folder_without_one_is_not(write, tmp_path):
    folder = write([WINDOW])
    assert read(folder / "test.jsonl").files == ["test.jsonl"]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="there is no"):
            EpisodeIndex(path)


def test_what_the_training_logged_and_reached_is_found(write):
    folder = write([WINDOW])
    lines = [{"phase": "grpo", "step": k, "accuracy": k / 3, "window/accuracy": 0.5, "note": "x"} for k in range(3)]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '[1]\nbroken\n{"step": "x"}\n'
    )
    rows = (ResultRow.from_counts("expert", "overall", "greedy", n=4, correct=3, calls=4, abstained=1),)
    Results(task="t", split="test", seed=0, rows=rows).save(folder / "results.json")
    figures = read(folder).charts()
    (curves,) = figures["curves"]
    assert curves["series"]["grpo"] == {
        "accuracy": [(0, 0.0), (1, 1 / 3), (2, 2 / 3)],
        "window/accuracy": [(k, 0.5) for k in range(3)],
    }
    assert figures["results"][0]["rows"][0]["correct"] == 3


@pytest.mark.parametrize("text", ['{"rows": [', "{}", "[]"])
def test_damaged_results_are_named(write, text):
    folder = write([WINDOW])
    (folder / "below").mkdir()
    (folder / "below" / "results.json").write_text(text)
    figures = read(folder).charts()
    assert figures["results"] == []
    (problem,) = figures["problems"]
    assert problem.startswith("below/results.json: its results cannot be read (")


def test_steps_that_a_resumed_training_logged_again_count_once_and_in_order(write):
    folder = write([WINDOW])
    steps = [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.25), (3, 0.35), (4, 0.4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": k, "loss": v}) + "\n" for k, v in steps))
    (curves,) = read(folder).charts()["curves"]
    assert curves["series"][""]["loss"] == [(1, 0.1), (2, 0.25), (3, 0.35), (4, 0.4)]


def test_episodes_that_are_played_again_take_their_old_places(write, tools):
    folder = write([WINDOW], [CROP], [])
    run = read(folder)
    file = folder / "test.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    failed = json.loads(lines[1])
    failed["outcome"] |= {"ended": "policy_failed", "reason": "no room"}
    file.write_bytes(lines[0] + json.dumps(failed).encode() + b"\n" + lines[2])
    with TrajectoryWriter(file, tools) as writer:
        run = read(folder)
        assert texts(run, "ended") == ["answered", "policy_failed", "answered"]
        writer.remove_failed(lambda t: True)
        run.poll()
        with pytest.raises(ValueError, match=r"."):
            run.trajectory(1)
        assert run.trajectory(2).index == 2
        writer.write(Trajectory.model_validate_json(lines[1]), {})
    run.poll()
    assert texts(run, "ended") == ["answered"] * 3
    assert [run.trajectory(k).index for k in range(3)] == [0, 1, 2]
    assert run.episode(1)["turns"][0]["calls"][0]["name"] == "crop"
    assert len(run.rows) == 3


def test_another_file_is_not_taken_for_the_old_one_that_had_its_inode(write):
    folder = write([CROP, WINDOW], [CROP], [WINDOW], [CROP])
    file, run = folder / "test.jsonl", read(folder)
    number, before = file.stat().st_ino, file.read_bytes().splitlines(keepends=True)
    for k, lines in enumerate((before[1:] + before[:1], before[2:] + before[:2], before[1:3]), 1):
        file.write_bytes(b"".join(lines))  # in place, as a new file that is given the number of one that is gone
        os.utime(file, (k, k))
        assert file.stat().st_ino == number
        assert run.poll() == len(lines)
        assert run.problems == []
        assert len(run.rows) == 4
        for line in lines:
            t = Trajectory.model_validate_json(line)
            assert run.trajectory(t.index) == t
    assert run.poll() == 0


# -- lineage


def test_boxes_lie_on_the_source_however_many_crops_lie_between(write):
    run = read(write([CROP, CROP_OF_CROP, WINDOW, OUTSIDE]))
    episode = run.episode(0)
    first, second = episode["marks"]
    assert (first["turn"], first["tool"], first["handle"], first["root"]) == (0, "crop", 0, 0)
    assert first["on"] == first["at"] == [(0.5, 0), (1, 0), (1, 0.5), (0.5, 0.5)]
    assert (second["turn"], second["handle"], second["root"]) == (1, 1, 0)
    assert second["on"] == [(0, 0.5), (0.5, 0.5), (0.5, 1), (0, 1)]
    assert second["at"] == [(0.5, 0.25), (0.75, 0.25), (0.75, 0.5), (0.5, 0.5)]
    assert episode["roots"] == [0, 0, 0, 0]
    window = episode["images"][3]
    assert (window["window_center"], window["window_width"]) == (1, 10)


def test_lines_and_outlines_lie_on_the_source_too(write):
    line, outline = read(write([CROP, LINE, OUTLINE])).episode(0)["marks"][1:]
    assert (line["handle"], line["on"], line["at"]) == (1, [(0, 0), (1, 0.5)], [(0.5, 0), (1, 0.25)])
    assert (outline["handle"], outline["at"]) == (0, [(0, 0), (0.1, 0), (0.05, 0.08)])


def test_boxes_of_a_tilted_image_lie_tilted_on_the_source(write):
    cut = ToolCall(name="tilted", arguments={"image": 0, "grown": False})
    whole, inside = (ToolCall(name="crop", arguments={"image": k, "box": [250, 250, 750, 750]}) for k in (1, 3))
    episode = read(write([TILTED, whole, cut, inside])).episode(0)
    large, corners, small = episode["marks"]  # the first turn shows all of the image and is no place in it
    assert [mark["tool"] for mark in (large, corners, small)] == ["crop", "tilted", "crop"]
    assert episode["roots"] == [0] * 5
    reach = 0.5 * 2**0.5  # of a square turned by an eighth, from its middle to its corners
    diamond = [(0.5, 0.5 - reach), (0.5 + reach, 0.5), (0.5, 0.5 + reach), (0.5 - reach, 0.5)]
    for mark, size in ((large, 1), (corners, 1), (small, 0.5)):
        expected = [(0.5 + (x - 0.5) * size, 0.5 + (y - 0.5) * size) for x, y in diamond]
        assert np.allclose(mark["at"], expected, atol=1e-4), mark


def test_another_plane_is_no_part_of_the_image_it_was_made_of(write):
    episode = read(write([TURNED, ToolCall(name="crop", arguments={"image": 1, "box": [0, 0, 500, 500]})])).episode(0)
    (mark,) = episode["marks"]
    assert (mark["tool"], mark["handle"], mark["at"]) == ("crop", 1, None)
