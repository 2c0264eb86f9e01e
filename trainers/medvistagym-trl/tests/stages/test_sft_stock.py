"""Recorded trajectories: read by Hugging Face `datasets`, and taken by TRL's own `SFTTrainer` as they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from medvistagym_core.trajectories import Trajectory, TrajectoryReader, hf_features
from medvistagym_trl._libraries import without_future_warnings
from medvistagym_trl.model import IGNORE_INDEX
from medvistagym_trl.rollout import write_demonstrations

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def recorded(context: Any, task: Any, tmp_path: Path) -> Path:
    path = tmp_path / "lessons.jsonl"
    write_demonstrations(context, lambda case, rng: task.demonstrate(case, rng, 1.0), "expert", range(8), 0, path)
    return path


@pytest.fixture
def table(recorded: Path) -> datasets.Dataset:
    """Right answers as rows of TRL, out of a table of everything."""
    cache = str(recorded.parent / "cache")
    rows = datasets.load_dataset(
        "json", data_files=str(recorded), features=hf_features(), split="train", cache_dir=cache
    )
    right = rows.filter(lambda row: row["outcome"]["correct"])
    reader = TrajectoryReader(recorded)
    made = [Trajectory.model_validate(row).to_sft(reader.load_image) for row in right]
    return datasets.Dataset.from_list(made)


def test_stock_trl_fine_tunes_on_them(table: datasets.Dataset, model: Any, tmp_path: Path) -> None:
    before = [weight.detach().clone() for weight in model.model.parameters()]
    config = without_future_warnings(
        SFTConfig, output_dir=str(tmp_path / "sft"), max_steps=2, per_device_train_batch_size=4, max_length=None,
        save_strategy="no", report_to="none", use_cpu=True, bf16=False, disable_tqdm=True, logging_steps=1,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = SFTTrainer(model=model.model, args=config, train_dataset=table, processing_class=model.processor)
    (batch, *_) = trainer.get_train_dataloader()
    assert len(batch["image_grid_thw"]) >= 4
    read = model.tokenizer.decode(batch["input_ids"][0][batch["labels"][0] != IGNORE_INDEX], skip_special_tokens=False)
    assert '<tool_call>{"name": ' in read
    assert "<answer>" in read
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    after = list(model.model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
