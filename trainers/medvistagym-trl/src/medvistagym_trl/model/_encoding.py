"""From conversations to training tensors, through the model's own processor."""

from __future__ import annotations

import bisect
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import PIL.Image
import torch

IGNORE_INDEX: Final = -100
"""Label of a token that carries no loss, as torch and transformers have it."""
_MAX_REMEMBERED: Final = 8192
"""Conversations whose turns' beginnings are remembered at most, those seen last."""

Message = dict[str, Any]
Conversation = list[Message]


def chat_message(role: str, text: str, image: Any = None, **extra: Any) -> Message:
    """One chat message: an image, where there is one, and then the text.

    Args:
        role: "system", "user", "assistant" or "tool".
        text: The text; no block where it is empty.
        image: Whatever the processor takes as an image.
        **extra: More keys of the message, such as `tool_calls`.
    """
    content = ([{"type": "image", "image": image}] if image is not None else []) + (
        [{"type": "text", "text": text}] if text else []
    )
    return {"role": role, "content": content, **extra}


def apply_chat_template_batch(
    processor: Any,
    conversations: Sequence[Conversation],
    schemas: Sequence[Mapping[str, Any]] = (),
    *,
    generation: bool = False,
) -> dict[str, torch.Tensor]:
    """Render, tokenise and pad conversations.

    Args:
        processor: The model's processor.
        conversations: Chats; images inside their content blocks.
        schemas: Tools to render, Hugging Face dialect.
        generation: Open an assistant turn and pad on the left, for sampling; else pad on the right, for training.

    Returns:
        The model's inputs: `input_ids`, `attention_mask` int64 (N, T), and the images' tensors if there are any.
    """
    return _encode(processor, conversations, schemas, generation=generation)


class TrainingEncoder:
    """Renders, tokenises and pads conversations, with labels for what the policy wrote.

    A label int64 (N, T) stands at every token of an assistant's turn, from the end of what the template opens the turn with to
    its end-of-turn token, as sampling would have written it; all else is `IGNORE_INDEX`. Tool results and images are never
    labelled: a policy must not learn to write what only a tool can know.

    Where the turns of a conversation begin depends on its texts and on where its images stand, not on what these show; it is
    found by rendering once more for each turn, so it is remembered.

    Args:
        processor: The model's processor.
        schemas: Tools to render, Hugging Face dialect.
        end_of_turn: Tokens at which generation stops.
    """

    def __init__(self, processor: Any, schemas: Sequence[Mapping[str, Any]], end_of_turn: Sequence[int]) -> None:
        self._processor, self._schemas, self._end_of_turn = processor, list(schemas), frozenset(end_of_turn)
        self._starts: dict[str, list[int]] = {}

    def encode(self, conversations: Sequence[Conversation]) -> dict[str, torch.Tensor]:
        """The model's inputs and labels of conversations, padded on the right.

        Args:
            conversations: Chats; images inside their content blocks.

        Raises:
            ValueError: The template rewrites earlier turns, so that what the policy wrote cannot be told from the rest.
        """
        options = {"return_offsets_mapping": True, "return_text_replacement_offsets": True}
        batch = _encode(self._processor, conversations, self._schemas, **options)
        offsets = batch.pop("offset_mapping").numpy().tolist()  # a tensor's own `tolist` takes twenty times as long
        replaced: Any = batch.pop("text_replacement_offsets")
        ids, mask = batch["input_ids"].tolist(), batch["attention_mask"].tolist()
        labels = torch.full_like(batch["input_ids"], IGNORE_INDEX)
        for row, conversation in enumerate(conversations):
            starts = self._turn_starts(conversation)
            for start in _shift_past_replacements(starts, replaced[row] if replaced else ()):
                first = next((k for k, (_, end) in enumerate(offsets[row]) if end > start), len(ids[row]))
                for k in range(first, len(ids[row])):
                    if not mask[row][k]:
                        break
                    labels[row, k] = ids[row][k]
                    if ids[row][k] in self._end_of_turn:
                        break
        return {**batch, "labels": labels}

    def _turn_starts(self, conversation: Conversation) -> list[int]:
        texts = json.dumps(conversation, default=lambda image: type(image).__name__)
        if texts not in self._starts:
            if len(self._starts) == _MAX_REMEMBERED:
                del self._starts[next(iter(self._starts))]
            self._starts[texts] = _turn_starts(self._processor, conversation, self._schemas)
        return self._starts[texts]


