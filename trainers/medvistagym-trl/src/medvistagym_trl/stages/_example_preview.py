"""What SFT is about to learn from, as text: rendered conversations with what carries loss marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from medvistagym_trl.model import IGNORE_INDEX
from medvistagym_trl.stages._collator import ConversationCollator

_MARKS: Final = ("⟦", "⟧")
_LONGEST: Final = 600
"""Characters shown of a stretch without loss; of a longer one, such as the tools in the prompt, the middle is left out."""


def preview_examples(collator: ConversationCollator, processor: Any, rows: Sequence[int]) -> list[str]:
    """Conversations as the model reads them, a text each: what carries loss in ⟦ ⟧, an image as its number of tokens.

    Args:
        collator: Makes the examples.
        processor: The model's processor.
        rows: Numbers of the examples.
    """
    return [_render(collator.encode([row]), processor) for row in rows]


def _render(batch: dict[str, Any], processor: Any) -> str:
    tokenizer = processor.tokenizer
    image = getattr(processor, "image_token_id", None)
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    parts: list[str] = []
    start = 0
    while start < len(ids):
        kind = _kind(ids[start], labels[start], image)
        end = start
        while end < len(ids) and _kind(ids[end], labels[end], image) == kind:
            end += 1
        if kind == "image":
            parts.append(f"<image: {end - start} tokens>")
        else:
            text = tokenizer.decode(ids[start:end], skip_special_tokens=False)
            parts.append(f"{_MARKS[0]}{text}{_MARKS[1]}" if kind == "loss" else _shorten(text))
        start = end
    learnt = sum(label != IGNORE_INDEX for label in labels)
    return f"{len(ids)} tokens, {learnt} of them carry loss:\n" + "".join(parts)


def _kind(token: int, label: int, image: int | None) -> str:
    if token == image:
        return "image"
    return "text" if label == IGNORE_INDEX else "loss"


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    left_out = len(text) - _LONGEST
    return f"{text[: _LONGEST // 2]} [... {left_out} characters ...] {text[-_LONGEST // 2 :]}"
