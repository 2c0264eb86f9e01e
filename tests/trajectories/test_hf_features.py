"""Trajectory files in Hugging Face `datasets`."""

import json
import re
from pathlib import Path

import pytest

from medvistagym_core.environment import Episode, Reward, step_episodes
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import ToolCall
from medvistagym_core.trajectories import PolicyRecord, Trajectory, TrajectoryReader, TrajectoryWriter, hf_features

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own

PAGE = Path(__file__).parents[2] / "docs" / "trajectories.md"
WINDOW = ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
WRONG = ToolCall(name="crop", arguments={"image": 9, "box": [0, 0, 500, 500]})


@pytest.fixture
def files(task, toolbox, executor, tmp_path):
    """Two runs that have little in common: nulls here are texts there, and the reward has other terms."""
    plays = {
        "calm": (PolicyRecord(name="a"), "scout", [[], []]),
        "wild": (PolicyRecord(name="b", sampling={"temperature": 1.0, "seed": 3}), "paper", [["hm", WRONG, WINDOW]]),
    }
    for name, (policy, reward, episodes) in plays.items():
        with TrajectoryWriter(tmp_path / f"{name}.jsonl", toolbox) as writer:
            for index, turns in enumerate(episodes):
                episode = Episode.from_task(task, "test", index, toolbox, reward=Reward.preset(reward))
                for turn in (*turns, "<answer>upper left</answer>"):
                    said = turn if isinstance(turn, str) else TextProtocol().format_turn("why", [turn])
                    step_episodes(executor, [episode], [said])
                writer.write(episode.to_trajectory(policy), episode.rendered_images())
    return [tmp_path / f"{name}.jsonl" for name in plays]


def load(files, folder, **options):
    names = [str(file) for file in files]
    return datasets.load_dataset("json", data_files=names, split="train", cache_dir=str(folder / "cache"), **options)


def test_one_file_loads_as_it_is(files, tmp_path):
    rows = load(files[1:], tmp_path)
    assert rows[0]["turns"][1]["calls"][0]["error"]["code"] == "bad_value"
    assert json.loads(rows[0]["turns"][2]["calls"][0]["arguments"]) == WINDOW.arguments


def facts(trajectory):
    """As JSON values, without the times: `datasets` rounds numbers to nine decimals beside a column of JSON."""
    return json.loads(
        trajectory.model_dump_json(),
        object_pairs_hook=lambda pairs: {name: value for name, value in pairs if not name.endswith("seconds")},
    )


@pytest.mark.parametrize("chunk", [2_000, 10 << 20])
def test_files_of_any_run_load_together_and_lose_nothing(files, tmp_path, chunk):
    rows = load(files, tmp_path, features=hf_features(), chunksize=chunk)
    written = [t for file in files for t in TrajectoryReader(file)]
    assert [facts(Trajectory.model_validate(row)) for row in rows] == [facts(t) for t in written]
    assert rows[2]["terms"].keys() == written[2].terms.keys() != rows[0]["terms"].keys()


def test_the_examples_of_the_page_run(files, tmp_path, monkeypatch):
    (tmp_path / "samples").mkdir()
    files[1].rename(tmp_path / "samples" / "trajectories.jsonl")
    (tmp_path / "images").rename(tmp_path / "samples" / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names = {}
    for example in examples:
        exec(example, names)
    assert len(names["table"]) == 1
    assert len(names["right"]) == len(names["rows"]) == names["table"][0]["outcome"]["correct"]
    assert len(examples) == 2
