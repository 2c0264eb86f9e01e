"""A table as a task: how it deals, what it may be told, and how it is found again."""

from __future__ import annotations

import pickle
import resource
from pathlib import Path

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medvistagym_core.environment import EpisodeConfig, HasArguments, HasProvenance, QuestionTask, make_task
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_core.rollouts import rollout, verify
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter, hf_features

from .tables import ROWS, picture_bytes, write_jsonl, write_parquet, write_pictures


class AlwaysYes:
    name = "always yes"
    sampling: dict[str, str | int | float | bool | None] = {}  # noqa: RUF012

    def act(self, observations):  # type: ignore[no-untyped-def]
        return ["<answer>yes</answer>"] * len(observations)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_pictures(tmp_path)
    rows = [
        {"image": f"{('chest', 'head')[k % 2]}.png", "question": f"Question {k}?", "answer": ("yes", "no")[k % 3 == 0],
         "modality": ("X-ray", "CT")[k % 2], "tools": ("window", "none", "")[k % 3]}
        for k in range(20)
    ]  # fmt: skip
    return write_jsonl(tmp_path / "mine.jsonl", rows)


def test_a_seed_orders_the_questions_and_leaves_none_out(table: Path) -> None:
    task = QuestionTask("mine", "My questions.", table)
    plain = [task.case("test", k).id for k in range(20)]
    drawn = [task.case("test", k, seed=3).id for k in range(20)]
    assert plain == [f"mine-line-{k + 1}" for k in range(20)]
    assert drawn != plain
    assert sorted(drawn) == sorted(plain)
    assert drawn == [QuestionTask("mine", "My questions.", table).case("test", k, seed=3).id for k in range(20)]
    assert drawn != [task.case("test", k, seed=4).id for k in range(20)]


def test_a_split_has_an_end(table: Path) -> None:
    task = QuestionTask("mine", "My questions.", table)
    with pytest.raises(ValueError, match="mine has 20 questions in test, 0 to 19; not 20"):
        task.case("test", 20)
    with pytest.raises(ValueError, match="mine has no split 'train'; it has test"):
        task.case("train", 0)


def test_the_tool_that_a_question_needs(table: Path) -> None:
    task = QuestionTask("mine", "My questions.", table)
    assert [task.needed(task.case("test", k)) for k in range(3)] == ["window", "", None]


def test_dealing_anew_keeps_questions_about_one_picture_together(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(40)]
    write_pictures(tmp_path, names)
    rows = [{"image": name, "question": f"{n}?", "answer": "yes"} for name in names for n in range(3)]
    task = QuestionTask("mine", "My questions.", write_jsonl(tmp_path / "q.jsonl", rows)).with_arguments(
        {"test_share": 0.25}
    )
    assert task.splits == ("train", "test")
    pictures = {split: {q.pictures for q in task.table.splits[split]} for split in task.splits}
    assert not pictures["train"] & pictures["test"]
    assert 5 <= len(pictures["test"]) <= 16
    assert task.size("train") + task.size("test") == 120


def test_arguments_are_checked_by_their_model(table: Path) -> None:
    task = make_task(Registry(), table)
    assert isinstance(task, HasArguments)
    told = task.with_arguments({"tools": "window, zoom", "abstention": "unclear", "facets": ["modality"]})
    assert (told.tools, told.abstention) == (("window", "zoom"), "unclear")
    with pytest.raises(SelectionError, match=r"the task mine has no argument 'abstension'; did you mean abstention\?"):
        task.with_arguments({"abstension": "unclear"})
    with pytest.raises(SelectionError, match="the task mine: test_share: input should be less than 1, not '2'"):
        task.with_arguments({"test_share": "2"})


def test_make_task_takes_names_and_tables(table: Path) -> None:
    registry = Registry.discover("scoutvqa")
    assert make_task(registry, "scoutvqa").name == "scoutvqa"
    assert make_task(registry, str(table)).name == "mine"
    with pytest.raises(SelectionError, match="the task scoutvqa takes no arguments, and path was given"):
        make_task(registry, "scoutvqa", {"path": "x"})
    with pytest.raises(SelectionError, match="no task matches 'scoutvqaa'; did you mean scoutvqa"):
        make_task(registry, "scoutvqaa")


