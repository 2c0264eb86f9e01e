"""Conversations as training tensors: an encoder that is used again labels as one that is new."""

from __future__ import annotations

from typing import Any

import PIL.Image
import pytest
import torch

from medvistagym_trl.model import IGNORE_INDEX, TrainingEncoder, chat_message, encode_for_training

DARK, BRIGHT = (PIL.Image.new("RGB", (32, 32), grey) for grey in ((10, 10, 10), (240, 240, 240)))


def conversation(question: str, image: Any, answer: str, result: Any = None) -> list[dict[str, Any]]:
    shown = [] if result is None else [chat_message("tool", "", result)]
    return [chat_message("user", question, image), *shown, chat_message("assistant", f"<answer>{answer}</answer>")]


def test_an_encoder_that_is_used_again_gives_what_a_new_one_gives(model: Any, context: Any) -> None:
    """Equal texts with images elsewhere, with other images, and other texts of the same length."""
    question = "Is the square dark or bright?"
    chats = [
        conversation(question, DARK, "dark"),
        conversation(question, BRIGHT, "dark"),
        conversation(question, None, "dark"),
        conversation(question, None, "dark", DARK),
        conversation(question, DARK, "bright", BRIGHT),
        conversation(question, DARK, "dark"),
    ]
    encoder = TrainingEncoder(model.processor, context.schemas, model.end_of_turn)
    for chat in [*chats, *reversed(chats)]:
        again = encoder.encode([chat])
        new = encode_for_training(model.processor, [chat], context.schemas, model.end_of_turn)
        assert again.keys() == new.keys()
        assert all(torch.equal(again[name], new[name]) for name in new)
        written = again["input_ids"][0][again["labels"][0] != IGNORE_INDEX]
        assert model.tokenizer.decode(written, skip_special_tokens=False).startswith("<answer>")


def test_a_text_is_rendered_for_its_turns_once(model: Any, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []
    render = type(model.processor).apply_chat_template

    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        rendered.append(bool(kwargs.get("tokenize")))
        return render(self, *args, **kwargs)

    monkeypatch.setattr(type(model.processor), "apply_chat_template", count)
    encoder = TrainingEncoder(model.processor, context.schemas, model.end_of_turn)
    for image in (DARK, BRIGHT, DARK):
        encoder.encode([conversation("Is the square dark or bright?", image, "dark")])
    assert rendered.count(True) == 3
    assert rendered.count(False) == 2  # the whole, and what stands before its one turn
