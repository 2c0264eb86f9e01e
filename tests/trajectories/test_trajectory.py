import errno
import fcntl
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from medvistagym_core.environment import Episode, step_episodes
from medvistagym_core.imaging import RenderedImage
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import LockMismatchError, Toolbox, ToolCall
from medvistagym_core.trajectories import (
    FileInUseError,
    PolicyRecord,
    Trajectory,
    TrajectoryReader,
    TrajectoryWriter,
    UnreadableRecordError,
    dump_json,
)

WINDOW = ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
POLICY = PolicyRecord(name="hand", sampling={"temperature": 1.0, "seed": 3})


def played(task, toolbox, executor, index=0, **changes):
    episode = Episode.from_task(task, "test", index, toolbox, prompt="Look well.", **changes)
    bad = ToolCall(name="crop", arguments={"image": 0, "box": [0, 0]})
    for said in (
        TextProtocol().format_turn("why", [WINDOW]),
        TextProtocol().format_turn(None, [bad]),
        "hm",
        "<answer>upper left</answer>",
    ):
        step_episodes(executor, [episode], [said], seconds=0.5)
    return episode


def same(a, b):
    """Whether two conversations are equal, pictures by their pixels."""
    plain = [
        [
            {
                **m,
                "content": [
                    (k, v if k != "image" or isinstance(v, str) else np.asarray(v).tolist())
                    for b in m["content"]
                    for k, v in b.items()
                ],
            }
            for m in c
        ]
        for c in (a, b)
    ]
    return plain[0] == plain[1]


@pytest.mark.parametrize("style", ["tools", "text"])
@pytest.mark.parametrize("terse", [False, True])
def test_what_was_written_is_read_back(task, toolbox, executor, tmp_path, style, terse):
    episode = played(task, toolbox, executor, style=style, compact=terse, view_side=16)
    trajectory = episode.to_trajectory(POLICY)
    with TrajectoryWriter(tmp_path / "run" / "test.jsonl", toolbox) as writer:
        writer.write(trajectory, episode.rendered_images())
    reader = TrajectoryReader(tmp_path / "run" / "test.jsonl")
    assert list(reader) == [trajectory]
    assert same(trajectory.to_messages(reader.load_image), episode.messages)
    assert reader.lock() == toolbox.lock()


def test_a_record_holds_what_replay_needs(task, toolbox, executor):
    episode = played(task, toolbox, executor, index=2)
    record = episode.to_trajectory(POLICY)
    assert (record.task, record.case, record.split, record.index, record.family) == (
        "quadrants",
        "test-2-0",
        "test",
        2,
        "window",
    )
    assert record.policy == POLICY
    assert len(record.toolbox) == 64
    first, refused, malformed, last = record.turns
    assert first.think == "why"
    assert first.calls[0].arguments == WINDOW.arguments
    assert first.calls[0].handles == (1,)
    assert first.calls[0].images == (0,)
    assert first.policy_seconds == 0.5
    assert first.tool_seconds > 0
    assert refused.calls[0].error.code == "bad_arguments"
    assert malformed.error.code == "malformed_call"
    assert malformed.calls == ()
    assert last.answer == "upper left"
    source, made = record.images
    assert (source.parent, source.turn, source.call) == (None, None, None)
    assert (made.parent, made.turn, made.call) == (0, 0, 0)
    assert (made.window_center, made.window_width, made.window_function, made.window_name) == (1, 10, "linear", None)
    assert made.modality == "CT"
    assert source.digest == episode.store[0].digest != made.digest
    assert record.outcome.expected == episode.case.answer.value
    assert record.outcome.informed is True
    assert record.outcome.needed is None
    task.needed = lambda case: "window" if task.needs_call(case) else ""
    assert [played(task, toolbox, executor, index=k).to_trajectory().outcome.needed for k in (1, 2)] == ["", "window"]
    assert record.reward == episode.score.total
    assert set(record.terms) == set(record.weights) == {"right", "wrong", "efficiency", "abstained", "calls"}


