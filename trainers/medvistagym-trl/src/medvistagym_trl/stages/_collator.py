"""From conversations by number to training batches."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from medvistagym_core.protocol import TEMPLATE_ERRORS
from medvistagym_trl.model import TrainingEncoder
from medvistagym_trl.rollout import ConversationSource
from medvistagym_trl.stages._perception import PerceptionCollator

_log: Final = logging.getLogger(__name__)
_REPLACEMENTS: Final = 4


class ConversationCollator:
    """Turns rows, which carry only a number, into model inputs and labels; conversations are made when they are needed.

    TRL's own collator drops the tools and cannot fill in the images of tool messages.

    Args:
        source: Gives conversations.
        processor: The model's processor.
        schemas: Tools to render, Hugging Face dialect.
        end_of_turn: Tokens at which generation stops.
        order: Number of the conversation int64 (rows,) that each row stands for; the row's own number without it.
        perception: Makes perception items, so that a policy does not forget how to see while it learns to act; None for
            none.
        share: Share of a batch that is perception items.
        offset: Added to a row's number for the perception item in its place.
    """

    def __init__(
        self,
        source: ConversationSource,
        processor: Any,
        schemas: Sequence[Mapping[str, Any]],
        end_of_turn: Sequence[int],
        *,
        order: np.ndarray | None = None,
        perception: PerceptionCollator | None = None,
        share: float = 0.0,
        offset: int = 0,
    ) -> None:
        self._source, self._encoder = source, TrainingEncoder(processor, schemas, end_of_turn)
        self._order, self._perception, self._share, self._offset = order, perception, share, offset

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Model inputs and labels; only what the assistant wrote is labelled, and the patches of perception items."""
        numbers = [int(row["images"]) for row in rows]
        count = round(self._share * len(rows)) if self._perception is not None else 0
        indices = [self._offset + number for number in numbers]
        chats = self._perception.chats(indices[:count]) if self._perception is not None else []
        conversations = [chat.conversation for chat in chats]
        own = [self.conversation(number) for number in numbers[count:]]
        try:
            batch = self._encode([*conversations, *own])
        except TEMPLATE_ERRORS:
            own = [self._renderable(number) for number in numbers[count:]]
            batch = self._encode([*conversations, *own])
        if self._perception is not None:
            self._perception.label_patches(chats, batch, batch["labels"], random.Random(indices[0]))
        return batch

    def encode(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Model inputs and labels of some rows' conversations, without perception items."""
        return self._encode([self.conversation(row) for row in rows])

    def _encode(self, conversations: Sequence[Any]) -> dict[str, torch.Tensor]:
        return self._encoder.encode(conversations)

    def _renderable(self, row: int) -> list[dict[str, Any]]:
        """The conversation of a row; or, where the chat template fails or costs too much on it, that of a row before it.

        Raises:
            ChatTemplateError: It fails on several in a row.
            CostlyTemplateError: It costs too much on them.
        """
        for earlier in range(_REPLACEMENTS):
            conversation = self.conversation(max(0, row - earlier))
            try:
                self._encode([conversation])
            except TEMPLATE_ERRORS as error:
                last = error
                _log.warning("a conversation is left out of the training: %s", error)
            else:
                return conversation
        raise last

    def conversation(self, row: int) -> list[dict[str, Any]]:
        """The conversation of a row."""
        return self._source.conversation(row if self._order is None else int(self._order[row]))
