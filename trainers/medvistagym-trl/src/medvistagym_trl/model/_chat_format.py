"""How a conversation is written for a model, and how its turns are read: one way in SFT, GRPO, sampling and evaluation.

In the *native* format calls, results and tools are rendered by the checkpoint's own chat template, and its turns are parsed as
TRL parses them (`response_template`). A template that rewrites earlier turns is replaced by TRL's training version of it. In
the *text* format calls and results are plain messages of the project's text protocol, so that a template which knows no tools
can carry them: what TRL's tool loop hands to the template as tool messages is turned into plain ones by a few lines of Jinja
before the template's own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from medvistagym_trl.model._tool_templates import TOOLS_MARK

ActionFormat = Literal["native", "text"]

_TEXT_MARK: Final = "{#- MedVistaGym text protocol -#}"
_TEXT_PREAMBLE: Final = (
    _TEXT_MARK
    + r"""
{%- set tools = none -%}
{%- set plain = namespace(messages=[], last='') -%}
{%- for message in messages -%}
    {%- if message.role == 'tool' -%}
        {%- set blocks = [{'type': 'text', 'text': message.content}] if message.content is string else message.content -%}
        {%- if plain.last == 'tool' -%}
            {%- set joined = {'role': 'user', 'content': plain.messages[-1].content + blocks} -%}
            {%- set plain.messages = plain.messages[:-1] + [joined] -%}
        {%- else -%}
            {%- set plain.messages = plain.messages + [{'role': 'user', 'content': blocks}] -%}
        {%- endif -%}
    {%- elif message.role == 'assistant' and message.tool_calls -%}
        {%- set text = namespace(value='') -%}
        {%- if message.content is string -%}
            {%- set text.value = message.content -%}
        {%- else -%}
            {%- for block in message.content or [] -%}{%- set text.value = text.value + block.text -%}{%- endfor -%}
        {%- endif -%}
        {%- for call in message.tool_calls -%}
            {%- set call = call.function if call.function else call -%}
            {%- set body = '{"name": ' + (call.name | tojson) + ', "arguments": ' + (call.arguments | tojson) + '}' -%}
            {%- set text.value = text.value + '<tool_call>' + body + '</tool_call>' -%}
        {%- endfor -%}
        {%- set blocks = [{'type': 'text', 'text': text.value}] -%}
        {%- set plain.messages = plain.messages + [{'role': 'assistant', 'content': blocks}] -%}
    {%- else -%}
        {%- set plain.messages = plain.messages + [message] -%}
    {%- endif -%}
    {%- set plain.last = message.role -%}
{%- endfor -%}
{%- set messages = plain.messages -%}
"""
)


def apply_chat_format(
    processor: Any,
    action_format: ActionFormat,
    end_of_turn: Sequence[str],
    template_file: str | None = None,
    *,
    shipped: str | None = None,
) -> None:
    """Give a processor the template and the parser of a format, in place.

    Args:
        processor: A checkpoint's processor.
        action_format: The format.
        end_of_turn: Texts of the tokens at which generation stops.
        template_file: A chat template (Jinja) in place of the processor's own.
        shipped: One in place of it that ships with this package (`tool_template`).

    Raises:
        ValueError: The template cannot be used in this format; the sentence says why.
        OSError: The template file cannot be read.
    """
    tokenizer = processor.tokenizer
    if template_file is not None:
        processor.chat_template = Path(template_file).read_text("utf-8")
        tokenizer.response_template = None
    elif shipped is not None:
        processor.chat_template = shipped
        tokenizer.response_template = None
    template = processor.chat_template
    if isinstance(template, Mapping):
        template = template["default"]
    if not template:
        raise ValueError("it has no chat template")
    processor.chat_template = template
    if action_format == "text":
        _apply_text_format(processor, template, end_of_turn)
    elif template.startswith(_TEXT_MARK):
        raise ValueError("its chat template was made for the text format: set episode.action_format=text")
    else:
        _apply_native_format(processor, end_of_turn)


def is_text_format(processor: Any) -> bool:
    """Whether a processor's template writes calls in the text format."""
    return isinstance(processor.chat_template, str) and processor.chat_template.startswith(_TEXT_MARK)


