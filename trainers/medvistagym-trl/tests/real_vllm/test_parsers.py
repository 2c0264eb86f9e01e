"""What vLLM makes of each family's templates: the calls that its tool parser reads, and the content that it renders."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from transformers import AutoTokenizer

from medvistagym_trl.model._chat_template import CHAT_TEMPLATE
from medvistagym_trl.stages import TOOL_CALL_PARSERS

TEMPLATES = {"qwen2_vl": "qwen3_vl", "qwen2_5_vl": "qwen3_vl", "qwen3_vl": "qwen3_vl", "qwen3_5": "qwen3_5_nothink"}
CALL = {"name": "mirror", "arguments": {"image": 0, "box": [1, 2, 3, 4], "name": 'left "lung"'}}
SCHEMA = {
    "type": "object",
    "properties": {
        "image": {"type": "integer"}, "box": {"type": "array", "items": {"type": "integer"}}, "name": {"type": "string"},
    },
}  # fmt: skip


def template_of(name: str) -> str:
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text("utf-8")


@pytest.mark.parametrize("family", TOOL_CALL_PARSERS)
def test_its_parser_reads_the_calls_that_its_template_writes(family: str, toy: Any) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    tokenizer = AutoTokenizer.from_pretrained(toy.folder)
    tool = {"type": "function", "function": {"name": "mirror", "description": "Mirror.", "parameters": SCHEMA}}
    question = {"role": "user", "content": "Where?"}
    answer = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]}
    render: Any = lambda chat, **more: tokenizer.apply_chat_template(  # noqa: E731
        chat, tools=[tool], tokenize=False, chat_template=template_of(TEMPLATES[family]), **more
    )
    prompt = render([question], add_generation_prompt=True)
    written = render([question, answer]).removeprefix(prompt).rstrip().removesuffix("<|im_end|>")
    request = ChatCompletionRequest(model="toy", messages=[question], tools=[tool])
    parser = ToolParserManager.get_tool_parser(TOOL_CALL_PARSERS[family])(tokenizer, request.tools)
    found = parser.extract_tool_calls(written, request)
    assert [(call.function.name, json.loads(call.function.arguments)) for call in found.tool_calls] == [
        (CALL["name"], CALL["arguments"])
    ]


def test_vllm_sees_that_the_projects_own_template_reads_content_in_parts() -> None:
    from vllm.renderers.hf import _detect_content_format

    assert _detect_content_format(CHAT_TEMPLATE, default="string") == "openai"
