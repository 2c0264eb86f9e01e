"""Supervised fine-tuning on sampled trajectories, with TRL's `SFTTrainer`.

The trajectories teach the wire format and how to read what a tool returns. Whether to call, and what, is left to
reinforcement learning: many demonstrations give up where they would make their first call (`hesitant`), and of the calls
that are made only a share (`skill`) is the informative one.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from medvistagym_trl.batch import assistant_labels, encode
from medvistagym_trl.environment import World
from medvistagym_trl.families import Policy
from medvistagym_trl.lessons import Demonstrator, act_out
from medvistagym_trl.muon import Muon32
from medvistagym_trl.perception import LookCollator, look_conversation, schedule
from medvistagym_trl.recipe import SftRecipe


class TrajectoryCollator:
    """Acts trajectories out as they are needed and turns them into tensors; rows carry only an index.

    TRL's own collator drops the tools and cannot fill in the pictures of tool messages.

    Args:
        world: Cases, rules and tools.
        processor: The policy's processor.
        demonstrator: Gives the scripts.
        offset: Index of the first case.
        seed: Of the demonstrator's choices.
        looks: Makes single looks, so that a policy does not forget how to see while it learns to act; None for none.
        share: Share of a batch that is looks.
    """

    def __init__(
        self,
        world: World,
        processor: Any,
        demonstrator: Demonstrator,
        offset: int,
        seed: int,
        looks: LookCollator | None = None,
        share: float = 0.0,
    ) -> None:
        self._world, self._processor, self._demonstrator = world, processor, demonstrator
        self._offset, self._seed, self._looks, self._share = offset, seed, looks, share

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Model inputs and labels; only what the assistant wrote is labelled, and the cells of looks."""
        indices = [self._offset + int(row["images"]) for row in rows]
        count = round(self._share * len(rows)) if self._looks is not None else 0
        looks = self._looks.looks(indices[:count]) if self._looks is not None else []
        conversations = [look_conversation(look, self._world) for look in looks]
        conversations += [
            act_out(self._world, index, self._demonstrator, self._seed).messages for index in indices[count:]
        ]
        batch = encode(self._processor, conversations, self._world.schemas)
        labels = assistant_labels(batch["input_ids"], self._processor.tokenizer)
        if self._looks is not None:
            self._looks.name_cells(looks, batch, labels, random.Random(indices[0]))
        return {**batch, "labels": labels}


def quietly(make: Callable[..., Any], **settings: Any) -> Any:
    """A TRL configuration, without the warnings of transformers about TRL's own use of a field's old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        return make(**settings)


def train_sft(
    policy: Policy,
    collator: TrajectoryCollator,
    recipe: SftRecipe,
    *,
    steps: int,
    seed: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Fine-tune a policy in place.

    Args:
        policy: The policy.
        collator: Makes the batches.
        recipe: Batch and learning rate.
        steps: Optimiser steps.
        seed: Of the data order.
        folder: For the trainer's own files.
        callbacks: Told of every logged step.
    """
    count = steps * recipe.batch
    rows = Dataset.from_dict({"images": list(range(count)), "messages": [[{"role": "user", "content": ""}]] * count})
    config = quietly(
        SFTConfig,
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=False,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_drop_last=True,
        dataloader_num_workers=0
        if torch.cuda.is_available()
        else 1,  # CUDA, where tools run too, does not survive a fork
        disable_tqdm=True,
        seed=seed,
    )
    optimiser = Muon32(policy.model, matrix_lr=recipe.matrix_lr, other_lr=recipe.other_lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule(step, steps, warmup=10, floor=0.1))
    trainer = SFTTrainer(
        model=policy.model,
        args=config,
        train_dataset=rows,
        processing_class=policy.processor,
        data_collator=collator,
        callbacks=list(callbacks),
        optimizers=(optimiser, scheduler),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
