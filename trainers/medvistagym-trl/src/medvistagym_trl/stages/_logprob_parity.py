"""Whether the trainer's log-probabilities are those that an engine gives to the same tokens and images.

The trainer computes them in padded parts of a batch, through caches of image features; the engine reads one row at a time,
its images through a fresh processor. What is cached wrongly, placed wrongly or not synchronised shows as a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import PIL.Image
import PIL.ImageOps
import torch

from medvistagym_trl._recipe import ParityRecipe
from medvistagym_trl.model import ImageFields
from medvistagym_trl.stages._parity import ParityMismatch

FLOAT32_BOUND: Final = 1e-3
"""Largest mean difference of the log-probabilities of a row, nats a token, in float32 (measured: 3e-7)."""
HALF_BOUND: Final = 0.05
"""The same in bfloat16 and float16: a choice, not measured."""


class ScoringEngine(Protocol):
    """Gives log-probabilities of tokens under a policy."""

    def score(self, ids: Sequence[int], start: int, images: Sequence[PIL.Image.Image]) -> torch.Tensor:
        """Log-probabilities float32 (tokens - start,) of `ids[start:]`, at the temperature of the training.

        Args:
            ids: The tokens of a row, its placeholders expanded.
            start: First token that is scored, at least 1.
            images: The images of the row, in order.
        """


class ModelEngine:
    """The trained model itself, fed one row without padding, its images through a processor that has cached nothing.

    Args:
        model: The model, not wrapped.
        processor: Its processor.
        temperature: That logits are divided by.
    """

    def __init__(self, model: Any, processor: Any, temperature: float) -> None:
        self._model, self._temperature = model, temperature
        self._fields = fresh_image_fields(processor)

    @torch.no_grad()
    def score(self, ids: Sequence[int], start: int, images: Sequence[PIL.Image.Image]) -> torch.Tensor:
        """Log-probabilities of `ids[start:]`.

        Args:
            ids: Token ids of prompt and completion.
            start: Position of the first token that is scored, 1 or more.
            images: The images among them, in order.

        Returns:
            Float32 `(len(ids) - start,)`, of the logits divided by the temperature.
        """
        device = self._model.device
        whole = torch.tensor([list(ids)], device=device)
        fields: dict[str, Any] = {}
        if images:
            fields = {key: value.to(device) for key, value in self._fields.make(images).items()}
            if self._fields.has_token_types:
                fields["mm_token_type_ids"] = self._fields.token_types(whole)
        logits = self._model(input_ids=whole, **fields).logits[0, start - 1 : -1].float() / self._temperature
        scores: torch.Tensor = logits.log_softmax(-1).gather(-1, whole[0, start:, None])[:, 0]
        return scores


def fresh_image_fields(processor: Any) -> ImageFields:
    """Makes the fields of images through a processor's image processor, with nothing cached."""
    images = processor.image_processor
    return ImageFields(processor, type(images).from_dict(images.to_dict()))


def choose_rows(
    images: Sequence[Sequence[PIL.Image.Image] | None], most: int, gather: Callable[[int], Sequence[int]] | None = None
) -> list[int]:
    """Rows whose log-probabilities are checked: those with most images.

    Args:
        images: The images of each row.
        most: How many rows.
        gather: For weights that ranks share, gathers a number from all of them: each forward pass waits for every rank, so all
            check as many rows, and rows with images or rows without; none where only some ranks have images.
    """
    rows = sorted(range(len(images)), key=lambda row: -len(images[row] or ()))
    if gather is not None:
        counts = gather(sum(bool(images[row]) for row in rows))
        if min(counts) < max(counts) and not min(counts):
            return []
        most = min(most, min(counts) or most)
    return sorted(rows[:most])