def encode_for_training(
    processor: Any,
    conversations: Sequence[Conversation],
    schemas: Sequence[Mapping[str, Any]],
    end_of_turn: Sequence[int],
) -> dict[str, torch.Tensor]:
    """What a `TrainingEncoder` makes of conversations.

    Args:
        processor: As for `TrainingEncoder`.
        conversations: Chats; images inside their content blocks.
        schemas: As for `TrainingEncoder`.
        end_of_turn: As for `TrainingEncoder`.

    Raises:
        ValueError: The template rewrites earlier turns, so that what the policy wrote cannot be told from the rest.
    """
    return TrainingEncoder(processor, schemas, end_of_turn).encode(conversations)


def _encode(
    processor: Any,
    conversations: Sequence[Conversation],
    schemas: Sequence[Mapping[str, Any]],
    *,
    generation: bool = False,
    **options: Any,
) -> dict[str, torch.Tensor]:
    encoded = processor.apply_chat_template(
        list(conversations),
        tools=list(schemas) or None,
        tokenize=True,
        add_generation_prompt=generation,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left" if generation else "right", **options},
    )
    return dict(encoded)


def _turn_starts(processor: Any, conversation: Conversation, schemas: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions in the rendered text at which the assistant's turns begin, after what the template opens them with."""

    def render(messages: Conversation, generation: bool) -> str:
        return str(
            processor.apply_chat_template(
                messages, tools=list(schemas) or None, tokenize=False, add_generation_prompt=generation
            )
        )

    whole = render(conversation, False)
    starts = []
    for k, message in enumerate(conversation):
        if message["role"] == "assistant":
            before = render(conversation[:k], True)
            if not whole.startswith(before):
                raise ValueError("the chat template rewrites earlier turns, so what the policy wrote cannot be marked")
            starts.append(len(before))
    return starts


def _shift_past_replacements(positions: Sequence[int], replaced: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions in the text after image placeholders were replaced by as many tokens as the images take."""
    ends = [each["span"][1] for each in replaced]
    grown = [0, *(each["new_span"][1] - each["span"][1] for each in replaced)]
    return [position + grown[bisect.bisect_right(ends, position)] for position in positions]


class TokenCounter:
    """Counts the tokens of conversations without their images: each counts as many tokens as one of its size takes.

    Args:
        processor: The model's processor.
        schemas: Tools to render, Hugging Face dialect.
    """

    def __init__(self, processor: Any, schemas: Sequence[Mapping[str, Any]] = ()) -> None:
        self._processor, self._schemas = processor, list(schemas)
        self._image_tokens: dict[tuple[int, int], int] = {}

    def count(self, conversation: Conversation, *, generation: bool = False) -> int:
        """Tokens of a conversation, whose image blocks hold images or their `(width, height)` in pixels.

        Args:
            conversation: The messages.
            generation: Whether an assistant's turn is opened at the end.
        """
        text = self._processor.apply_chat_template(
            conversation, tools=self._schemas or None, tokenize=False, add_generation_prompt=generation
        )
        tokens = len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        return tokens + sum(self.image_tokens(size) - 1 for size in _image_sizes(conversation))

    def count_images(self, conversation: Conversation) -> int:
        """Of the tokens of a conversation, those that stand for images."""
        return sum(self.image_tokens(size) for size in _image_sizes(conversation))

    def image_tokens(self, size: tuple[int, int]) -> int:
        """Tokens that an image of `(width, height)` pixels takes, its placeholder included."""
        if size not in self._image_tokens:
            image = PIL.Image.new("RGB", size)
            lengths = [
                len(self._processor.apply_chat_template([message], tokenize=True, return_dict=True)["input_ids"][0])
                for message in (chat_message("user", "?"), chat_message("user", "?", image))
            ]
            plain, placed = (
                len(
                    self._processor.tokenizer(
                        self._processor.apply_chat_template([message], tokenize=False), add_special_tokens=False
                    )["input_ids"]
                )
                for message in (chat_message("user", "?"), chat_message("user", "?", image))
            )
            self._image_tokens[size] = 1 + (lengths[1] - lengths[0]) - (placed - plain)
        return self._image_tokens[size]


def _image_sizes(conversation: Conversation) -> list[tuple[int, int]]:
    """Width and height of every image of a conversation, in pixels."""
    return [
        getattr(block["image"], "size", block["image"])
        for message in conversation
        if not isinstance(message["content"], str)
        for block in message["content"]
        if block["type"] == "image"
    ]


def image_token_positions(ids: torch.Tensor, image_token: int) -> list[list[list[int]]]:
    """Positions of every image's tokens: rows -> images -> token positions, in reading order.

    Args:
        ids: Token ids, int64 (rows, tokens).
        image_token: The token that stands for a patch of an image; images are its runs.
    """
    rows: list[list[list[int]]] = []
    for row in ids.tolist():
        images: list[list[int]] = []
        for position, token in enumerate(row):
            if token == image_token:
                if images and images[-1][-1] == position - 1:
                    images[-1].append(position)
                else:
                    images.append([position])
        rows.append(images)
    return rows
