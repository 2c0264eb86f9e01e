"""What is rendered within limits is what transformers renders, to the character, with the templates of many families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import trl
from transformers.utils.chat_template_utils import render_jinja_template

from medvistagym_core.protocol import ChatTemplateError, render_chat

TEMPLATES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
SCHEMA = {
    "type": "function",
    "function": {
        "name": "zoom",
        "description": 'Enlarge a part, with "quotes" & <signs>.',
        "parameters": {
            "type": "object",
            "properties": {"box": {"type": "array", "items": {"type": "integer"}}, "way": {"enum": ["a", "b"]}},
            "required": ["box"],
        },
    },
}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "zoom", "arguments": {"box": [1, 2], "way": None}}}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is it? \u00fc <b>"},
    {"role": "assistant", "content": "", "reasoning_content": "Hm.\nLook.", "tool_calls": [CALL]},
    {"role": "tool", "name": "zoom", "tool_call_id": "abcdefghi", "content": "Enlarged."},
    {"role": "assistant", "content": "A nodule.", "thinking": None},
    {"role": "user", "content": "Sure?"},
]


class Tokenizer:
    special_tokens_map = {"bos_token": "<s>", "eos_token": "</s>"}  # noqa: RUF012 - as that of transformers

    def __init__(self, chat_template: str) -> None:
        self.chat_template = chat_template


def blocks(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**message, "content": [{"type": "image", "image": object()}, {"type": "text", "text": message["content"]}]}
        for message in messages
    ]


def stock(source: str, messages: list[dict[str, Any]], tools: Any, generation: bool) -> str | None:
    """What transformers makes of it; None where the template refuses."""
    present = [{key: value for key, value in message.items() if value is not None} for message in messages]
    try:
        rendered, _ = render_jinja_template(
            [present],
            tools=tools,
            chat_template=source,
            add_generation_prompt=generation,
            **Tokenizer.special_tokens_map,
        )
    except (jinja2.TemplateError, TypeError, ValueError):
        return None
    return str(rendered[0])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_renders_as_transformers_renders_it(path: Path) -> None:
    source = path.read_text("utf-8")
    compared = 0
    for turns in (TURNS[:2], TURNS[:3], TURNS[:4], TURNS, TURNS[1:2], TURNS[1:]):
        for form in (list, blocks):
            for tools in (None, [SCHEMA]):
                messages, generation = form(turns), len(turns) != 3
                expected = stock(source, messages, tools, generation)
                if expected is None:
                    with pytest.raises(ChatTemplateError):
                        render_chat(Tokenizer(source), messages, tools or (), generation=generation)
                else:
                    assert render_chat(Tokenizer(source), messages, tools or (), generation=generation) == expected
                    compared += 1
    assert compared
