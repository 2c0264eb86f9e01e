"""Trajectories to learn from: read from files, folders and tables, filtered, counted, drawn."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from medvistagym_core.rollouts import DemonstrationPolicy, rollout
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter, hf_features
from medvistagym_trl._recipe import DataFilter, RecipeError
from medvistagym_trl.rollout import RecordedSource, TrajectoryData, find_trajectory_files, refusal_of, replay_turns


class MixedPolicy:
    """Right with a call, right at once, wrong, silent or badly written, by the sample's number."""

    name = "mixed"
    sampling: ClassVar[dict[str, Any]] = {}

    def observe_case(self, case: Any, memory: dict[str, Any]) -> None:
        memory["answer"] = case.answer.value

    def act(self, observations: Any) -> list[str]:
        return [self._act(observation) for observation in observations]

    def _act(self, observation: Any) -> str:
        sample = int(observation.id.partition("#")[2] or 0)
        answer = observation.policy_state["answer"]
        if sample == 0 and observation.num_turns == 0:
            return '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>'
        if sample == 2:
            return f"<answer>{'dark' if answer == 'bright' else 'bright'}</answer>"
        if sample == 3:
            return "<answer>unclear</answer>"
        if sample == 4:
            return f"so <answer>{answer}</answer>"
        return f"<answer>{answer}</answer>"


def sample(policy: Any, context: Any, path: Path, cases: int = 6, *, split: str = "train", **options: Any) -> Path:
    config = options.pop("config", context.config)
    with TrajectoryWriter(path, context.toolbox) as writer:
        for _ in rollout(policy, context.task, context.toolbox, split, range(cases), config, writer=writer, **options):
            pass
    return path


@pytest.fixture
def mixed(context: Any, tmp_path: Path) -> Path:
    return sample(MixedPolicy(), context, tmp_path / "mixed" / "trajectories.jsonl", samples=5)


def load(context: Any, *paths: Path, **chosen: Any) -> TrajectoryData:
    rules = DataFilter(**chosen)
    return TrajectoryData(
        find_trajectory_files(tuple(map(str, paths))),
        rules,
        refusal=lambda each: refusal_of(context, each, "auto", well_formed=rules.well_formed),
    )


def test_what_is_left_out_is_counted_with_its_reason(context: Any, mixed: Path) -> None:
    data = load(context, mixed)
    assert len(data) == 12
    assert data.report.total == 30
    assert data.report.questions == 6
    assert data.report.dropped == {
        "with a wrong answer": 6,
        "that give no answer": 6,
        "with a turn that is not well-formed": 6,
    }
    assert str(data.report) == (
        "12 of 30 trajectories from 1 file are learnt from, on 6 questions; left out: 6 with a wrong answer, 6 that give no "
        "answer, 6 with a turn that is not well-formed"
    )


@pytest.mark.parametrize(
    ("chosen", "kept", "reason"),
    [
        ({"min_calls": 1}, 6, "with fewer than 1 calls"),
        ({"max_calls": 0}, 6, "with more than 0 calls"),
        ({"per_question": 1}, 6, "over 1 of one question"),
        ({"correct": False}, 24, "with a turn that is not well-formed"),
        ({"well_formed": False}, 18, "with a wrong answer"),
        ({"splits": ("test",), "correct": False}, 0, "of the train split"),
        ({"max_pass_rate": 0.5}, 0, "of a question outside the pass rates"),
    ],
)
def test_each_part_of_the_filter(context: Any, mixed: Path, chosen: dict[str, Any], kept: int, reason: str) -> None:
    if kept == 0:
        with pytest.raises(RecipeError, match=f"no trajectory passes sft.filter: .*{reason}"):
            load(context, mixed, **chosen)
        return
    data = load(context, mixed, **chosen)
    assert len(data) == kept
    assert reason in data.report.dropped


def test_the_cap_of_a_question_keeps_the_shortest_way(context: Any, mixed: Path) -> None:
    data = load(context, mixed, per_question=1)
    assert {data.read(index)[0].calls for index in range(len(data))} == {0}


def test_what_repeats_another_is_learnt_from_once(context: Any, mixed: Path, tmp_path: Path) -> None:
    again = sample(MixedPolicy(), context, tmp_path / "again" / "trajectories.jsonl", samples=5)
    data = load(context, mixed, again)
    assert len(data) == 12
    assert data.report.dropped["that repeat another"] == 12


def test_episodes_that_a_sampler_did_not_keep_count_for_the_pass_rate(context: Any, tmp_path: Path) -> None:
    path = sample(MixedPolicy(), context, tmp_path / "kept" / "trajectories.jsonl", samples=5, keep="correct")
    assert path.with_suffix(".rejected").is_file()
    with pytest.raises(RecipeError, match="outside the pass rates"):
        load(context, path, min_pass_rate=0.61)
    assert len(load(context, path, min_pass_rate=0.59, max_pass_rate=0.61)) == 12


def test_calls_of_tools_that_the_toolbox_lacks(context: Any, mixed: Path) -> None:
    import dataclasses

    from medvistagym_core.tools import Toolbox

    without = dataclasses.replace(context, toolbox=Toolbox({"shade": context.toolbox["shade"]}))
    assert load(without, mixed).report.dropped["that call mirror, which the toolbox lacks"] == 6


def test_conversations_longer_than_the_limit(context: Any, mixed: Path) -> None:
    data = TrajectoryData(
        find_trajectory_files((str(mixed),)),
        DataFilter(max_tokens=100),
        length=lambda trajectory, load: 150 if trajectory.calls else 50,
    )
    assert data.report.dropped["longer than 100 tokens"] == 6


