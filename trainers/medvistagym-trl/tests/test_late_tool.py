"""A plugin that is installed after SFT: what its cases hide, what its tools tell, and a run that goes on with them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medvistagym_core import ImageStore, LocalExecutor, ToolCall
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl import TrlTrainer
from medvistagym_trl._recipe import dump_recipe, load_recipe

PLUGIN = Path(__file__).parents[1] / "examples" / "medvistagym-detector" / "medvistagym_detector.py"
BOX = [0, 0, 250, 250]


@pytest.fixture(scope="module")
def detector() -> ModuleType:
    spec = importlib.util.spec_from_file_location("medvistagym_detector", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_fault_is_not_to_be_seen_and_its_tool_finds_it(detector: ModuleType) -> None:
    (task,) = detector.medvistagym_tasks()
    tools = {each.name: each for each in detector.medvistagym_tools()}
    answers = set()
    with LocalExecutor(Toolbox(tools)) as executor:
        for index in range(24):
            case = task.case("test", index)
            store, call = ImageStore(case.images), {"image": 0, "box": BOX}
            calls = [ToolCall(name=name, arguments=call) for name in ("find_fault", "answer_for_me")]
            ((found, vague),) = executor.run([(store, calls)])
            assert case.answer.value not in vague.text
            (marked,) = found.images
            rows, columns = np.nonzero(marked.overlay)
            assert (rows.max() - rows.min(), columns.max() - columns.min()) == (63, 63)
            tile = 2 * (rows.mean() > detector.SIDE / 2) + (columns.mean() > detector.SIDE / 2)
            assert detector.TILES[int(tile)] == case.answer.value
            answers.add(case.answer.value)
            shown = np.asarray(case.images[0].to_pil(64)).astype(int)
            blocks = case.images[0].pixels.reshape(64, 4, 64, 4).mean((1, 3))
            assert np.array_equal(shown, blocks)  # which are random, and the same without the fault
    assert answers == set(detector.TILES)


def test_its_recipe_loads(detector: ModuleType) -> None:
    recipe = load_recipe(PLUGIN.with_name("late-tool.yaml"))
    assert recipe.tasks == (detector.FaultyTile.name,)
    assert set(detector.FaultyTile.tools) < set(recipe.tools)
    assert recipe.sft.steps == 0  # no demonstration of the tool


@pytest.mark.slow
def test_a_run_goes_on_with_a_tool_that_came_later(
    detector: ModuleType, registry: Registry, recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_file = tmp_path / "toy.yaml"
    recipe_file.write_text(dump_recipe(recipe), encoding="utf-8")
    brief: dict[str, Any] = {"comparison.policies": [], "evaluation.decodings": ["greedy"]}
    first = {**brief, "sft.source": "call_format", "grpo.steps": 0, "evaluation.policies": []}
    TrlTrainer().train(registry, run=tmp_path / "first", recipe=recipe_file, changes=first)
    for each in detector.medvistagym_tools():
        registry.add_tool(each)
    registry.add_task(detector.medvistagym_tasks()[0])
    capsys.readouterr()
    later = {**brief, "task": "toy,faulty_tile", "sft.steps": 0, "evaluation.policies": ["grpo"]}
    results = TrlTrainer().train(
        registry,
        run=tmp_path / "later",
        recipe=recipe_file,
        changes=later,
        model=tmp_path / "first" / "checkpoints" / "sft",
    )
    assert "new tokens, for tools and cases that came after the model" in capsys.readouterr().err
    assert {row.family for row in results.rows} >= {"toy", "faulty_tile"}
    policy, _ = TrlTrainer().load_policy(
        registry, tmp_path / "later", detector.medvistagym_tasks()[0], registry.toolbox(["find_fault"])
    )
    assert policy.name == "later"
