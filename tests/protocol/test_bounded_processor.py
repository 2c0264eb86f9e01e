"""A tokenizer whose template is rendered within limits does what the same tokenizer of transformers does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

from medvistagym_core.protocol import load_bounded_processor

SCHEMA = {"type": "function", "function": {"name": "zoom", "description": "Enlarge.", "parameters": {"type": "object"}}}
CHAT = [{"role": "user", "content": "a b"}]
WORDS = "{# padding and return_tensors #}{% for m in messages %}{{ m.content }}{% endfor %}"


def load(folder: Path, template: Any) -> tuple[Any, Any]:
    """The bounded one and that of transformers."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "<pad>": 2}, unk_token="a"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast: Any = transformers.PreTrainedTokenizerFast
    made = fast(tokenizer_object=words, pad_token="<pad>")
    made.chat_template = template
    made.save_pretrained(folder)
    return load_bounded_processor(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("tools", [None, [], [SCHEMA]])
@pytest.mark.parametrize("name", [None, "default", "tool_use", "{{ messages | length }}"])
def test_a_named_template_is_selected_as_transformers_does(tools: Any, name: str | None, tmp_path: Path) -> None:
    bounded, stock = load(tmp_path, {"default": "plain", "tool_use": "with {{ (tools or []) | length }} tools"})
    options = {"tools": tools, "chat_template": name, "tokenize": False}
    assert bounded.apply_chat_template(CHAT, **options) == stock.apply_chat_template(CHAT, **options)


def test_options_of_transformers_hold_whatever_words_a_template_has(tmp_path: Path) -> None:
    bounded, stock = load(tmp_path, WORDS)
    options = {"tokenize": True, "return_tensors": "np", "padding": "max_length", "max_length": 5, "return_dict": True}
    found, expected = (each.apply_chat_template(CHAT, **options) for each in (bounded, stock))
    assert found["input_ids"].tolist() == expected["input_ids"].tolist() == [[0, 1, 2, 2, 2]]


def test_functions_as_tools_are_refused(tmp_path: Path) -> None:
    def zoom() -> None:
        """Enlarge."""

    bounded, _ = load(tmp_path, WORDS)
    with pytest.raises(TypeError, match="the tool zoom is a function; give its JSON schema"):
        bounded.apply_chat_template(CHAT, tools=[SCHEMA, zoom])


def test_it_can_be_pickled(tmp_path: Path) -> None:
    bounded, _ = load(tmp_path, WORDS)
    copy = pickle.loads(pickle.dumps(bounded))
    assert type(copy) is type(bounded)
    assert copy.apply_chat_template(CHAT) == "a b"
    assert copy("b a")["input_ids"] == [1, 0]