def test_trajectories_of_a_table_replay_and_hold_what_scoring_needs(table: Path, tmp_path: Path) -> None:
    registry = Registry.discover("dicom")
    task = make_task(registry, table, {"facets": ["modality"]})
    toolbox = registry.toolbox("window")
    file = tmp_path / "run" / "trajectories.jsonl"
    with TrajectoryWriter(file, toolbox) as writer:
        played = list(rollout(AlwaysYes(), task, toolbox, "test", range(20), seed=5, writer=writer))
    assert [t.index for t in played] == list(range(20))
    report = verify(file, registry, LocalExecutor)
    assert report.same
    assert report.episodes == 20
    first = next(iter(TrajectoryReader(file)))
    assert first.question
    assert first.facets["modality"] in ("CT", "X-ray")
    assert first.outcome.key is not None
    assert first.outcome.key.kind == "yes_no"
    assert first.task_reference is not None
    assert first.task_reference.reference == str(table)
    assert set(hf_features()) == set(first.model_dump())


def test_a_case_that_cannot_be_shown_does_not_end_the_others(table: Path) -> None:
    (table.parent / "head.png").write_bytes(b"broken")
    states = []
    task = QuestionTask("mine", "My questions.", table)
    played = list(rollout(AlwaysYes(), task, Toolbox({}), "test", range(20), progress=states.append))
    assert len(played) == 10
    assert (states[-1].unusable, states[-1].done, states[-1].played) == (10, 20, 10)
    assert "head.png: it is not an image that can be read" in (states[-1].reason or "")


def test_gymnasium_opens_a_table(table: Path) -> None:
    env = gymnasium.make(
        "medvistagym_core.gym:medvistagym/task-v1", task=str(table), tools="", settings=EpisodeConfig()
    )
    observation, _info = env.reset(seed=1)
    assert "Question" in observation["text"]
    assert env.step("<answer>yes</answer>")[2]
    env.close()


def test_a_task_travels_to_another_process(table: Path) -> None:
    task = QuestionTask("mine", "My questions.", table)
    other = pickle.loads(pickle.dumps(task))
    np.testing.assert_array_equal(other.case("test", 3).images[0].pixels, task.case("test", 3).images[0].pixels)


def test_provenance_counts_and_its_checksum_follows_the_questions(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    task = QuestionTask("mine", "My questions.", write_jsonl(tmp_path / "q.jsonl", ROWS))
    assert isinstance(task, HasProvenance)
    before = task.provenance("test")
    assert (before.label, before.questions, len(before.checksum)) == ("q.jsonl", 2, 64)
    changed = [*ROWS[:2], {**ROWS[2], "answer": "13"}, ROWS[3]]
    after = QuestionTask("mine", "My questions.", write_jsonl(tmp_path / "q.jsonl", changed)).provenance("test")
    assert before.checksum != after.checksum
    same = QuestionTask("mine", "My questions.", write_parquet(tmp_path / "q.parquet", ROWS)).provenance("test")
    assert same.questions == 2


@pytest.mark.slow
def test_memory_stays_flat_over_a_large_parquet_table(tmp_path: Path) -> None:
    """6,719 questions with 400 MB of pictures, written in one row group."""
    picture = picture_bytes(0, "png", "RGB")
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("question", pa.string()),
            ("answer", pa.string()),
        ]
    )
    path = tmp_path / "large.parquet"
    n = 6719
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        filler = np.random.default_rng(0).integers(0, 255, 60_000, np.uint8).tobytes()
        images = [{"bytes": picture + filler + str(k).encode(), "path": f"{k}.png"} for k in range(n)]
        table = pa.table(
            {"image": images, "question": [f"{k}?" for k in range(n)], "answer": ["yes"] * n}, schema=schema
        )
        writer.write_table(table, row_group_size=n)
        del images, table
    pa.default_memory_pool().release_unused()
    task = QuestionTask("large", "Many questions.", path)
    assert task.case("test", 6000).images[0].shape == (16, 24)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(n):
        task.case("test", index, seed=1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000, "in KiB; the pictures are 400 MB"