def _apply_native_format(processor: Any, end_of_turn: Sequence[str]) -> None:
    from trl.chat_template_utils import (
        add_response_schema,
        get_training_chat_template,
        is_chat_template_prefix_preserving,
    )

    if processor.chat_template.startswith(TOOLS_MARK):
        processor.tokenizer.response_template = _json_response_template(processor, end_of_turn)
    elif getattr(processor.tokenizer, "response_template", None) is None:
        add_response_schema(processor)
    _skip_result_images(processor)
    if not is_chat_template_prefix_preserving(processor):
        processor.chat_template = get_training_chat_template(processor)


def _skip_result_images(processor: Any) -> None:
    """Let a turn that goes on behind a tool's result begin behind the images of the result too.

    Gemma 4 writes on in its turn once a result is there, and its template puts the images of a result behind it: read from
    the end of the result on, as TRL does, they would be taken for what the policy wrote.
    """
    response = processor.tokenizer.response_template
    anchor = response.get("start_anchor_pattern") if isinstance(response, Mapping) else None
    begin, token, end = (getattr(processor, f"{name}_token", None) for name in ("boi", "image", "eoi"))
    result = r"<tool_response\|>"
    if not anchor or result not in anchor or not (begin and token and end):
        return
    images = f"(?:{re.escape(begin)}|{re.escape(token)}|{re.escape(end)})*"
    anchor = anchor.replace(result + images, result).replace(result, result + images)
    processor.tokenizer.response_template = {**response, "start_anchor_pattern": anchor}


def _apply_text_format(processor: Any, template: str, end_of_turn: Sequence[str]) -> None:
    from trl.chat_template_utils import get_training_chat_template, is_chat_template_prefix_preserving

    candidates = [template]
    if not template.startswith(_TEXT_MARK):
        candidates = [_TEXT_PREAMBLE.strip() + template]
        with contextlib.suppress(ValueError):  # TRL has no training version of it
            trained = get_training_chat_template(processor)
            candidates += [_TEXT_PREAMBLE.strip() + trained] if trained else []
    for candidate in candidates:
        processor.chat_template = candidate
        processor.tokenizer.response_template = _json_response_template(processor, end_of_turn)
        if is_chat_template_prefix_preserving(processor):
            return
    raise ValueError("its chat template rewrites earlier turns when a result follows")


def parse_turn(
    tokenizer: Any, tokens: list[int], prefix: list[int], schemas: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The assistant's chat message in the tokens of a turn, read as TRL's tool loop reads it.

    Args:
        tokenizer: With a `response_template`.
        tokens: What the policy wrote, its end-of-turn token included.
        prefix: What it had read.
        schemas: The tools that it could call, whose schemas type the arguments.
    """
    from trl.chat_template_utils import parse_response

    message: dict[str, Any] = parse_response(tokenizer, tokens, prefix=prefix, tools=[dict(each) for each in schemas])
    return message


def _json_response_template(processor: Any, end_of_turn: Sequence[str]) -> dict[str, Any]:
    """How TRL takes a turn apart: reasoning in `<think>`, calls as JSON in `<tool_call>`, all else content."""
    ends = "|".join(re.escape(text) for text in end_of_turn if text)
    return {
        "defaults": {"role": "assistant"},
        "start_anchor": turn_header(processor),
        "fields": {
            "reasoning_content": {"open": "<think>", "close_pattern": r"</think>\s*", "content": "text"},
            "tool_calls": {
                "open": "<tool_call>",
                "close_pattern": r"</tool_call>\s*",
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": "{content}"},
            },
            "content": {"close_pattern": rf"(?:{ends})\s*|$", "content": "text"},
        },
    }


def turn_header(processor: Any) -> str:
    """What the template opens the assistant's turn with, without a `<think>` that it may open too.

    Raises:
        ValueError: It opens no turn.
    """
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    closed, opened = (
        str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))
        for generation in (False, True)
    )
    header = opened[len(closed) :] if opened.startswith(closed) else ""
    header = header.partition("<think>")[0]
    if not header.strip():
        raise ValueError("its chat template does not open the assistant's turn (add_generation_prompt)")
    return header
