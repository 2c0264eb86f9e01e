"""Perception warm-up: single looks with dense supervision.

A policy that starts from random weights does not learn to see from trajectories alone. So before any tool is called
it learns from single pictures: it answers the question, and at every image token it names what that part of the
picture holds. The matrices are trained with Muon, which finds localisation in a tenth of the steps that AdamW takes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from medvistagym_core.environment import HasPerceptionItems, PerceptionItem
from medvistagym_trl.batch import IGNORED, Conversation, assistant_labels, encode, image_cells, message
from medvistagym_trl.environment import World
from medvistagym_trl.muon import Muon32
from medvistagym_trl.recipe import PerceptionRecipe


def look_conversation(look: PerceptionItem, world: World) -> Conversation:
    """A look as a chat of one question and its answer, under the prompt that episodes have."""
    side, prompt = world.settings.view_side, world.settings.prompt
    picture = None if look.image is None else look.image.to_pil(side).convert("RGB")
    answer = world.settings.protocol.format_turn(answer=look.answer)
    opening = [message("system", prompt)] if prompt else []
    return [*opening, message("user", look.question, picture), message("assistant", answer)]


def cell_words(look: PerceptionItem, rows: int, columns: int, unclear: float, rng: random.Random) -> list[str | None]:
    """What each cell of a picture holds.

    A cell takes a region's word when the region covers nearly half of it (or of the region, if that is smaller); a
    cell that a region merely touches is left out, and so are most empty cells, or else "nothing here" would be all
    the policy learns.

    Args:
        look: Its `regions` are boxes on the 0-1000 grid of the picture.
        rows: Cells down.
        columns: Cells across.
        unclear: Share of the cells that stay supervised as background, at most (three at least).
        rng: Chooses them.

    Returns:
        Words or None (no supervision), row by row.
    """
    height, width = 1000 / rows, 1000 / columns
    words: list[str | None] = [look.background] * (rows * columns)
    for box, word in look.regions:
        area = min((box.x1 - box.x0) * (box.y1 - box.y0), height * width)
        for row in range(rows):
            for column in range(columns):
                down = min(box.y1, (row + 1) * height) - max(box.y0, row * height)
                across = min(box.x1, (column + 1) * width) - max(box.x0, column * width)
                overlap = max(0.0, down) * max(0.0, across)
                cell = row * columns + column
                if overlap > 0.45 * area:
                    words[cell] = word
                elif overlap > 0.08 * area and words[cell] == look.background:
                    words[cell] = None
    empty = [cell for cell, word in enumerate(words) if word == look.background]
    rng.shuffle(empty)
    for cell in empty[max(3, round(unclear * rows * columns)) :]:
        words[cell] = None
    return words


class LookCollator:
    """Turns indices of looks into model inputs and labels: the answer, and a word at every supervised image cell."""

    def __init__(self, world: World, task: HasPerceptionItems, processor: Any, unclear: float) -> None:
        self._world, self._task, self._processor, self._unclear = world, task, processor, unclear
        self._token: Callable[[str], int] = cache(lambda word: int(processor.tokenizer(word)["input_ids"][0]))

    def __call__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of the training split's looks."""
        looks = self.looks(indices)
        conversations = [look_conversation(look, self._world) for look in looks]
        batch = encode(self._processor, conversations, self._world.schemas)
        labels = assistant_labels(batch["input_ids"], self._processor.tokenizer)
        self.name_cells(looks, batch, labels, random.Random(indices[0]))
        return {**batch, "labels": labels}

    def looks(self, indices: Sequence[int]) -> list[PerceptionItem]:
        """Looks of the training split."""
        return [self._task.look(self._world.split, index, self._world.seed) for index in indices]

    def name_cells(
        self, looks: Sequence[PerceptionItem], batch: dict[str, torch.Tensor], labels: torch.Tensor, rng: random.Random
    ) -> None:
        """Add to `labels` what the cells of the pictures hold; the looks are the first rows of the batch."""
        grids = iter(batch.get("image_grid_thw", torch.zeros(0, 3, dtype=torch.long)).tolist())
        merge = self._processor.image_processor.merge_size
        images = image_cells(batch["input_ids"][: len(looks)], self._processor.image_token_id)
        for look, found, target in zip(looks, images, labels[: len(looks)], strict=True):
            for cells in found:
                _, height, width = next(grids)
                words = cell_words(look, height // merge, width // merge, self._unclear, rng)
                for position, word in zip(cells, words, strict=True):
                    if word is not None:  # the model shifts labels by one: a cell's logits answer the label after it
                        target[position + 1] = self._token(word)


def schedule(step: int, steps: int, warmup: int = 30, floor: float = 0.05) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to `floor`."""
    return min(1.0, (step + 1) / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))


def train_perception(
    model: Any,
    processor: Any,
    world: World,
    task: HasPerceptionItems,
    recipe: PerceptionRecipe,
    *,
    log: Callable[[dict[str, float]], None],
) -> None:
    """Warm a policy up on `task.look` items, in place.

    Args:
        model: The policy.
        processor: Its processor.
        world: Prompt, tools and the size of pictures, as in the episodes to come.
        task: Offers looks.
        recipe: Steps, batch and rates.
        log: Is handed `step` and `loss` now and then.
    """
    optimiser = Muon32(model, matrix_lr=recipe.matrix_lr, other_lr=recipe.other_lr, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule(step, recipe.steps))
    model.train()
    losses: list[float] = []
    batches: Any = torch.utils.data.DataLoader(
        range(recipe.steps * recipe.batch),  # type: ignore[arg-type]
        batch_size=recipe.batch,
        collate_fn=LookCollator(world, task, processor, recipe.unclear_cells),
        num_workers=1,
        prefetch_factor=4,
    )
    for step, batch in enumerate(batches):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % 25 == 0 or step + 1 == recipe.steps:
            log({"step": step + 1, "loss": sum(losses[-25:]) / len(losses[-25:])})


@torch.no_grad()
def look_accuracy(model: Any, processor: Any, world: World, looks: Sequence[PerceptionItem]) -> dict[str, float]:
    """Share of looks whose answer's first token is the most likely one, per question.

    Questions that carry a value are pooled under their first three words.
    """
    model.eval()
    hits: dict[str, list[bool]] = {}
    tokenizer = processor.tokenizer
    opening = len(tokenizer("<answer>")["input_ids"])
    for start in range(0, len(looks), 64):
        part = looks[start : start + 64]
        batch = encode(processor, [look_conversation(look, world) for look in part], world.schemas)
        labels = assistant_labels(batch["input_ids"], tokenizer)
        first = (labels != IGNORED).int().argmax(1) + opening
        rows = torch.arange(len(part))
        predicted = model(**batch).logits[rows, first - 1].argmax(-1)
        for look, right in zip(part, (predicted == batch["input_ids"][rows, first]).tolist(), strict=True):
            hits.setdefault(" ".join(look.question.split()[:3]), []).append(right)
    model.train()
    return {question: sum(found) / len(found) for question, found in sorted(hits.items())}
