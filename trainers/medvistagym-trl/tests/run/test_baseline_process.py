"""The second process of a run: it can be stopped at any time, and asked to validate; one that cannot begin costs nothing."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medvistagym_core.environment import make_task
from medvistagym_core.plugins import Registry
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl._recipe import load_recipe
from medvistagym_trl.rollout import make_toolbox
from medvistagym_trl.run import BaselineProcess, RunFolder, TrainingPipeline, answer_validation
from medvistagym_trl.run._validation import validation_callbacks
from medvistagym_trl.stages import build_untrained_model

_BOTH = {
    "grpo.validation": {"every": 1, "n": 8, "split": "test", "decoding": "both", "keep_best": False},
    "evaluation.decodings": ["trained", "greedy"],
    "evaluation.max_tokens": 8,
    "comparison.policies": [],
}
"""Changes of a recipe: GRPO is validated in two decodings, and the policies to compare with are left out."""


class StandIn:
    """Answers as the second process would, in this one.

    `is_free` says whether it is found so, `takes` whether it is still there to be asked, `answers` whether it lives to answer.
    """

    def __init__(
        self, pipeline: TrainingPipeline, *, is_free: bool = True, takes: bool = True, answers: bool = True
    ) -> None:
        self._pipeline, self.is_free, self._takes, self._answers = pipeline, is_free, takes, answers
        self.asked: list[Any] = []

    def ask(self, request: Any) -> bool:
        self.asked.append(request)
        return self._takes

    def answer(self) -> Any:
        assert self._takes
        return answer_validation(self._pipeline.setup, self.asked[-1]) if self._answers else None


def validate(pipeline: TrainingPipeline, model: Any) -> dict[str, Any]:
    """What a validation of GRPO leaves in the run folder: its metrics, and the episodes by file."""
    setup, folder = pipeline.setup, pipeline.run_folder
    (callback,) = validation_callbacks(setup, "grpo", model, setup.recipe.grpo.validation)
    callback.on_step_end(None, SimpleNamespace(global_step=1), SimpleNamespace())  # type: ignore[arg-type]
    assert not (setup.steps_folder("grpo") / "validated").exists()
    files = sorted(folder.path.glob("trajectories/validation-grpo*.jsonl"))
    episodes = {file.name: [[turn.text for turn in each.turns] for each in TrajectoryReader(file)] for file in files}
    return {"metrics": folder.metrics(), **episodes}


@pytest.mark.e2e
def test_one_that_cannot_begin_ends_by_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with BaselineProcess(tmp_path, lambda: True) as process:
        process.wait()
    assert "no run folder: it holds no recipe.yaml" in capfd.readouterr().err


def test_one_that_begins_is_ended_with_the_context(tmp_path: Path, recipe: Any, toolbox: Any) -> None:
    run = RunFolder.begin(tmp_path / "run", recipe, toolbox)
    with BaselineProcess(run.path, lambda: True):
        pass
    run.close()
    assert not (run.path / "results.json").exists()


@pytest.mark.parametrize(
    ("state", "changes", "asked"),
    [
        ({}, {}, 1),
        ({"is_free": False}, {}, 0),
        ({"takes": False}, {}, 1),
        ({"answers": False}, {}, 1),
        ({}, {"trl.grpo": {"bf16": True}}, 0),
        ({}, {"trl.sft": {"fp16": True}}, 0),
    ],
)
def test_a_validation_is_the_same_whoever_plays_its_greedy_half(
    recipe: Any,
    task: Any,
    toolbox: Any,
    registry: Any,
    model: Any,
    tmp_path: Path,
    state: dict[str, bool],
    changes: dict[str, Any],
    asked: int,
) -> None:
    found = []
    for name in ("alone", "shared"):
        run = RunFolder.begin(tmp_path / name, recipe.with_overrides({**_BOTH, **changes}), toolbox)
        pipeline = TrainingPipeline(run, task, registry)
        if name == "shared":
            second = StandIn(pipeline, **state)
            pipeline.setup = dataclasses.replace(pipeline.setup, second=second)  # type: ignore[arg-type]
        found.append(validate(pipeline, model))
        pipeline.close()
    assert found[0] == found[1]
    assert [each.prefix for each in second.asked] == ["greedy/"] * asked
    assert set(found[0]) == {"metrics", "validation-grpo.jsonl", "validation-grpo-greedy.jsonl"}


@pytest.mark.e2e
def test_the_second_process_plays_a_validation_while_it_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, answer = [], BaselineProcess.answer
    monkeypatch.setattr(BaselineProcess, "answer", lambda second: answers.append(answer(second)) or answers[-1])
    registry = Registry.discover()
    recipe = load_recipe("scoutvqa-explored").with_overrides({**_BOTH, "model.layers": 1, "evaluation.n": 4})
    toolbox = registry.toolbox(make_task(registry, "scoutvqa").tools)
    recipe = recipe.with_overrides({"tools": list(toolbox)})
    run = RunFolder.begin(tmp_path / "run", recipe, make_toolbox(recipe, registry))
    pipeline = TrainingPipeline(run, make_task(registry, "scoutvqa"), registry)
    model = build_untrained_model(recipe.model, pipeline.setup.context, 0)
    alone = validate(pipeline, model)
    (run.path / "metrics.jsonl").unlink()
    for phase in ("perception", "sft"):
        with run.phase(phase):
            run.save(phase, model)
    with BaselineProcess(run.path, lambda: pipeline.second_waits) as second:
        deadline = time.monotonic() + 240
        while not second.is_free:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        pipeline.setup = dataclasses.replace(pipeline.setup, second=second)
        assert validate(pipeline, model) == alone
        ((*_, row),) = answers
        assert (row.decoding, row.n) == ("greedy", 8)
        assert second.is_free
        second.stop()
        assert not second.is_free
        assert not second.ask("anything")
        assert second.answer() is None
    pipeline.close()