def check_logprobs(
    ours: torch.Tensor,
    output: Mapping[str, Any],
    images: Sequence[Sequence[PIL.Image.Image] | None],
    engine: ScoringEngine,
    recipe: ParityRecipe,
    *,
    half: bool,
    rows: Sequence[int] | None = None,
) -> dict[str, float]:
    """Compare the log-probabilities of some rows of a batch.

    Args:
        ours: Those of the trainer, float32 (rows, tokens of the longest completion).
        output: The batch, as TRL's `_generate_and_score_completions` gives it.
        images: The images of each row, in order.
        engine: Scores the rows on its own.
        recipe: How many rows, and how far they may differ.
        half: Whether one of the two computes in half precision.
        rows: Which rows; those of `choose_rows` if None.

    Returns:
        `logprob_difference`: the largest mean difference of a row between trainer and engine, in nats a token;
        `engine_difference`: the same against the engine that sampled, where it reported log-probabilities;
        `canary_difference`: the largest change of a log-probability when inverted images take the place of a row's own.

    Raises:
        ParityMismatch: They differ by more than the bound, or the canary changes nothing.
    """
    bound = recipe.max_logprob_difference or (HALF_BOUND if half else FLOAT32_BOUND)
    rows = choose_rows(images, recipe.rows) if rows is None else rows
    metrics = {"logprob_difference": 0.0}
    masks = output["completion_mask"] * output.get("tool_mask", torch.ones_like(output["completion_mask"]))
    for row in rows:
        for name, difference in _compare_row(row, ours, output, masks, images[row] or (), engine, bound).items():
            metrics[name] = max(metrics.get(name, 0.0), difference)
    sampled = output.get("sampling_per_token_logps")
    if sampled is not None:
        differences = _engine_differences(ours, sampled, masks.bool())
        metrics["engine_difference"] = max(differences)
        for row, difference in enumerate(differences):
            _refuse_beyond(row, difference, bound, "of the trainer and of the engine that sampled it")
    return metrics


def _compare_row(
    row: int,
    ours: torch.Tensor,
    output: Mapping[str, Any],
    masks: torch.Tensor,
    images: Sequence[PIL.Image.Image],
    engine: ScoringEngine,
    bound: float,
) -> dict[str, float]:
    """What `check_logprobs` returns of one row, but for `engine_difference`; without a token to compare there is nothing."""
    prompt = output["prompt_ids"][row][output["prompt_mask"][row].bool()].tolist()
    completion = output["completion_ids"][row][output["completion_mask"][row].bool()].tolist()
    mask = masks[row, : len(completion)].bool()
    mine = ours[row, : len(completion)][mask]
    theirs = engine.score(prompt + completion, len(prompt), list(images))[mask]
    metrics: dict[str, float] = {}
    if len(mine):
        metrics["logprob_difference"] = difference = float((mine - theirs).abs().mean())
        _refuse_beyond(row, difference, bound, "of the trainer and of an engine that reads it alone")
    if images:  # also of a row without a token to compare: ranks that share weights take as many passes
        canary = [PIL.ImageOps.invert(image.convert("RGB")) for image in images]
        changed = engine.score(prompt + completion, len(prompt), canary)[mask]
    if images and len(mine):
        metrics["canary_difference"] = change = float((changed - theirs).abs().max())
        if change == 0:
            raise ParityMismatch(
                row, "inverted images leave every log-probability as it was: it is not shown its images"
            )
    return metrics


def weights_fingerprint(model: Any) -> torch.Tensor:
    """Two sums over the trained weights, float64 (2,): under weights of their place, and of what was added up."""
    total = torch.zeros(2, dtype=torch.float64)
    for number, weight in enumerate(each for each in model.parameters() if each.requires_grad):
        value = weight.detach().double().sum().cpu() * (1 + math.cos(number))
        total += torch.stack([value, weight.detach().abs().double().sum().cpu()])
    return total.to(next(model.parameters()).device)


def _engine_differences(ours: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor) -> list[float]:
    difference = torch.nan_to_num((ours - sampled).abs()) * mask  # an engine reports NaN where it has none
    return (difference.sum(1) / mask.sum(1).clamp(min=1)).tolist()


def _refuse_beyond(row: int, difference: float, bound: float, whose: str) -> None:
    if not difference <= bound:
        raise ParityMismatch(
            row, f"the log-probabilities {whose} differ by {difference:.3g} a token, and {bound:g} is the bound"
        )