def test_folders_and_tables_hold_the_same_as_the_file(context: Any, mixed: Path, tmp_path: Path) -> None:
    import datasets

    table = datasets.load_dataset(
        "json", data_files=str(mixed), features=hf_features(), split="train", cache_dir=str(tmp_path / "cache")
    )
    table.save_to_disk(str(mixed.parent / "table"))
    expected = load(context, mixed)
    for path in (mixed.parent / "table", mixed.parent):
        data = load(context, path)
        assert len(data) == len(expected)
        for index in range(len(data)):
            (mine, picture), (other, _) = data.read(index), expected.read(index)
            assert mine.turns == other.turns
            assert picture(mine.images[0].picture).size == (32, 32)


def test_a_run_folder_may_be_given_whole(context: Any, mixed: Path) -> None:
    (mixed.parent / "metrics.jsonl").write_text('{"phase": "sft", "loss": 1.0}\n', encoding="utf-8")
    assert len(load(context, mixed.parent)) == 12


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder / "nowhere", "there is no such file or folder"),
        (lambda folder: folder, r"holds no trajectories"),
        (lambda folder: write(folder / "x.jsonl", '{"id": 1}\n'), r"x\.jsonl, line 1 is no trajectory"),
        (lambda folder: write(folder / "x.jsonl", "not json\n"), r"x\.jsonl, line 1 is no trajectory"),
    ],
)
def test_what_holds_no_trajectories_is_refused(context: Any, tmp_path: Path, prepare: Any, message: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(RecipeError, match=message):
        load(context, prepare(folder))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_passes_take_every_trajectory_once_each(context: Any, mixed: Path) -> None:
    data = load(context, mixed)
    order = data.draw(36, seed=0)
    assert [sorted(order[k : k + 12]) for k in (0, 12, 24)] == [list(range(12))] * 3
    assert list(order) == list(data.draw(36, seed=0)) != list(data.draw(36, seed=1))


def test_hard_questions_are_drawn_more_often(context: Any, tmp_path: Path) -> None:
    class HalfRight(MixedPolicy):
        def _act(self, observation: Any) -> str:
            case, sample_ = observation.id.partition("#")[::2]
            hard = int(case.rpartition("-")[2]) % 2
            right = not hard or int(sample_ or 0) == 0
            answer = observation.policy_state["answer"]
            return f"<answer>{answer if right else ('dark' if answer == 'bright' else 'bright')}</answer>"

    path = sample(HalfRight(), context, tmp_path / "half" / "trajectories.jsonl", cases=8, samples=4)
    data = load(context, path, weights="hard_question")
    drawn = Counter(data.read(int(k))[0].index % 2 for k in data.draw(400, seed=0))
    assert drawn[1] / 400 == pytest.approx(0.75 / (0.75 + 0.1), abs=0.06)


def test_memory_does_not_grow_with_the_trajectories(context: Any, mixed: Path, tmp_path: Path) -> None:
    """Less than 1 KB a trajectory stays in memory, whatever it is on disk: 100,000 take less than 100 MB."""
    lines = mixed.read_text("utf-8").splitlines(keepends=True)
    many = tmp_path / "many" / "trajectories.jsonl"
    many.parent.mkdir()
    with many.open("w", encoding="utf-8") as file:
        for copy in range(40):
            file.writelines(line.replace('"seed":0', f'"seed":{copy}', 1) for line in lines)
    tracemalloc.start()
    data = load(context, many)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == 40 * 12
    assert current < 1200 * 1000


# -- what the policy reads


def test_a_trajectory_recorded_alike_is_read_as_it_is(context: Any, mixed: Path) -> None:
    data = load(context, mixed, min_calls=1)
    messages = RecordedSource(context, data).conversation(0)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[0]["content"][0]["text"] == context.config.prompt
    images = [block["image"] for message in messages for block in message["content"] if block["type"] == "image"]
    assert [image.size for image in images] == [(32, 32)] * 2


def test_a_trajectory_recorded_in_another_form_is_replayed(context: Any, tmp_path: Path) -> None:
    from medvistagym_core.environment import EpisodeConfig

    policy = DemonstrationPolicy(context.task, 1.0)
    path = sample(policy, context, tmp_path / "teacher" / "trajectories.jsonl", config=EpisodeConfig(prompt="Teach."))
    (verbose, *_) = TrajectoryReader(path)
    assert any(block.text == "image 0:" for block in verbose.opening)
    data = load(context, path)
    messages = RecordedSource(context, data).conversation(0)
    assert messages[0]["content"][0]["text"] == context.config.prompt
    assert [block["type"] for block in messages[1]["content"]] == ["image", "text"]  # the policy reads no image numbers
    episode = replay_turns(context, data.read(0)[0])
    assert episode.grade.correct
    assert episode.calls == data.read(0)[0].calls


def test_a_case_that_is_dealt_differently_now_is_not_replayed(context: Any, mixed: Path) -> None:
    trajectory = next(iter(TrajectoryReader(mixed)))
    moved = trajectory.model_copy(update={"index": trajectory.index + 1})
    with pytest.raises(RecipeError, match="deals another case now"):
        replay_turns(context, moved)


def test_drawing_is_by_weight_of_the_question(context: Any, mixed: Path) -> None:
    data = load(context, mixed, well_formed=False, weights="question")
    cases = Counter(data.read(int(k))[0].case for k in data.draw(600, seed=0))
    assert max(cases.values()) - min(cases.values()) < 60
    assert np.isclose(sum(cases.values()), 600)
