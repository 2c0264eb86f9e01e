"""Which weights of a checkpoint are trained, and that they are float32 whatever the checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medvistagym_trl._recipe import LoraRecipe, ModelRecipe, RecipeError
from medvistagym_trl.model import (
    NonFiniteWeightsError,
    count_parameters,
    has_adapters,
    load_model,
    save_model,
    tower_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
LORA = ModelRecipe(lora=LoraRecipe(rank=4, alpha=8))


@pytest.fixture(scope="module")
def half(make_checkpoint: Any) -> Path:
    """A checkpoint in bfloat16."""
    path: Path = make_checkpoint("qwen3_vl", "qwen3_vl", dtype=torch.bfloat16)
    return path


def dtypes(model: Any, trained: bool = True) -> set[torch.dtype]:
    return {weight.dtype for weight in model.parameters() if weight.requires_grad == trained}


def test_all_weights_are_trained_in_float32(half: Path, context: Any) -> None:
    loaded = load_model(half, context.schemas, train=True)
    assert dtypes(loaded.model) == {torch.float32}
    assert count_parameters(loaded.model)[0] == count_parameters(loaded.model)[1]


def test_a_model_that_is_only_played_keeps_its_own_precision(half: Path, context: Any) -> None:
    assert next(load_model(half, context.schemas).model.parameters()).dtype == torch.bfloat16


def test_adapters_are_float32_on_a_bfloat16_model(half: Path, context: Any) -> None:
    loaded = load_model(half, context.schemas, LORA, train=True)
    assert has_adapters(loaded.model)
    assert dtypes(loaded.model) == {torch.float32}
    assert dtypes(loaded.model, trained=False) == {torch.bfloat16}
    trained = [name for name, weight in loaded.model.named_parameters() if weight.requires_grad]
    assert all("lora_" in name and "visual" not in name and "lm_head" not in name for name in trained)
    ids = torch.tensor([[5, 6, 7, 8]])
    loaded.model(input_ids=ids).logits.float().mean().backward()


def test_adapters_stand_where_the_recipe_says(half: Path, context: Any) -> None:
    chosen = ModelRecipe(lora=LoraRecipe(rank=2, targets=("q_proj", "v_proj")))
    loaded = load_model(half, context.schemas, chosen, train=True)
    kinds = {
        name.split(".lora_")[0].rpartition(".")[2] for name, w in loaded.model.named_parameters() if w.requires_grad
    }
    assert kinds == {"q_proj", "v_proj"}
    towers = ModelRecipe(lora=LoraRecipe(rank=2, towers=("vision", "projector")))
    loaded = load_model(half, context.schemas, towers, train=True)
    places = {tower_of(name) for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    assert places == {"vision", "projector"}


def test_a_target_that_there_is_not_is_refused_with_the_nearest(half: Path, context: Any) -> None:
    with pytest.raises(
        RecipeError, match=r"model\.lora\.targets: no linear layer is called 'q_prj'; did you mean q_proj\?"
    ):
        load_model(half, context.schemas, ModelRecipe(lora=LoraRecipe(rank=2, targets=("q_prj",))), train=True)


def test_a_frozen_tower_is_not_trained(half: Path, context: Any) -> None:
    loaded = load_model(half, context.schemas, ModelRecipe(frozen=("vision", "projector")), train=True)
    assert {tower_of(name) for name, weight in loaded.model.named_parameters() if weight.requires_grad} == {"language"}


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("model.visual.blocks.0.attn.qkv", "vision"),
        ("model.visual.merger.linear_fc1", "projector"),
        ("model.visual.deepstack_merger_list.0.linear_fc1", "projector"),
        ("model.language_model.layers.0.mlp.up_proj", "language"),
        ("model.vision_tower.encoder.layers.0.mlp.fc1", "vision"),
        ("model.multi_modal_projector.linear_1", "projector"),
        ("lm_head", "language"),
    ],
)
def test_parts_of_a_model_are_told_apart_by_name(name: str, tower: str) -> None:
    assert tower_of(name) == tower


def test_saved_adapters_hold_nothing_else_and_load_onto_their_base(half: Path, context: Any, tmp_path: Path) -> None:
    loaded = load_model(half, context.schemas, LORA, train=True)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.01)
    loaded.model.add_adapter("ref", loaded.model.peft_config["default"])  # what TRL does where beta is not 0
    loaded.model.set_adapter("default")
    save_model(loaded, tmp_path)
    files = {file.name for file in tmp_path.iterdir()}
    assert "adapter_model.safetensors" in files
    assert not {"model.safetensors", "ref"} & files
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all("lora_" in name and "base_layer" not in name for name in saved)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(half)
    again = load_model(tmp_path, context.schemas, LORA, train=True)
    assert count_parameters(again.model)[0] == sum(weight.numel() for weight in saved.values())
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(loaded.model(input_ids=ids).logits, again.model(input_ids=ids).logits)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/gone"}))
    with pytest.raises(ValueError, match="holds adapters for the checkpoint /gone, which is not there"):
        load_model(tmp_path, context.schemas)


def test_a_quantised_model_is_trained_by_float32_adapters(half: Path, context: Any) -> None:
    pytest.importorskip(
        "bitsandbytes", reason="four-bit weights need bitsandbytes: pip install 'medvistagym-trl[qlora]'"
    )
    loaded = load_model(half, context.schemas, LORA.model_copy(update={"quantization": "4bit"}), train=True)
    assert loaded.model.is_loaded_in_4bit
    assert dtypes(loaded.model) == {torch.float32}


def test_weights_that_are_no_numbers_are_not_saved(model: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        next(model.model.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(NonFiniteWeightsError, match="hold NaN or infinity"):
        save_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("precision", ["kept", "float32"])
def test_why_weights_are_float32(half: Path, context: Any, precision: str) -> None:
    """At a learning rate of fine-tuning hardly a bfloat16 weight moves, and nearly every float32 one does."""
    loaded = load_model(half, context.schemas, train=precision == "float32")
    before = [weight.detach().clone() for weight in loaded.model.parameters()]
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-6, weight_decay=0.0)
    logits = loaded.model(input_ids=torch.arange(20, 60)[None]).logits
    logits.float().square().mean().backward()
    optimizer.step()
    changed = touched = 0
    for old, new in zip(before, loaded.model.parameters(), strict=True):
        if new.grad is not None:
            changed += int((old != new)[new.grad != 0].sum())
            touched += int((new.grad != 0).sum())
    assert (changed / touched > 0.95) if precision == "float32" else (changed / touched < 0.05)
