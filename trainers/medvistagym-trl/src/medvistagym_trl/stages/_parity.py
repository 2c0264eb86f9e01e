"""Whether what is trained on is what the policy read when it wrote: token ids, images, their order, grids and placeholders.

Multi-turn training of vision-language models fails silently where images are lost, swapped or shifted between rollout and
training. So each row of a batch is noted when it is generated, and compared twice: when the rollouts are complete (tokens and
images), and as each part of the batch is learnt from (tokens, placeholders, grids and pixel values). Images are compared by
hash; pixel values, which may differ in the last bit between two calls of a processor, by two sums over weighted patches.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import PIL.Image
import torch

from medvistagym_trl.model import ImageFields

ROW_KEY: Final = "parity_row"
"""Entry of a training batch that holds the number of each row at generation, int64 (rows,)."""
_TOLERANCE: Final = 1e-5
"""Largest difference of two fingerprints, as a share of the sum of what they add up."""


class ParityError(RuntimeError):
    """What is trained on is not what the policy read or wrote; the batch is kept, and no weight was changed by it."""


class ParityMismatch(Exception):  # noqa: N818  (turned into a ParityError, with the batch on disk, by the trainer)
    """The first difference in a batch, in words that follow 'row N'."""

    def __init__(self, row: int, difference: str) -> None:
        super().__init__(difference)
        self.row, self.difference = row, difference


Fingerprint = tuple[float, float]
"""Of the patches of an image: their sum under fixed weights, and the sum of what was added up, as its scale."""


@dataclasses.dataclass(frozen=True)
class ReadRow:
    """What a row was given to read in its last turn, and what was written after it."""

    ids: tuple[int, ...]
    written: tuple[int, ...]
    images: tuple[str, ...]
    grids: tuple[tuple[int, ...], ...]
    pixels: tuple[Fingerprint, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens after the turn."""
        return self.ids + self.written


class ImageHasher:
    """Hashes of images by mode, size and pixels; an image object that comes again is hashed once."""

    def __init__(self) -> None:
        self._hashes: dict[int, tuple[PIL.Image.Image, str]] = {}

    def __call__(self, images: Sequence[PIL.Image.Image]) -> tuple[str, ...]:
        """The hash of each image."""
        return tuple(self._hash(image) for image in images)

    def _hash(self, image: PIL.Image.Image) -> str:
        if id(image) not in self._hashes:  # the image is kept with its hash, so that its id stays its own
            head = f"{image.mode} {image.size} ".encode()
            digest = hashlib.blake2b(head + image.tobytes(), digest_size=16).hexdigest()
            self._hashes[id(image)] = image, digest
        return self._hashes[id(image)][1]


