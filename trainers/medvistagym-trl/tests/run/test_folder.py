"""Run folders: begun once, gone on with, never half written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.tools import LockMismatchError, Toolbox
from medvistagym_trl._recipe import ConversationFormat, read_conversation_format
from medvistagym_trl.run import RunFolder, RunFolderError


@pytest.fixture
def begin(tmp_path: Path, recipe: Any, toolbox: Toolbox) -> Iterator[Any]:
    """Begins runs, and closes them in the end."""
    begun: list[RunFolder] = []

    def make(tools: Toolbox = toolbox) -> RunFolder:
        begun.append(RunFolder.begin(tmp_path / "run", recipe, tools))
        return begun[-1]

    yield make
    for run in begun:
        run.close()


def test_a_run_is_begun_once(begin: Any) -> None:
    begin().close()
    with pytest.raises(RunFolderError, match="holds a run already"):
        begin()


def test_a_phase_that_raises_is_not_done(begin: Any, recipe: Any, toolbox: Toolbox) -> None:
    run = begin()
    with run.phase("first"):
        pass
    with pytest.raises(KeyboardInterrupt), run.phase("second"):
        raise KeyboardInterrupt
    run.close()
    again = RunFolder.resume(run.path, toolbox)
    assert again.done("first")
    assert not again.done("second")
    assert again.recipe == recipe
    assert list(again.seconds) == ["first"]
    again.close()


def test_a_run_is_not_gone_on_with_other_tools(begin: Any, toolbox: Toolbox) -> None:
    run = begin()
    run.close()
    with pytest.raises(LockMismatchError, match="shade is missing"):
        RunFolder.resume(run.path, Toolbox({"mirror": toolbox["mirror"]}))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, toolbox: Toolbox) -> None:
    with pytest.raises(RunFolderError, match=r"no run folder: it holds no recipe\.yaml"):
        RunFolder.resume(tmp_path, toolbox)


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
input()
"""


def test_one_process_at_a_time_uses_a_folder(begin: Any, toolbox: Toolbox) -> None:
    run = begin()
    run.close()
    command = [sys.executable, "-c", HOLD, str(run.path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="is in use by another process"):
            RunFolder.resume(run.path, toolbox)
        RunFolder.resume(run.path, toolbox, beside=True).close()  # the second process of the same run
        other.kill()
    RunFolder.resume(run.path, toolbox).close()  # what was killed holds nothing


def test_metrics_survive_a_line_cut_short(begin: Any) -> None:
    run = begin()
    run.log("grpo", {"step": 1, "reward": 0.5})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "grpo", "st')
    assert run.metrics() == [{"phase": "grpo", "step": 1.0, "reward": 0.5}]


def test_steps_that_will_be_taken_again_are_forgotten(begin: Any, toolbox: Toolbox) -> None:
    run = begin()
    with run.phase("sft"):
        run.log("sft", {"step": 3})
    for step in range(1, 6):
        run.log("grpo", {"step": step})
    run.log("grpo-validation", {"step": 2})
    run.log("grpo-validation", {"step": 4})
    run.log("no_tools", {"step": 2})
    whole = run.path / "checkpoints" / "grpo_steps" / "checkpoint-3"
    whole.mkdir(parents=True)
    (whole / "trainer_state.json").write_text("{}")
    run.close()
    again = RunFolder.resume(run.path, toolbox)
    assert [(line["phase"], line["step"]) for line in again.metrics()] == [
        ("sft", 3.0), ("grpo", 1.0), ("grpo", 2.0), ("grpo", 3.0), ("grpo-validation", 2.0),
    ]  # fmt: skip
    again.close()


@pytest.mark.parametrize("step", [0, 2])
def test_the_start_of_a_stage_that_is_begun_again_is_validated_again(begin: Any, toolbox: Toolbox, step: int) -> None:
    """What it was the first time is forgotten: the second would count as no better."""
    run = begin()
    run.log("sft-data", {"step": 0})
    run.log("grpo-validation", {"step": 0})
    if step:
        whole = run.path / "checkpoints" / "grpo_steps" / f"checkpoint-{step}"
        whole.mkdir(parents=True)
        (whole / "trainer_state.json").write_text("{}")
    run.close()
    again = RunFolder.resume(run.path, toolbox)
    assert [line["phase"] for line in again.metrics()] == ["sft-data", *(["grpo-validation"] if step else [])]
    again.close()


def test_a_checkpoint_carries_the_lock_and_its_conversation_and_loads(begin: Any, model: Any, context: Any) -> None:
    run = begin(context.toolbox)
    run.save("sft", model)
    run.save("sft", model)
    names = {file.name for file in run.checkpoint("sft").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "toolbox.lock.json", "chat_template.jinja"} <= names
    lock = json.loads((run.checkpoint("sft") / "toolbox.lock.json").read_text())
    assert [tool["name"] for tool in lock["tools"]] == list(context.toolbox)
    conversation = read_conversation_format(run.checkpoint("sft"))
    assert conversation == ConversationFormat(action_format="native", compact=True, view_side=32)
    assert run.load("sft", context.schemas).family == "qwen3_vl"
    assert {folder.name for folder in run.checkpoint("sft").parent.iterdir()} == {"sft"}


def test_a_tiny_checkpoint_without_the_file_is_recognised(begin: Any, model: Any) -> None:
    run = begin()
    run.save("sft", model)
    (run.checkpoint("sft") / "conversation.json").unlink()
    conversation = read_conversation_format(run.checkpoint("sft"))
    assert conversation == ConversationFormat(action_format="native", compact=True, view_side=32)
