"""Supervised fine-tuning on trajectories, with TRL's `SFTTrainer`.

A task's demonstrations teach the tiny model the wire format and how to read what a tool returns; whether to call, and what, is
left to reinforcement learning: many of them give up where they would make their first call (`hesitation`), and of
the calls that are made only a share (`skill`) is the informative one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.sft_trainer import SFTTrainer

from medvistagym_trl._recipe import Recipe
from medvistagym_trl.model import LoadedModel, cast_trained_to_float32, encode_equal_images_once
from medvistagym_trl.stages._collator import ConversationCollator
from medvistagym_trl.stages._guarded_trainer import GuardedTrainer, whole_checkpoints
from medvistagym_trl.stages._interrupt import train_interruptibly
from medvistagym_trl.stages._optim import Float32Muon, merger_blocks
from medvistagym_trl.stages._perception import cosine_schedule_with_warmup
from medvistagym_trl.stages._trl_config import make_sft_config, uses_adamw


class ConversationSFTTrainer(GuardedTrainer, SFTTrainer):
    """`SFTTrainer` on rows that a collator turns into conversations."""


def train_sft(
    model: LoadedModel,
    collator: ConversationCollator,
    recipe: Recipe,
    *,
    steps: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Fine-tune a model in place.

    Args:
        model: The model.
        collator: Makes the batches.
        recipe: Batch, optimiser and its rates, the order's seed, and fields of TRL's own.
        steps: Optimiser steps.
        folder: For the trainer's own files; a whole checkpoint that it holds is gone on from.
        callbacks: Told of every logged step.

    Raises:
        NonFiniteError: A loss or gradient was no number.
        KeyboardInterrupt: SIGINT or SIGTERM came; the last step is saved.
    """
    count = steps * recipe.sft.batch
    rows = Dataset.from_dict({"images": list(range(count)), "messages": [[{"role": "user", "content": ""}]] * count})
    optimizers: tuple[Any, Any] = (None, None)
    if not uses_adamw(recipe.sft, recipe):
        optimizer = Float32Muon(
            model.model,
            matrix_lr=recipe.sft.matrix_lr,
            other_lr=recipe.sft.other_lr,
            blocks=merger_blocks(model.model),
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: cosine_schedule_with_warmup(step, steps, warmup=10, floor=0.1)
        )
        optimizers = (optimizer, scheduler)
    trainer = ConversationSFTTrainer(
        model=model.model,
        args=make_sft_config(recipe, steps=steps, folder=folder),
        train_dataset=rows,
        processing_class=model.processor,
        data_collator=collator,
        callbacks=list(callbacks),
        optimizers=optimizers,
    )
    cast_trained_to_float32(model.model)  # TRL brings adapters of a quantised model to bfloat16
    trainer.remove_callback(PrinterCallback)
    whole = whole_checkpoints(folder)
    with encode_equal_images_once(model.model):
        train_interruptibly(trainer, str(whole[-1]) if whole else None)