class BatchParity:
    """The rows of one batch, as they were generated.

    Args:
        image_token: Token that stands for a part of an image, or None for a model without images.
        merge: Patches along each axis that one such token stands for; None where images have no grid of patches.

    Attributes:
        images: Images that were compared when the rollouts were complete.
    """

    def __init__(self, image_token: int | None, merge: int | None) -> None:
        self._image_token, self._cells = image_token, merge * merge if merge else None
        self._rows: dict[int, ReadRow] = {}
        self._hash_read = ImageHasher()
        self.images = 0

    def __len__(self) -> int:
        return len(self._rows)

    def read(
        self,
        rows: Sequence[int],
        ids: Sequence[Sequence[int]],
        written: Sequence[Sequence[int]],
        images: Sequence[Sequence[PIL.Image.Image] | None] | None,
        fields: Mapping[str, Any],
    ) -> None:
        """Note a turn.

        Args:
            rows: Rows of the batch that wrote it.
            ids: Tokens that each read.
            written: Tokens that each wrote.
            images: Images that each read, in order.
            fields: Vision fields of all of them; `image_grid_thw` may have one axis, rows of `pixel_values` of each image.

        Raises:
            ParityMismatch: A row did not read what it had read and written before.
        """
        hashes = [self._hash_read(each or ()) for each in images or [None] * len(rows)]
        prints = _split(fields, [len(each) for each in hashes], rows)
        for row, read, wrote, digests, (grids, pixels) in zip(rows, ids, written, hashes, prints, strict=True):
            now = ReadRow(tuple(read), tuple(wrote), digests, grids, pixels)
            before = self._rows.get(row)
            if before is not None:
                _compare_tokens(row, before.tokens, now.ids[: len(before.tokens)], "a later turn does not begin with")
                if now.images[: len(before.images)] != before.images:
                    raise ParityMismatch(row, "a later turn was not shown the images of the turns before it")
            self._rows[row] = now

    def forget(self, rows: Sequence[int]) -> None:
        """Forget rows that are played again."""
        for row in rows:
            self._rows.pop(row, None)

    def check_rollouts(
        self,
        prompt_ids: Sequence[Sequence[int]],
        completion_ids: Sequence[Sequence[int]],
        images: Sequence[Sequence[PIL.Image.Image] | None] | None,
    ) -> None:
        """Compare the complete rollouts with what was read.

        Raises:
            ParityMismatch: The first difference.
        """
        digest = ImageHasher()
        for row, (prompt, completion) in enumerate(zip(prompt_ids, completion_ids, strict=True)):
            read = self._row(row)
            whole = (*prompt, *completion)
            if len(whole) < len(read.ids):
                raise ParityMismatch(row, f"{len(whole)} tokens are left of the {len(read.ids)} that it read")
            _compare_tokens(row, read.tokens[: len(whole)], whole, "its rollout is not")
            mine = digest((images[row] if images else None) or ())
            if mine != read.images:
                raise ParityMismatch(row, _image_difference(read.images, mine))
            self.images += len(mine)

    def check_pixels(
        self, images: Sequence[Sequence[PIL.Image.Image] | None], make_fields: Callable[[], ImageFields]
    ) -> None:
        """Compare the pixels that were read with those that a processor makes of the images now.

        Args:
            images: The images of every row.
            make_fields: Makes the fields of images through an image processor that has cached nothing.

        Raises:
            ParityMismatch: The first difference.
        """
        digest = ImageHasher()
        fresh: dict[str, Fingerprint] = {}
        for row, shown in enumerate(images):
            read = self._row(row)
            for place, (image, found) in enumerate(zip(shown or (), read.pixels, strict=False)):
                (key,) = digest([image])
                if key not in fresh:
                    fields = make_fields()
                    (fresh[key],) = fingerprint_images(fields.make([image])["pixel_values"], fields.grids([image]))
                if not same_fingerprint(fresh[key], found):
                    raise ParityMismatch(
                        row, f"the pixels that it read are not those of its image {place}: a cache is stale"
                    )

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Compare a part of the batch, as it is learnt from, with what was read.

        Raises:
            ParityMismatch: The first difference.
        """
        rows = inputs[ROW_KEY].tolist()
        prompts, completions = inputs["prompt_ids"].cpu(), inputs["completion_ids"].cpu()
        starts = (prompts.shape[1] - inputs["prompt_mask"].sum(1)).tolist()
        ids = torch.cat([prompts, completions], 1)
        counts = inputs.get("num_images")
        shown = inputs.get("pixel_values") is not None and counts is not None
        if shown and inputs.get("image_grid_thw") is None:  # cut where it was when it was read
            read_grids = [grid for row in rows for grid in self._row(row).grids]
            inputs = {**inputs, "image_grid_thw": torch.tensor(read_grids, dtype=torch.long)}
        prints = _split(inputs, list(counts), rows) if shown and counts else [((), ())] * len(rows)
        for row, start, line, (grids, pixels) in zip(rows, starts, ids.tolist(), prints, strict=True):
            read = self._row(row)
            if read.images and not shown:
                raise ParityMismatch(
                    row, f"TRL dropped its {len(read.images)} images and those of the whole batch: too few placeholders"
                )
            trained = line[start : start + len(read.tokens)]
            _compare_tokens(row, read.tokens[: len(trained)], tuple(trained), "it is trained on other tokens than")
            _compare_pixels(row, read, grids, pixels)
        if shown:
            self._check_placeholders(rows, ids, inputs)

    def _check_placeholders(self, rows: Sequence[int], ids: torch.Tensor, inputs: Mapping[str, Any]) -> None:
        if self._image_token is None:
            return
        placeholders = ids == self._image_token
        kinds = inputs.get("mm_token_type_ids")
        if kinds is not None:
            wrong = ((kinds.cpu() == 1) != placeholders).any(1)
            if wrong.any():
                raise ParityMismatch(
                    rows[int(wrong.int().argmax())],
                    "the places of its images (mm_token_type_ids) are not its placeholders",
                )
        if self._cells is None:
            return
        for row, line in zip(rows, placeholders.numpy(), strict=True):
            edges = np.flatnonzero(np.diff(line, prepend=False, append=False))
            found = (edges[1::2] - edges[::2]).tolist()
            wanted = [int(np.prod(grid)) // self._cells for grid in self._row(row).grids]
            if found != wanted:
                raise ParityMismatch(row, f"its images take {wanted} tokens, and its placeholders are {found}")

    def _row(self, row: int) -> ReadRow:
        if row not in self._rows:
            raise ParityMismatch(row, "it is trained on and was never generated")
        return self._rows[row]


def fingerprint_images(pixels: torch.Tensor, grids: torch.Tensor) -> list[Fingerprint]:
    """A fingerprint of each image, on the device where its patches are.

    Args:
        pixels: Patches of all images, one after another, (patches, values) or more axes.
        grids: Patches of each image along time, height and width, int64 (images, axes).

    Raises:
        ValueError: There are more or fewer patches than the grids say.
    """
    counts = grids.prod(-1).to(pixels.device) * math.prod(pixels.shape[1:-1])
    pixels = pixels.reshape(-1, pixels.shape[-1])
    patches, values = pixels.shape
    if int(counts.sum()) != patches:
        raise ValueError(f"{patches} patches where the grids say {int(counts.sum())}")
    device = pixels.device
    sums = pixels.float() @ torch.cos(torch.arange(values, device=device, dtype=torch.float32) * 0.7 + 0.3)
    image = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    place = torch.arange(patches, device=device) - (counts.cumsum(0) - counts)[image]
    weighted = (sums * (1.5 + torch.cos(place * 1.1))).double()
    both = torch.zeros(2, len(counts), dtype=torch.float64, device=device)
    both.index_add_(1, image, torch.stack([weighted, weighted.abs()]))
    return [(value, scale) for value, scale in both.T.tolist()]


def same_fingerprint(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two fingerprints are of the same patches, up to rounding."""
    return abs(one[0] - other[0]) <= _TOLERANCE * max(one[1], other[1]) + 1e-9


