"""The chat template of the tiny model: ChatML with tools, tool images and loss marks, in few tokens.

It renders the schemas it is given as exact JSON lines, keeps every earlier turn unchanged when a later one is appended
(prefix-preserving), and marks what the assistant wrote with `{% generation %}`. Content is looped over in plain sight, twice
and in no macro: vLLM looks for that loop to learn that it may hand over parts, and joins texts by newlines without it.
"""

from __future__ import annotations

from typing import Any, Final

_CHAT_TEMPLATE_SOURCE: Final = r"""
{%- macro list_tools() -%}
    {{- '\n<tools>\n' -}}
    {%- for tool in tools -%}{{- (tool | tojson) + '\n' -}}{%- endfor -%}
    {{- '</tools>' -}}
{%- endmacro -%}
{%- if tools and messages[0].role != 'system' -%}{{- '<|im_start|>system\n' + list_tools() + '<|im_end|>' -}}{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- generation -%}
        {%- if message.reasoning_content -%}{{- '<think>' + message.reasoning_content + '</think>' -}}{%- endif -%}
        {%- if message.content is string -%}{{- message.content -}}
        {%- elif message.content -%}
            {%- for part in message.content -%}
                {%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
                {%- elif 'text' in part -%}{{- part.text -}}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
        {%- for call in (message.tool_calls or []) -%}
            {%- set call = call.function if call.function else call -%}
            {{- '<tool_call>{"name": "' + call.name + '", "arguments": ' -}}
            {{- (call.arguments | tojson) + '}</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>' -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- '<|im_start|>' + message.role + '\n' -}}
        {%- if message.content is string -%}{{- message.content -}}
        {%- elif message.content -%}
            {%- for part in message.content -%}
                {%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
                {%- elif 'text' in part -%}{{- part.text -}}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
        {%- if tools and loop.first and message.role == 'system' -%}{{- list_tools() -}}{%- endif -%}
        {{- '<|im_end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

CHAT_TEMPLATE: Final = _CHAT_TEMPLATE_SOURCE.strip()


def response_template() -> dict[str, Any]:
    """How a completion is taken apart into reasoning, calls and content (TRL's reading of the same tags)."""
    from trl.chat_template_utils import qwen3_template

    return dict(qwen3_template)