def test_lines_have_the_same_columns_whatever_the_tools(task, toolbox, executor, tmp_path):
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        for index in range(3):
            episode = played(task, toolbox, executor, index=index)
            writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert isinstance(rows[0]["turns"][0]["calls"][0]["arguments"], str)
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_json(str(tmp_path / "t.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert table[1]["turns"][0]["calls"][0]["name"] == "window"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("style", ["tools", "text"])
def test_trajectories_convert_to_what_trl_takes(task, toolbox, executor, tmp_path, style):
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl.data_utils")
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        for index in range(3):
            episode = played(task, toolbox, executor, index=index, style=style)
            writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    reader = TrajectoryReader(tmp_path / "t.jsonl")
    rows = [t.to_sft(reader.load_image) for t in reader]
    table = datasets.Dataset.from_list(rows).cast_column("images", datasets.List(datasets.Image()))
    row = table[0]
    assert trl.is_conversational(row)
    ready = trl.prepare_multimodal_messages(row["messages"], row["images"])
    assert [m["role"] for m in ready] == ["system", "user"] + ["assistant", "user"] * 3 + ["assistant"]
    shown = [b["image"] for m in ready for b in m["content"] if b["type"] == "image"]
    before = [b["image"] for m in episode.messages for b in m["content"] if b["type"] == "image"]
    assert len(shown) == len(before) == 2
    assert all(np.asarray(a).tolist() == np.asarray(b).tolist() for a, b in zip(shown, rows[0]["images"], strict=True))
    said = [b["text"] for m in ready if m["role"] == "assistant" for b in m["content"]]
    assert said == [turn.text for turn in next(iter(reader)).turns]


def test_pictures_are_stored_once_and_identifiers_nowhere(task, toolbox, executor, tmp_path):
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        for sample in range(3):
            episode = played(task, toolbox, executor, sample=sample)
            writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    assert len(list((tmp_path / "images").iterdir())) == 2
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"SECRET" not in path.read_bytes()
    missing = next((tmp_path / "images").iterdir())
    missing.unlink()
    with pytest.raises(ValueError, match="is missing from images/"):
        TrajectoryReader(tmp_path / "t.jsonl").load_image(missing.stem)


def test_a_torn_line_is_dropped_and_the_file_goes_on(task, toolbox, executor, tmp_path):
    path = tmp_path / "t.jsonl"
    episodes = [played(task, toolbox, executor, index=k) for k in range(3)]
    with TrajectoryWriter(path, toolbox) as writer:
        for episode in episodes[:2]:
            writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    whole = path.read_bytes()
    for kept in (len(whole) - 1, len(whole) - 1000, whole.index(b"\n") + 1, 10, 0):
        path.write_bytes(whole[:kept])
        lines = whole[:kept].count(b"\n")
        assert len(list(TrajectoryReader(path))) == lines
        with TrajectoryWriter(path, toolbox) as writer:
            assert writer.recorded_ids == {e.id for e in episodes[:lines]}
            writer.write(episodes[2].to_trajectory(POLICY), episodes[2].rendered_images())
        assert [t.id for t in TrajectoryReader(path)][-1] == episodes[2].id


def test_a_broken_line_is_named_and_left_out(task, toolbox, executor, tmp_path, caplog):
    episode = played(task, toolbox, executor)
    line = episode.to_trajectory(POLICY).model_dump_json(round_trip=True)
    path = tmp_path / "t.jsonl"
    path.write_text(
        "\n".join([line, line.replace('"reward":', '"prize":'), line[:50], "[" * 100_000, "\udcff", line, ""]),
        errors="surrogateescape",
    )
    reader = TrajectoryReader(path)
    assert [t.id for t in reader] == [episode.id] * 2
    assert str(reader.bad_lines[0]) == "t.jsonl, line 2: reward: Field required"
    assert [bad.number for bad in reader.bad_lines] == [2, 3, 4, 5]
    assert "t.jsonl, line 2: reward: Field required; it is left out" in caplog.text
    with TrajectoryWriter(path, toolbox) as writer:
        assert writer.recorded_ids == {episode.id}


def test_of_many_broken_lines_the_first_are_named_and_the_others_counted(tmp_path, caplog):
    path = tmp_path / "t.jsonl"
    path.write_text("{}\n" * 2_500)
    reader = TrajectoryReader(path)
    assert list(reader) == []
    assert len(reader.bad_lines) == 2_500
    assert [record.getMessage() for record in caplog.records][9:] == [
        "t.jsonl, line 10: id: Field required; it is left out",
        "t.jsonl: 2,490 further lines are left out",
    ]


def test_a_line_without_end_does_not_fill_the_memory(task, toolbox, executor, tmp_path, monkeypatch):
    line = played(task, toolbox, executor).to_trajectory(POLICY).model_dump_json(round_trip=True) + "\n"
    monkeypatch.setattr("medvistagym_core.trajectories._lines.MAX_LINE_BYTES", len(line) + 10)
    path = tmp_path / "t.jsonl"
    path.write_text(line + line[:-2] + " " * 50 + "}\n" + line + "unfinished" * 1000)
    reader = TrajectoryReader(path)
    assert len(list(reader)) == 2
    assert [(bad.number, "longer than" in bad.reason) for bad in reader.bad_lines] == [(2, True)]


def test_a_record_is_written_if_it_reads_back(task, toolbox, executor, tmp_path):
    episode = played(task, toolbox, executor)
    record = episode.to_trajectory(POLICY)
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        for wrong in (
            {"reward": float("nan")},
            {"terms": {"a": float("inf")}},
            {"prompt": "\ud800"},
            {"prompt": "x" * 2**25},
        ):
            with pytest.raises(UnreadableRecordError, match=record.id):
                writer.write(record.model_copy(update=wrong), episode.rendered_images())
        assert (tmp_path / "t.jsonl").stat().st_size == 0
        writer.write(record, episode.rendered_images())
    assert list(TrajectoryReader(tmp_path / "t.jsonl")) == [record]


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "t.jsonl")
    for path in (tmp_path / "t.jsonl", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            list(TrajectoryReader(path))


def test_another_toolbox_is_refused(task, toolbox, tmp_path):
    TrajectoryWriter(tmp_path / "t.jsonl", toolbox).close()
    other = Toolbox({name: toolbox[name] for name in ("window", "crop")})
    with pytest.raises(LockMismatchError, match="broken is missing"):
        TrajectoryWriter(tmp_path / "t.jsonl", other)


@pytest.mark.parametrize(
    ("lock", "says"),
    [("", "Invalid JSON"), ("{}", "Field required"), ("[" * 9999, "Invalid JSON|recursion")],
)
def test_a_broken_lock_names_its_file(task, toolbox, tmp_path, lock, says):
    path = tmp_path / "t.jsonl"
    path.with_suffix(".lock.json").write_text(lock)
    with pytest.raises(ValueError, match=rf"t\.lock\.json is not the lock of a toolbox: .*({says})"):
        TrajectoryWriter(path, toolbox)
    with pytest.raises(ValueError, match=r"t\.lock\.json is not the lock"):
        TrajectoryReader(path).lock()


def test_a_picture_that_a_power_cut_left_empty_is_written_again(task, toolbox, executor, tmp_path):
    path = tmp_path / "t.jsonl"
    episode = played(task, toolbox, executor)
    with TrajectoryWriter(path, toolbox) as writer:
        writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    whole = {picture: picture.read_bytes() for picture in (tmp_path / "images").iterdir()}
    first, second, *_ = whole
    first.write_bytes(b"")
    second.write_bytes(whole[second][:-3])
    with TrajectoryWriter(path, toolbox) as writer:
        writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    assert {picture: picture.read_bytes() for picture in (tmp_path / "images").iterdir()} == whole


@pytest.mark.parametrize("full", ["write", "replace"])
def test_a_full_disk_names_the_file(task, toolbox, executor, tmp_path, monkeypatch, full):
    path = tmp_path / "t.jsonl"
    episode = played(task, toolbox, executor)
    with TrajectoryWriter(path, toolbox) as writer:
        record, pictures = episode.to_trajectory(POLICY), episode.rendered_images()

        def refuse(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        if full == "replace":
            monkeypatch.setattr("os.replace", refuse)
        else:
            monkeypatch.setattr("medvistagym_core.imaging._picture_files.encode_png", refuse)
            pictures = {sha: RenderedImage(picture.pixels) for sha, picture in pictures.items()}
        with pytest.raises(OSError, match=r"No space left on device: .*images.*\.png"):
            writer.write(record, pictures)
    assert path.read_bytes() == b""
    assert list((tmp_path / "images").iterdir()) == []


def test_a_file_has_one_writer(task, toolbox, executor, tmp_path):
    path = tmp_path / "t.jsonl"
    episode = played(task, toolbox, executor)
    with TrajectoryWriter(path, toolbox) as writer:
        with pytest.raises(FileInUseError, match=r"t\.jsonl is being written by another run"):
            TrajectoryWriter(path, toolbox)
        other = multiprocessing.get_context("fork").Process(target=append_once, args=(path, toolbox))
        other.start()
        other.join()
        assert other.exitcode == 7
        TrajectoryWriter(tmp_path / "other.jsonl", toolbox).close()
        writer.write(episode.to_trajectory(POLICY), episode.rendered_images())
    with TrajectoryWriter(path, toolbox) as writer:
        assert writer.recorded_ids == {episode.id}


def failed(task, toolbox, executor, index):
    episode = played(task, toolbox, executor, index=index)
    t = episode.to_trajectory(POLICY)
    outcome = t.outcome.model_copy(update={"ended": "policy_failed", "reason": "no room"})
    return t.model_copy(update={"outcome": outcome}), episode.rendered_images()


def test_episodes_in_which_the_policy_failed_can_be_taken_out(task, toolbox, executor, tmp_path):
    path = tmp_path / "t.jsonl"
    good = played(task, toolbox, executor)
    with TrajectoryWriter(path, toolbox) as writer:
        writer.write(good.to_trajectory(POLICY), good.rendered_images())
        for index in (1, 2):
            writer.write(*failed(task, toolbox, executor, index))
    path.chmod(0o640)
    with TrajectoryWriter(path, toolbox) as writer, path.open("rb") as before:
        assert writer.remove_failed(lambda t: False) == 0
        assert writer.remove_failed(lambda t: t.index != 2) == 1
        assert len(before.read().splitlines()) == 3  # whoever reads it goes on with what there was
        assert writer.recorded_ids == {"test-0-0", "test-2-0"}
        with pytest.raises(FileInUseError, match="is being written"):
            TrajectoryWriter(path, toolbox)
        writer.write(*failed(task, toolbox, executor, 1))
    assert [t.id for t in TrajectoryReader(path)] == ["test-0-0", "test-2-0", "test-1-0"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert not list(tmp_path.glob(".part-*"))
    TrajectoryWriter(path, toolbox).close()


@pytest.mark.parametrize("gone_on", [False, True])
def test_a_run_that_waits_for_the_file_never_gets_the_one_that_was_replaced(
    gone_on, task, toolbox, executor, tmp_path, monkeypatch
):
    path, lock = tmp_path / "t.jsonl", fcntl.flock
    with TrajectoryWriter(path, toolbox) as writer:
        writer.write(*failed(task, toolbox, executor, 0))
    first = TrajectoryWriter(path, toolbox)

    def late(file, how):  # the second run has opened the file by now
        monkeypatch.setattr(fcntl, "flock", lock)
        assert first.remove_failed(lambda t: True) == 1
        if not gone_on:
            first.close()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    if gone_on:
        with first, pytest.raises(FileInUseError, match="is being written"):
            TrajectoryWriter(path, toolbox)
        return
    good = played(task, toolbox, executor)
    with TrajectoryWriter(path, toolbox) as second:
        second.write(good.to_trajectory(POLICY), good.rendered_images())
    assert [t.outcome.ended for t in TrajectoryReader(path)] == ["answered"]


def test_a_file_that_cannot_take_the_place_leaves_all_as_it_was(task, toolbox, executor, tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    with TrajectoryWriter(path, toolbox) as writer:
        writer.write(*failed(task, toolbox, executor, 0))
        before = path.read_bytes()
        with monkeypatch.context() as for_now:
            for_now.setattr("os.replace", lambda *args: (_ for _ in ()).throw(PermissionError("no")))
            with pytest.raises(PermissionError):
                writer.remove_failed(lambda t: True)
        gc.collect()  # a file that was left open would be warned of
        assert path.read_bytes() == before
        assert not list(tmp_path.glob(".part-*"))
        assert writer.remove_failed(lambda t: True) == 1


def test_what_a_killed_run_left_beside_the_file_goes_also_behind_a_link(task, toolbox, executor, tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "r.jsonl", tmp_path / "t.jsonl"
    link.symlink_to(real)
    with TrajectoryWriter(link, toolbox) as writer:
        writer.write(*failed(task, toolbox, executor, 0))
    process = subprocess.Popen(["true"])
    process.wait()
    half = real.with_name(f".part-{process.pid}-0123abcd-r.jsonl.part")
    half.write_bytes(b"half of it")
    with TrajectoryWriter(link, toolbox):
        assert not half.exists()


def test_without_room_for_a_second_file_nothing_is_taken_out(task, toolbox, executor, tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    with TrajectoryWriter(path, toolbox) as writer:
        writer.write(*failed(task, toolbox, executor, 0))
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with TrajectoryWriter(path, toolbox) as writer:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            writer.remove_failed(lambda t: True)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".part-*"))


def append_once(path, toolbox):
    try:
        TrajectoryWriter(path, toolbox)
    except FileInUseError:
        os._exit(7)


def test_rejected_episodes_are_remembered(task, toolbox, executor, tmp_path):
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        writer.reject(played(task, toolbox, executor).to_trajectory(POLICY))
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        assert writer.recorded_ids == {"test-0-0"}
    assert list(TrajectoryReader(tmp_path / "t.jsonl")) == []


def test_values_that_json_does_not_know_become_text():
    assert json.loads(dump_json({"mean": float("nan"), "sd": [float("inf"), 1]})) == {"mean": "nan", "sd": ["inf", 1]}
    assert json.loads(dump_json({"shape": np.float32(2)})) == {"shape": "2.0"}
    assert "object" in dump_json(object())


def write_for_ever(path, toolbox, line):
    trajectory = Trajectory.model_validate_json(line)
    with TrajectoryWriter(path, toolbox) as writer:
        for k in range(100_000):
            picture = RenderedImage(np.full((8, 8), k % 250, np.uint8))
            writer.write(trajectory.model_copy(update={"id": f"case-{k}"}), {picture.sha256: picture})


def test_kill_minus_nine_loses_at_most_the_episode_being_written(task, toolbox, executor, tmp_path):
    line = played(task, toolbox, executor).to_trajectory(POLICY).model_dump_json(round_trip=True)
    process = multiprocessing.get_context("fork").Process(
        target=write_for_ever, args=(tmp_path / "t.jsonl", toolbox, line)
    )
    process.start()
    while not (tmp_path / "t.jsonl").exists() or (tmp_path / "t.jsonl").stat().st_size < 200_000:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    ids = [t.id for t in TrajectoryReader(tmp_path / "t.jsonl")]
    assert ids == [f"case-{k}" for k in range(len(ids))]
    assert len(ids) > 20
