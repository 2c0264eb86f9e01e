"""The tokenizer: whole schemas, whole calls, digits one by one, and nothing lost."""

from __future__ import annotations

import json
from typing import Any

import pytest


def prompt(model: Any, context: Any, **options: Any) -> str:
    return str(
        model.processor.apply_chat_template(
            context.make_episode(0).messages, tools=context.schemas, tokenize=False, **options
        )
    )


def test_the_prompt_carries_the_exact_schemas(model: Any, context: Any) -> None:
    text = prompt(model, context)
    for schema in context.toolbox.schemas("huggingface"):
        assert f"\n{json.dumps(schema, ensure_ascii=False)}\n" in text


def test_tokens_decode_to_the_prompt(model: Any, context: Any) -> None:
    text = prompt(model, context, add_generation_prompt=True)
    assert model.tokenizer.decode(model.tokenizer(text)["input_ids"], skip_special_tokens=False) == text


def test_a_prompt_is_short(model: Any, context: Any) -> None:
    ids = model.tokenizer(prompt(model, context, add_generation_prompt=True))["input_ids"]
    assert len(ids) < 32


def test_a_call_is_a_handful_of_tokens(model: Any, context: Any) -> None:
    call = '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 0, 1000, 500]}}</tool_call>'
    parts = [model.tokenizer.decode([token]) for token in model.tokenizer(call)["input_ids"]]
    head = '<tool_call>{"name": "shade", "arguments": {"image": '
    assert parts == [head, "0, ", '"box": [', "250, ", "0, ", "1000, ", "500]", "}}</tool_call>"]


@pytest.mark.parametrize(
    "text",
    [
        "mean -87 HU, SD 12, min -120, max -60",
        '{"name": "nothing", "arguments": {"a": [1.5, null, "ä"]}}',
        "Ünïcode, 漢字, \t tabs and\nlines",
        "<answer>bright</answer>",
        "box: [-5, 250]",
    ],
)
def test_any_text_survives(model: Any, text: str) -> None:
    assert model.tokenizer.decode(model.tokenizer(text)["input_ids"], skip_special_tokens=False) == text


def test_measured_numbers_are_read_digit_by_digit(model: Any) -> None:
    parts = [model.tokenizer.decode([token]) for token in model.tokenizer("mean -987 HU")["input_ids"]]
    assert "".join(parts) == "mean -987 HU"
    assert [part for part in parts if any(letter.isdigit() for letter in part)] == ["9", "8", "7"]


def test_words_are_whole_only_as_words(model: Any) -> None:
    whole = model.tokenizer("bright")["input_ids"]
    assert len(whole) == 1
    assert whole[0] not in model.tokenizer("brightness")["input_ids"]
