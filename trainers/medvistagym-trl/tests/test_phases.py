"""Which checkpoint a run folder stands for where a policy is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medvistagym_trl._recipe import dump_recipe, load_recipe, policy_checkpoint


def begin(folder: Path, *phases: str, **changes: Any) -> Path:
    """A run folder with the checkpoints of some phases."""
    recipe = load_recipe("scoutvqa").with_overrides({name.replace("__", "."): value for name, value in changes.items()})
    for phase in phases:
        (folder / "checkpoints" / phase).mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({}, "grpo"),
        ({"grpo__tail": {"steps": 1}}, "grpo_tail"),
        ({"evaluation__policies": ["no_tools", "sft"]}, "sft"),
        ({"evaluation__policies": ["sft"], "sft__self_sampling": {"rounds": 2}}, "self_sampling_2"),
        ({"evaluation__policies": ["no_tools"]}, "no_tools"),
        ({"evaluation__policies": ["no_tools"], "comparison__policies": []}, "grpo"),
        ({"evaluation__policies": []}, "grpo"),
    ],
)
def test_a_run_stands_for_the_policy_that_its_table_ends_with(
    tmp_path: Path, changes: dict[str, Any], phase: str
) -> None:
    phases = ("perception", "no_tools", "sft", "self_sampling_1", "self_sampling_2", "grpo", "grpo_tail")
    run = begin(tmp_path / "run", *phases, **changes)
    assert policy_checkpoint(run) == run / "checkpoints" / phase
    assert policy_checkpoint(run / "checkpoints" / "sft") == run / "checkpoints" / "sft"


def test_weights_beside_the_recipe_are_the_policy(tmp_path: Path) -> None:
    run = begin(tmp_path / "published")
    (run / "config.json").write_text("{}")
    assert policy_checkpoint(run) == run


_LOAD = """
import sys
from medvistagym_trl import TrlTrainer
try:
    TrlTrainer().load_policy(None, sys.argv[1], None, None)
except Exception as error:
    print(error, sorted({"torch", "transformers"} & {*sys.modules}))
"""


def test_a_run_without_that_policy_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", "perception", "grpo_steps")
    command = [sys.executable, "-c", _LOAD, str(run)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(
        f"the run in {run} has no policy of grpo yet; finish it (medvistagym train --run {run} --resume)"
    )
    assert said.endswith(f", or name one of its checkpoints: {run / 'checkpoints' / 'perception'} []\n")
