"""Perception warm-up: single images with dense supervision.

A policy that starts from random weights does not learn to see from trajectories alone. So before any tool is called
it learns from single images: it answers the question, and at every image token it names what that patch of the image
holds. The matrices are trained with Muon, which learns localisation in a tenth of the steps that AdamW takes.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from medvistagym_core.environment import HasPerceptionItems, PerceptionItem
from medvistagym_core.imaging import Image
from medvistagym_trl._recipe import PerceptionRecipe
from medvistagym_trl.model import (
    IGNORE_INDEX,
    Conversation,
    LoadedModel,
    TrainingEncoder,
    chat_message,
    encode_equal_images_once,
    encode_for_training,
    image_token_positions,
)
from medvistagym_trl.rollout import RolloutContext
from medvistagym_trl.stages._guarded_trainer import NonFiniteError
from medvistagym_trl.stages._optim import Float32Muon


def perception_conversation(item: PerceptionItem, context: RolloutContext) -> Conversation:
    """A perception item as a chat of one question and its answer, under the prompt that episodes have.

    Args:
        item: The item.
        context: Says the prompt, the format of the answer and the size of the image.
    """
    side, prompt = context.config.view_side, context.config.prompt
    image = None if item.image is None else item.image.to_pil(side).convert("RGB")
    answer = context.config.protocol.format_turn(answer=item.answer)
    opening = [chat_message("system", prompt)] if prompt else []
    return [*opening, chat_message("user", item.question, image), chat_message("assistant", answer)]


def result_conversation(item: PerceptionItem, opening: Image, context: RolloutContext) -> Conversation:
    """A perception item read as a tool's result is: the question comes with another picture, the item's own after it.

    No call stands between them: what is learnt is to read the last picture, not how it was asked for. A question about text
    keeps its text; it comes with the other picture.
    """
    chat = perception_conversation(item, context)
    side = context.config.view_side
    before = chat_message("user", item.question, opening.to_pil(side).convert("RGB"))
    if item.image is None:
        return [*chat[:-2], before, chat[-1]]
    return [*chat[:-2], before, chat_message("tool", "", item.image.to_pil(side).convert("RGB")), chat[-1]]


def patch_labels(
    item: PerceptionItem, rows: int, columns: int, background: float, rng: random.Random
) -> list[str | None]:
    """What each patch of an image holds.

    A patch takes a region's word when the region covers nearly half of it (or of the region, if that is smaller); a
    patch that a region merely touches is left out, and so are most empty patches, or else "nothing here" would be all
    the policy learns.

    Args:
        item: Its `regions` are boxes on the 0-1000 grid of the image.
        rows: Patches down.
        columns: Patches across.
        background: Share of the patches that stay supervised as background, at most (three at least).
        rng: Chooses them.

    Returns:
        Words or None (no supervision), row by row.
    """
    height, width = 1000 / rows, 1000 / columns
    words: list[str | None] = [item.background] * (rows * columns)
    for box, word in item.regions:
        area = min((box.x1 - box.x0) * (box.y1 - box.y0), height * width)
        for row in range(rows):
            for column in range(columns):
                down = min(box.y1, (row + 1) * height) - max(box.y0, row * height)
                across = min(box.x1, (column + 1) * width) - max(box.x0, column * width)
                overlap = max(0.0, down) * max(0.0, across)
                patch = row * columns + column
                if overlap > 0.45 * area:
                    words[patch] = word
                elif overlap > 0.08 * area and words[patch] == item.background:
                    words[patch] = None
    empty = [patch for patch, word in enumerate(words) if word == item.background]
    rng.shuffle(empty)
    for patch in empty[max(3, round(background * rows * columns)) :]:
        words[patch] = None
    return words


@dataclasses.dataclass(frozen=True)
class PerceptionChat:
    """A perception item as it is learnt from.

    Attributes:
        conversation: The chat.
        pictured: The items whose pictures stand in it, in order.
    """

    conversation: Conversation
    pictured: tuple[PerceptionItem, ...]


class PerceptionCollator:
    """Turns indices of perception items into model inputs and labels: the answer, and a word at every supervised patch.

    Args:
        context: Prompt, tools and the size of images.
        task: Offers the items.
        processor: The model's processor.
        background: Share of an image's patches that are supervised as background.
        end_of_turn: Tokens at which generation stops.
        as_results: Share of the items that are read as a tool's result is.
    """

    def __init__(
        self,
        context: RolloutContext,
        task: HasPerceptionItems,
        processor: Any,
        background: float,
        end_of_turn: Sequence[int],
        *,
        as_results: float = 0.0,
    ) -> None:
        self._context, self._task, self._processor, self._background = context, task, processor, background
        self._encoder, self._as_results = TrainingEncoder(processor, context.schemas, end_of_turn), as_results
        self._token: Callable[[str], int] = cache(lambda word: int(processor.tokenizer(word)["input_ids"][0]))

    def __call__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of the training split's perception items."""
        chats = self.chats(indices)
        conversations = [chat.conversation for chat in chats]
        batch = self._encoder.encode(conversations)
        self.label_patches(chats, batch, batch["labels"], random.Random(indices[0]))
        return batch

    def chats(self, indices: Sequence[int]) -> list[PerceptionChat]:
        """Perception items of the training split as chats; those read as results stand after the picture of the item before."""
        items = [self._task.look(self._context.split, index, self._context.seed) for index in indices]
        chats = []
        for place, (index, item) in enumerate(zip(indices, items, strict=True)):
            other = items[place - 1]
            if other.image is None or random.Random(index).random() >= self._as_results:
                conversation, shown = perception_conversation(item, self._context), [item]
            else:
                conversation, shown = result_conversation(item, other.image, self._context), [other, item]
            chats.append(PerceptionChat(conversation, tuple(each for each in shown if each.image is not None)))
        return chats

    def label_patches(
        self, chats: Sequence[PerceptionChat], batch: dict[str, torch.Tensor], labels: torch.Tensor, rng: random.Random
    ) -> None:
        """Add to `labels` what the patches of the images hold; the chats are the first rows of the batch.

        Args:
            chats: The chats, and the item of each of their images.
            batch: The model's inputs, with `input_ids` int64 (rows, tokens) and `image_grid_thw`.
            labels: Int64 (rows, tokens); changed in place.
            rng: Draws which patches of the background are supervised.
        """
        grids = iter(batch.get("image_grid_thw", torch.zeros(0, 3, dtype=torch.long)).tolist())
        merge = self._processor.image_processor.merge_size
        positions = image_token_positions(batch["input_ids"][: len(chats)], self._processor.image_token_id)
        for chat, images, target in zip(chats, positions, labels[: len(chats)], strict=True):
            for item, image in zip(chat.pictured, images, strict=True):
                _, height, width = next(grids)
                words = patch_labels(item, height // merge, width // merge, self._background, rng)
                for position, word in zip(image, words, strict=True):
                    if word is not None:  # the model shifts labels by one: a token's logits answer the label after it
                        target[position + 1] = self._token(word)


def cosine_schedule_with_warmup(step: int, steps: int, warmup: int = 30, floor: float = 0.05) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to `floor`.

    Args:
        step: Number of the step, from 0.
        steps: How many steps there are.
        warmup: Steps until the factor of the warm-up is 1.
        floor: The factor at the end, 0 to 1.
    """
    return min(1.0, (step + 1) / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))


def train_perception(
    model: LoadedModel,
    context: RolloutContext,
    task: HasPerceptionItems,
    recipe: PerceptionRecipe,
    *,
    log: Callable[[dict[str, float]], None],
) -> None:
    """Train a model on perception items, in place: each alone, and then, where the recipe wants it, some as results.

    One schedule of the learning rate goes over both parts.

    Args:
        model: The model.
        context: Prompt, tools and the size of images, as in the episodes to come.
        task: Offers the items.
        recipe: Steps, batch, rates and threads.
        log: Is handed `step` and the mean `loss` of every 25 steps.

    Raises:
        NonFiniteError: A loss or gradient was no number.
    """
    last = recipe.steps + recipe.result_steps
    optimizer = Float32Muon(
        model.model, matrix_lr=recipe.matrix_lr, other_lr=recipe.other_lr, weight_decay=recipe.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_schedule_with_warmup(step, last))
    model.model.train()
    losses: list[float] = []
    parts = (range(recipe.steps), 0.0), (range(recipe.steps, last), recipe.as_results)
    with encode_equal_images_once(model.model), _torch_threads(recipe.threads or torch.get_num_threads()):
        for steps, as_results in parts:
            for step, batch in enumerate(_batches(model, context, task, recipe, steps, as_results), steps.start + 1):
                losses.append(_learn(model, batch, optimizer, step))
                scheduler.step()
                if step % 25 == 0 or step == steps.stop:
                    log({"step": step, "loss": sum(losses[-25:]) / len(losses[-25:])})


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(
    model: LoadedModel,
    context: RolloutContext,
    task: HasPerceptionItems,
    recipe: PerceptionRecipe,
    steps: range,
    as_results: float,
) -> Any:
    """The batches of some steps, made in another process."""
    collate = PerceptionCollator(
        context, task, model.processor, recipe.unclear_cells, model.end_of_turn, as_results=as_results
    )
    items: Any = range(steps.start * recipe.batch, steps.stop * recipe.batch)
    return torch.utils.data.DataLoader(
        items, batch_size=recipe.batch, collate_fn=collate, num_workers=1, prefetch_factor=4
    )


def _learn(model: LoadedModel, batch: dict[str, torch.Tensor], optimizer: Float32Muon, step: int) -> float:
    """One step; its loss."""
    loss = model.model(**batch).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0)
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        raise NonFiniteError(
            f"perception step {step}: the loss is {loss.item()} and the gradient norm {norm.item()}; nothing was "
            "updated by it; smaller perception.matrix_lr and other_lr may help"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.item())


@torch.no_grad()
def perception_accuracy(
    model: LoadedModel, context: RolloutContext, items: Sequence[PerceptionItem], *, as_results: bool = False
) -> dict[str, float]:
    """Share of perception items whose answer's first token is the most likely one, per question.

    Questions that carry a value are pooled under their first three words.

    Args:
        model: The model.
        context: Prompt, tools and the size of images.
        items: The items.
        as_results: Read each as a tool's result is, after the picture of the item before it, where that has one.
    """
    network, processor = model.model, model.processor
    network.eval()
    hits: dict[str, list[bool]] = {}
    opening = len(processor.tokenizer("<answer>")["input_ids"])
    for start in range(0, len(items), 64):
        chunk = items[start : start + 64]
        conversations = [
            perception_conversation(item, context)
            if other.image is None or not as_results
            else result_conversation(item, other.image, context)
            for item, other in zip(chunk, [*chunk[-1:], *chunk], strict=False)
        ]
        batch = encode_for_training(processor, conversations, context.schemas, model.end_of_turn)
        first = (batch.pop("labels") != IGNORE_INDEX).int().argmax(1) + opening
        rows = torch.arange(len(chunk))
        predicted = network(**batch).logits[rows, first - 1].argmax(-1)
        for item, correct in zip(chunk, (predicted == batch["input_ids"][rows, first]).tolist(), strict=True):
            hits.setdefault(" ".join(item.question.split()[:3]), []).append(correct)
    network.train()
    return {question: sum(each) / len(each) for question, each in sorted(hits.items())}
