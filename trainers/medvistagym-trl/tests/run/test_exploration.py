"""SFT on sampled trajectories: what exploration keeps, and what is learnt of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl import TrlTrainer
from medvistagym_trl._recipe import RecipeError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

CHANGES = {
    "sft.source": "exploration",
    "sft.exploration.cases": 6,
    "sft.exploration.samples": 4,
    "sft.filter.correct": False,  # the toy model can hardly read
    "sft.filter.well_formed": False,
    "sft.filter.limit": 5,
    "grpo.steps": 0,
    "comparison.policies": [],
    "evaluation.policies": [],
}


def test_sft_learns_from_so_many_of_the_episodes_that_exploration_kept(
    recipe: Any, registry: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medvistagym_trl._recipe import dump_recipe

    file, run = tmp_path / "toy.yaml", tmp_path / "run"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    TrlTrainer().train(registry, run=run, recipe=file, changes=CHANGES)
    episodes = list(TrajectoryReader(run / "trajectories" / "exploration.jsonl"))
    assert len(episodes) == 24
    assert {episode.policy.name for episode in episodes} == {"exploring sampler"}
    assert {episode.calls for episode in episodes} == {0, 1, 2}
    assert min(episode.index for episode in episodes) == 13_000_000
    lines = {line["phase"]: line for line in map(json.loads, (run / "metrics.jsonl").open())}
    assert (lines["exploration"]["played"], lines["exploration"]["kept"]) == (24, 24)
    assert lines["sft-data"]["trajectories"] == 5
    assert (run / "phases" / "sft.json").is_file()
    assert "over the limit of 5" in capsys.readouterr().err


def test_episodes_are_counted_as_they_are_played(
    recipe: Any, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A split of four cases: the other two of the six that are asked for are among them."""
    from medvistagym_core.environment import make_task
    from medvistagym_trl._recipe import dump_recipe

    monkeypatch.setattr(type(make_task(registry, "toy", {})), "size", lambda self, split: 4, raising=False)
    file, run = tmp_path / "toy.yaml", tmp_path / "run"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    TrlTrainer().train(registry, run=run, recipe=file, changes=CHANGES)
    lines = {line["phase"]: line for line in map(json.loads, (run / "metrics.jsonl").open())}
    assert (lines["exploration"]["played"], lines["exploration"]["kept"]) == (16, 16)
    assert "exploration: 16 of 16 episodes on 4 cases are kept" in capsys.readouterr().err


@pytest.mark.slow
def test_two_runs_explore_alike_and_end_with_the_same_weights(recipe: Any, registry: Any, tmp_path: Path) -> None:
    from medvistagym_trl._recipe import dump_recipe

    file = tmp_path / "toy.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        TrlTrainer().train(registry, run=run, recipe=file, changes=CHANGES)
    one, two = (
        [
            [turn.text for turn in episode.turns]
            for episode in TrajectoryReader(run / "trajectories" / "exploration.jsonl")
        ]
        for run in runs
    )
    assert one == two
    assert len({(run / "checkpoints" / "sft" / "model.safetensors").read_bytes() for run in runs}) == 1


@pytest.mark.parametrize("changes", [{"perception.steps": 0}, {"model.path": "somewhere"}])
def test_a_model_that_was_not_warmed_up_cannot_explore(changes: dict[str, Any], recipe: Any, task: Any) -> None:
    from medvistagym_trl._recipe import check_recipe

    with pytest.raises(RecipeError, match=r"sft\.source: exploration needs a tiny model"):
        check_recipe(recipe.with_overrides({"sft.source": "exploration", **changes}), [task])


def test_a_tiny_model_given_by_its_folder_is_warmed_up_further(recipe: Any, registry: Any, tmp_path: Path) -> None:
    """Then it explores, and is trained, as one that the run built."""
    from medvistagym_trl._recipe import dump_recipe

    file, first, second = tmp_path / "toy.yaml", tmp_path / "first", tmp_path / "second"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    none = {**CHANGES, "sft.steps": 0}
    TrlTrainer().train(registry, run=first, recipe=file, changes=none)
    given = first / "checkpoints" / "perception"
    TrlTrainer().train(registry, run=second, recipe=file, changes={**CHANGES, "perception.further": True}, model=given)
    lines = [json.loads(line) for line in (second / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if line["phase"] == "perception"] == [3]
    assert any(line["phase"] == "exploration" for line in lines)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (given, second / "checkpoints" / "perception")]
    assert weights[0] != weights[1]


def test_a_checkpoint_that_is_not_tiny_is_not_warmed_up(recipe: Any, task: Any) -> None:
    from medvistagym_trl._recipe import check_recipe

    with pytest.raises(RecipeError, match=r"perception\.further warms up a tiny model"):
        check_recipe(
            recipe.with_overrides({"perception.further": True, "model.path": "x", "episode.compact": False}), [task]
        )
