"""From conversations to training tensors, through the policy's own processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

IGNORED: Final = -100
"""Label of a token that carries no loss."""

Message = dict[str, Any]
Conversation = list[Message]


def message(role: str, text: str, picture: Any = None, **extra: Any) -> Message:
    """One chat message of an optional picture followed by text."""
    content = ([{"type": "image", "image": picture}] if picture is not None else []) + (
        [{"type": "text", "text": text}] if text else []
    )
    return {"role": role, "content": content, **extra}


def encode(
    processor: Any,
    conversations: Sequence[Conversation],
    schemas: Sequence[Mapping[str, Any]] = (),
    *,
    generation: bool = False,
) -> dict[str, torch.Tensor]:
    """Render, tokenise and pad conversations.

    Args:
        processor: The policy's processor.
        conversations: Chats; pictures inside their content blocks.
        schemas: Tools to render, Hugging Face dialect.
        generation: Open an assistant turn and pad on the left, for sampling; else pad on the right, for training.

    Returns:
        The model's inputs: `input_ids`, `attention_mask` int64 (N, T), and the pictures' tensors if there are any.
    """
    encoded = processor.apply_chat_template(
        list(conversations),
        tools=list(schemas) or None,
        tokenize=True,
        add_generation_prompt=generation,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left" if generation else "right"},
    )
    return dict(encoded)


def assistant_labels(ids: torch.Tensor, tokenizer: Any) -> torch.Tensor:
    r"""Labels int64 (N, T) that keep what the assistant wrote, its end-of-turn mark included, and ignore all else.

    Tool results and images are never labelled: a policy must not learn to write what only a tool can know. For ChatML
    templates, whose turns open with `<|im_start|>assistant\n`; equal to the template's own `{% generation %}` marks.
    """
    header = tokenizer("<|im_start|>assistant\n")["input_ids"]
    end = tokenizer.eos_token_id
    labels = torch.full_like(ids, IGNORED)
    for row, target in zip(ids.tolist(), labels, strict=True):
        position = 0
        while position < len(row):
            if row[position : position + len(header)] != header:
                position += 1
                continue
            start = position + len(header)
            stop = row.index(end, start) + 1 if end in row[start:] else len(row)
            target[start:stop] = torch.tensor(row[start:stop])
            position = stop
    return labels


def image_cells(ids: torch.Tensor, image_token: int) -> list[list[list[int]]]:
    """Positions of every image's tokens: rows -> images -> token positions, in reading order."""
    found: list[list[list[int]]] = []
    for row in ids.tolist():
        images: list[list[int]] = []
        for position, token in enumerate(row):
            if token == image_token:
                if images and images[-1][-1] == position - 1:
                    images[-1].append(position)
                else:
                    images.append([position])
        found.append(images)
    return found
