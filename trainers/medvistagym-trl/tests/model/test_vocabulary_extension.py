"""A tiny model that meets a tool and a question which it was not built for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medvistagym_core import Box, Image, tool
from medvistagym_core.tools import Toolbox
from medvistagym_trl.model import (
    apply_chat_template_batch,
    chat_message,
    extend_vocabulary,
    load_model,
    replace_prompt,
    save_model,
)

QUESTION = "Which one is odd?"


@tool
def compare(image: Image, depth: int) -> str:
    """Compare the halves of an image.

    Args:
        image: The image.
        depth: How often they are halved again.
    """
    return "left"


def schemas_with_a_new_tool(toolbox: Toolbox) -> list[dict[str, Any]]:
    return list(Toolbox({"compare": compare, **{name: toolbox[name] for name in toolbox}}).schemas("huggingface"))


def test_what_came_later_becomes_whole_tokens_that_begin_as_the_mean_of_their_kind(
    model: Any, toolbox: Toolbox
) -> None:
    schemas = schemas_with_a_new_tool(toolbox)
    before = len(model.tokenizer)
    assert len(model.tokenizer(QUESTION)["input_ids"]) > 1
    new = extend_vocabulary(model, schemas, ("dark", "odd"), [QUESTION] * 3)
    stem = '<tool_call>{"name": "compare", "arguments": {"image": '
    assert {QUESTION, "odd", stem, '"depth": '} <= set(new)
    assert "dark" not in new
    assert len(model.tokenizer) == before + len(new)
    for text in new:
        assert len(model.tokenizer(text)["input_ids"]) == 1
    weights = model.model.get_input_embeddings().weight
    place = model.tokenizer.convert_tokens_to_ids
    peers = [place(stem.replace("compare", name)) for name in toolbox]
    torch.testing.assert_close(weights[place(stem)], weights[peers].mean(0))
    assert extend_vocabulary(model, schemas, ("dark", "odd"), [QUESTION] * 3) == []


def test_the_stem_of_a_new_tool_begins_as_those_of_tools_that_require_the_same(model: Any, toolbox: Toolbox) -> None:
    @tool
    def outline(image: Image, box: Box, thick: bool = False) -> Image:
        """Outline a part of an image.

        Args:
            image: The image.
            box: The part.
            thick: Whether by two pixels.
        """
        return image

    tools = Toolbox({"outline": outline, **{name: toolbox[name] for name in toolbox}})
    extend_vocabulary(model, list(tools.schemas("huggingface")), (), [])
    weights, place = model.model.get_input_embeddings().weight, model.tokenizer.convert_tokens_to_ids
    stem = '<tool_call>{"name": "outline", "arguments": {"image": '
    torch.testing.assert_close(weights[place(stem)], weights[place(stem.replace("outline", "shade"))])


def test_what_is_known_is_read_as_before_also_after_saving(model: Any, toolbox: Toolbox, tmp_path: Path) -> None:
    chat = [chat_message("user", "Is the square dark or bright?")]
    batch = apply_chat_template_batch(model.processor, [chat], toolbox.schemas("huggingface"), generation=True)
    with torch.no_grad():
        before = model.model(**batch).logits
    schemas = schemas_with_a_new_tool(toolbox)
    extend_vocabulary(model, schemas, ("dark",), [QUESTION] * 3)
    save_model(model, tmp_path / "extended")
    again = load_model(tmp_path / "extended", schemas)
    same = apply_chat_template_batch(again.processor, [chat], toolbox.schemas("huggingface"), generation=True)
    assert same["input_ids"].tolist() == batch["input_ids"].tolist()
    with torch.no_grad():
        after = again.model(**same).logits
    torch.testing.assert_close(after[..., : before.shape[-1] - 32], before[..., :-32])


def test_another_prompt_is_one_token_that_begins_as_the_one_before(model: Any, context: Any) -> None:
    before, read, other = context.config.prompt, model.tokenizer, "You answer questions, without any tool."
    assert len(read(before)["input_ids"]) == 1
    assert len(read(other)["input_ids"]) > 1
    replace_prompt(model, other, before)
    (token,) = read(other)["input_ids"]
    weights = model.model.get_input_embeddings().weight
    torch.testing.assert_close(weights[token], weights[read.convert_tokens_to_ids(before)])
    size = len(read)
    with torch.no_grad():
        weights[token].add_(1)  # as it has learnt
    replace_prompt(model, other, before)
    assert not torch.equal(weights[token], weights[read.convert_tokens_to_ids(before)])
    replace_prompt(model, "Another one.", "A prompt that the model spells out.")
    assert len(read) == size
