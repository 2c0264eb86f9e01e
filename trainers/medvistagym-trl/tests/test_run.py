"""Run folders: begun once, gone on with, never half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.tools import LockMismatchError, Toolbox
from medvistagym_trl.run import Run, RunFolderError


def test_a_run_is_begun_once(tmp_path: Path, recipe: Any, toolbox: Toolbox) -> None:
    Run.begin(tmp_path / "run", recipe, toolbox)
    with pytest.raises(RunFolderError, match="holds a run already"):
        Run.begin(tmp_path / "run", recipe, toolbox)


def test_a_phase_that_raises_is_not_done(tmp_path: Path, recipe: Any, toolbox: Toolbox) -> None:
    run = Run.begin(tmp_path / "run", recipe, toolbox)
    with run.phase("first"):
        pass
    with pytest.raises(KeyboardInterrupt), run.phase("second"):
        raise KeyboardInterrupt
    again = Run.resume(tmp_path / "run", toolbox)
    assert again.done("first")
    assert not again.done("second")
    assert again.recipe == recipe
    assert list(again.seconds) == ["first"]


def test_a_run_is_not_gone_on_with_other_tools(tmp_path: Path, recipe: Any, toolbox: Toolbox) -> None:
    Run.begin(tmp_path / "run", recipe, toolbox)
    with pytest.raises(LockMismatchError, match="shade is missing"):
        Run.resume(tmp_path / "run", Toolbox({"mirror": toolbox["mirror"]}))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, toolbox: Toolbox) -> None:
    with pytest.raises(RunFolderError, match=r"no run folder: it holds no recipe\.yaml"):
        Run.resume(tmp_path, toolbox)


def test_metrics_survive_a_line_cut_short(tmp_path: Path, recipe: Any, toolbox: Toolbox) -> None:
    run = Run.begin(tmp_path / "run", recipe, toolbox)
    run.log("grpo", {"step": 1, "reward": 0.5})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "grpo", "st')
    assert run.metrics() == [{"phase": "grpo", "step": 1.0, "reward": 0.5}]


def test_a_checkpoint_carries_the_lock_and_loads(tmp_path: Path, recipe: Any, policy: Any, world: Any) -> None:
    run = Run.begin(tmp_path / "run", recipe, world.toolbox)
    run.save("sft", policy)
    run.save("sft", policy)
    names = {file.name for file in run.checkpoint("sft").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "toolbox.lock.json", "chat_template.jinja"} <= names
    lock = json.loads((run.checkpoint("sft") / "toolbox.lock.json").read_text())
    assert [tool["name"] for tool in lock["tools"]] == list(world.toolbox)
    assert run.load("sft", world.schemas).family == "qwen3_vl"
    assert {folder.name for folder in run.checkpoint("sft").parent.iterdir()} == {"sft"}
