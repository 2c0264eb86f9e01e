"""SFT on sampled trajectories: what exploration keeps, and what is learnt of it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

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
    "evaluation.batch": 24,
    "evaluation.max_tokens": 8,
}


class Explored(NamedTuple):
    """A finished run that explored.

    Attributes:
        recipe: The file of its recipe.
        run: Its folder.
        said: What it printed of its progress.
    """

    recipe: Path
    run: Path
    said: str


@pytest.fixture(scope="module")
def explored(recipe: Any, make_registry: Any, task: Any, tmp_path_factory: pytest.TempPathFactory) -> Explored:
    from medvistagym_trl._recipe import dump_recipe

    folder, said = tmp_path_factory.mktemp("explored"), io.StringIO()
    file, run = folder / "toy.yaml", folder / "run"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    with contextlib.redirect_stderr(said):
        TrlTrainer().train(make_registry(task), run=run, recipe=file, changes=CHANGES)
    return Explored(file, run, said.getvalue())


def test_sft_learns_from_so_many_of_the_episodes_that_exploration_kept(explored: Explored) -> None:
    run = explored.run
    episodes = list(TrajectoryReader(run / "trajectories" / "exploration.jsonl"))
    assert len(episodes) == 24
    assert {episode.policy.name for episode in episodes} == {"exploring sampler"}
    assert {episode.calls for episode in episodes} == {0, 1, 2}
    assert min(episode.index for episode in episodes) == 13_000_000
    lines = {line["phase"]: line for line in map(json.loads, (run / "metrics.jsonl").open())}
    assert (lines["exploration"]["played"], lines["exploration"]["kept"]) == (24, 24)
    assert lines["sft-data"]["trajectories"] == 5
    assert (run / "phases" / "sft.json").is_file()
    assert "over the limit of 5" in explored.said


def test_episodes_are_counted_as_they_are_played(
    explored: Explored, make_registry: Any, task: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A split of four cases: the other two of the six that are asked for are among them. None ends while it is unclear."""

    class SmallTask(type(task)):  # type: ignore[misc]
        def size(self, split: str) -> int:
            return 4

    run, changes = tmp_path / "run", {**CHANGES, "sft.exploration.while_unclear": True}
    TrlTrainer().train(make_registry(SmallTask()), run=run, recipe=explored.recipe, changes=changes)
    for episode in TrajectoryReader(run / "trajectories" / "exploration.jsonl"):
        assert episode.calls == 2 or episode.outcome.answer not in (None, "unclear")
    lines = {line["phase"]: line for line in map(json.loads, (run / "metrics.jsonl").open())}
    assert (lines["exploration"]["played"], lines["exploration"]["kept"]) == (16, 16)
    assert "exploration: 16 of 16 episodes on 4 cases are kept" in capsys.readouterr().err


@pytest.mark.slow
def test_two_runs_explore_alike_and_end_with_the_same_weights(
    explored: Explored, registry: Any, tmp_path: Path
) -> None:
    runs = [explored.run, tmp_path / "two"]
    TrlTrainer().train(registry, run=runs[1], recipe=explored.recipe, changes=CHANGES)
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


def test_exploring_while_it_is_unclear_needs_a_task_that_may_abstain(recipe: Any, task: Any) -> None:
    from medvistagym_trl._recipe import check_recipe

    class CertainTask(type(task)):  # type: ignore[misc]
        abstention = None

    exploring = recipe.with_overrides({"sft.source": "exploration", "sft.exploration.while_unclear": True})
    check_recipe(exploring, [task])
    with pytest.raises(RecipeError, match="the task toy has no such answer: set it to false"):
        check_recipe(exploring, [CertainTask()])


def test_a_tiny_model_given_by_its_folder_is_warmed_up_further(
    explored: Explored, registry: Any, tmp_path: Path
) -> None:
    """Then it explores, and is trained, as one that the run built."""
    given, second = explored.run / "checkpoints" / "perception", tmp_path / "second"
    changes = {**CHANGES, "perception.further": True}
    TrlTrainer().train(registry, run=second, recipe=explored.recipe, changes=changes, model=given)
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