def _split(
    fields: Mapping[str, Any], counts: Sequence[int], rows: Sequence[int]
) -> list[tuple[tuple[tuple[int, ...], ...], tuple[Fingerprint, ...]]]:
    """Grids and fingerprints of the images of each row."""
    pixels, grids = fields.get("pixel_values"), fields.get("image_grid_thw")
    if pixels is None or grids is None or not len(grids):
        return [((), ())] * len(counts)
    grids = torch.as_tensor(grids)
    if sum(counts) != len(grids):
        raise ParityMismatch(
            rows[0], f"the rows with it were shown {sum(counts)} images, and pixels are of {len(grids)}"
        )
    try:
        prints = fingerprint_images(torch.as_tensor(pixels), grids)
    except ValueError as error:
        raise ParityMismatch(rows[0], f"among the rows with it: {error}") from None
    shapes = [tuple(grid) for grid in grids.tolist()]
    split, start = [], 0
    for count in counts:
        split.append((tuple(shapes[start : start + count]), tuple(prints[start : start + count])))
        start += count
    return split


def _compare_tokens(row: int, read: Sequence[int], other: Sequence[int], what: str) -> None:
    if tuple(read) == tuple(other):
        return
    place = next((k for k, (a, b) in enumerate(zip(read, other, strict=False)) if a != b), min(len(read), len(other)))
    raise ParityMismatch(row, f"{what} what it read and wrote, from token {place} on")


def _image_difference(read: Sequence[str], other: Sequence[str]) -> str:
    if len(read) != len(other):
        return f"it read {len(read)} images and is trained on {len(other)}"
    if sorted(read) == sorted(other):
        return "it is trained on the images that it read in another order"
    place = next(k for k, (a, b) in enumerate(zip(read, other, strict=True)) if a != b)
    return f"its image {place} is not the one that it read"


def _compare_pixels(row: int, read: ReadRow, grids: Sequence[tuple[int, ...]], pixels: Sequence[Fingerprint]) -> None:
    if not read.grids:  # its engine was not handed pixel values
        return
    if len(grids) != len(read.grids):
        raise ParityMismatch(row, f"it read {len(read.grids)} images and is trained on the pixels of {len(grids)}")
    for place, (mine, theirs) in enumerate(zip(grids, read.grids, strict=True)):
        if mine != theirs:
            raise ParityMismatch(row, f"its image {place} has a grid of {mine}, and was read with one of {theirs}")
    for place, (print_, wanted) in enumerate(zip(pixels, read.pixels, strict=True)):
        if not same_fingerprint(print_, wanted):
            raise ParityMismatch(row, f"the pixels of its image {place} are not those that it read")
