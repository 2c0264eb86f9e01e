"""The chat template of the tiny model: ChatML with tools, tool images and loss marks, in few tokens.

It renders the schemas it is given as exact JSON lines, keeps every earlier turn unchanged when a later one is appended
(prefix-preserving), and marks what the assistant wrote with `{% generation %}`.
"""

from __future__ import annotations

from typing import Any, Final

_CHAT_TEMPLATE_SOURCE: Final = r"""
{%- macro blocks(content) -%}
    {%- if content is string -%}{{- content -}}
    {%- else -%}
        {%- for part in content or [] -%}
            {%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif 'text' in part -%}{{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set opening = messages[0].role == 'system' -%}
{%- if opening or tools -%}
    {{- '<|im_start|>system\n' -}}
    {%- if opening -%}{{- blocks(messages[0].content) -}}{%- endif -%}
    {%- if tools -%}
        {{- '\n<tools>\n' -}}
        {%- for tool in tools -%}{{- (tool | tojson) + '\n' -}}{%- endfor -%}
        {{- '</tools>' -}}
    {%- endif -%}
    {{- '<|im_end|>' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- generation -%}
        {%- if message.reasoning_content -%}{{- '<think>' + message.reasoning_content + '</think>' -}}{%- endif -%}
        {{- blocks(message.content) -}}
        {%- for call in (message.tool_calls or []) -%}
            {%- set call = call.function if call.function else call -%}
            {{- '<tool_call>{"name": "' + call.name + '", "arguments": ' -}}
            {{- (call.arguments | tojson) + '}</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>' -}}
        {%- endgeneration -%}
    {%- elif message.role != 'system' or not loop.first -%}
        {{- '<|im_start|>' + message.role + '\n' -}}{{- blocks(message.content) -}}{{- '<|im_end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

CHAT_TEMPLATE: Final = _CHAT_TEMPLATE_SOURCE.strip()


def response_template() -> dict[str, Any]:
    """How a completion is taken apart into reasoning, calls and content (TRL's reading of the same tags)."""
    from trl.chat_template_utils import qwen3_template

    return dict(qwen3_template)
