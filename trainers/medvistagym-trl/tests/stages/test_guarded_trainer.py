"""Losses and gradients that are no numbers, and checkpoints that are whole or not there."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from medvistagym_trl.rollout import DemonstrationSource
from medvistagym_trl.stages import ConversationCollator, NonFiniteError, train_sft, whole_checkpoints

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def collator(model: Any, context: Any, task: Any) -> ConversationCollator:
    source = DemonstrationSource(context, lambda case, rng: task.demonstrate(case, rng, 1.0), 0, 0)
    return ConversationCollator(source, model.processor, context.rendered_schemas, model.end_of_turn)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.model.named_parameters()}


@pytest.mark.parametrize(("where", "what"), [("loss", "loss"), ("gradient", "gradient norm")])
def test_what_is_no_number_ends_the_training_before_the_update(
    model: Any, collator: ConversationCollator, recipe: Any, tmp_path: Path, where: str, what: str
) -> None:
    steps = 0

    def poison(module: Any, inputs: Any, output: Any) -> Any:
        nonlocal steps
        steps += module.training
        if steps < 2:
            return output
        if where == "loss":
            return output * float("nan")
        output.register_hook(lambda gradient: gradient * float("inf"))
        return output

    handle = model.model.get_input_embeddings().register_forward_hook(poison)
    with pytest.raises(NonFiniteError, match=f"the {what} of step 2 is (nan|inf): nothing was updated by it"):
        train_sft(model, collator, recipe, steps=3, folder=tmp_path)
    handle.remove()
    assert all(torch.isfinite(weight).all() for weight in weights(model).values())
    kept = torch.load(tmp_path / "non_finite" / "step-2.pt", weights_only=True)
    assert kept["input_ids"].shape[0] == recipe.sft.batch
    assert "labels" in kept


def test_each_process_keeps_the_batch_that_it_had(
    model: Any, collator: ConversationCollator, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norm of a gradient is that of all processes, so that all of them refuse it at once."""

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        monkeypatch.setenv("RANK", "1")  # from here on, as one of two processes
        monkeypatch.setenv("WORLD_SIZE", "2")
        return gradient * float("inf")

    model.model.get_input_embeddings().weight.register_hook(poison)
    with pytest.raises(NonFiniteError, match="step-1-rank-1"):
        train_sft(model, collator, recipe, steps=1, folder=tmp_path)
    assert [each.name for each in (tmp_path / "non_finite").iterdir()] == ["step-1-rank-1.pt"]


def test_checkpoints_are_written_aside_and_renamed(
    model: Any, collator: ConversationCollator, recipe: Any, tmp_path: Path
) -> None:
    saving = recipe.with_overrides({"sft.save_every": 1})
    train_sft(model, collator, saving, steps=2, folder=tmp_path)
    assert [folder.name for folder in whole_checkpoints(tmp_path)] == ["checkpoint-2"]
    assert not (tmp_path / ".part").exists()


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    model: Any, collator: ConversationCollator, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = recipe.with_overrides({"sft.save_every": 1})
    save = torch.save

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-2" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train_sft(model, collator, saving, steps=3, folder=tmp_path)
    monkeypatch.undo()
    (whole,) = whole_checkpoints(tmp_path)
    assert whole.name == "checkpoint-1"
    assert json.loads((whole / "trainer_state.json").read_text())["global_step"] == 1
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("checkpoint")] == ["checkpoint-1"]


@pytest.mark.parametrize(("free", "error"), [(0, OSError), (2**30, RuntimeError)])
def test_a_writer_that_does_not_say_why_it_failed_is_asked_of_the_disk(
    model: Any,
    collator: ConversationCollator,
    recipe: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    error: type[Exception],
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(error, match="the disk is full; .* --resume" if error is OSError else "unexpected pos"):
        train_sft(model, collator, recipe.with_overrides({"sft.save_every": 1}), steps=1, folder=tmp_path)


def test_a_checkpoint_that_a_killed_run_left_half_written_is_not_gone_on_from(
    model: Any, collator: ConversationCollator, recipe: Any, tmp_path: Path
) -> None:
    saving = recipe.with_overrides({"sft.save_every": 1})
    train_sft(model, collator, saving, steps=1, folder=tmp_path)
    half = tmp_path / ".part" / "checkpoint-2"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    old = tmp_path / "checkpoint-7"  # as it was left behind before they were written aside
    old.mkdir()
    (old / "model.safetensors").write_bytes(b"half")
    assert [folder.name for folder in whole_checkpoints(tmp_path)] == ["checkpoint-1"]
    train_sft(model, collator, saving, steps=3, folder=tmp_path)
    assert [folder.name for folder in whole_checkpoints(tmp_path)] == ["checkpoint-3"]


@pytest.mark.e2e
def test_a_training_gone_on_with_ends_with_the_same_weights(
    make_model: Any, collator: ConversationCollator, recipe: Any, tmp_path: Path
) -> None:
    saving = recipe.with_overrides({"sft.save_every": 2})
    whole = make_model()
    train_sft(whole, collator, saving, steps=4, folder=tmp_path / "whole")
    first, second = make_model(), make_model()

    class Interrupt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sft(first, collator, saving, steps=4, folder=tmp_path / "cut", callbacks=[Interrupt()])
    assert [folder.name for folder in whole_checkpoints(tmp_path / "cut")] == ["checkpoint-2"]
    train_sft(second, collator, saving, steps=4, folder=tmp_path / "cut")
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(second)[name]), name
