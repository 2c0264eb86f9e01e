"""Chat templates with tools, for families whose own template has none or drops the images that tools return.

Each writes turns as the family's own template does, with the same tokens, and adds what training needs: the schemas in the
system message, calls and results as Hermes and Qwen write them (JSON in `<tool_call>` and `<tool_response>`), images wherever
they stand, and marks of what the assistant wrote. Earlier turns stay as they were when a later one follows.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

TOOLS_MARK: Final = "{#- MedVistaGym tools -#}"
"""What every template made here begins with, so that a saved checkpoint is known by it."""

_SOURCE: Final = r"""
{%- macro blocks(content) -%}
    {%- if content is string -%}{{- content -}}
    {%- else -%}
        {%- for part in content or [] -%}
            {%- if part.type == 'image' -%}{{- 'IMAGE' -}}
            {%- elif 'text' in part -%}{{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{{- 'BEGIN' -}}
{%- set opening = messages[0].role == 'system' -%}
{%- if opening or tools -%}
    {{- 'SYSTEM' -}}
    {%- if opening -%}{{- blocks(messages[0].content) -}}{%- endif -%}
    {%- if tools -%}
        {{- '\n\n# Tools\n\nYou may call functions. Their signatures are in <tools></tools>:\n<tools>' -}}
        {%- for tool in tools -%}{{- '\n' + (tool | tojson) -}}{%- endfor -%}
        {{- '\n</tools>\n\nA call is a JSON object in <tool_call></tool_call>:\n<tool_call>\n' -}}
        {{- '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>' -}}
    {%- endif -%}
    {{- 'END' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- 'ASSISTANT' -}}
        {%- generation -%}
        {%- if message.reasoning_content -%}
            {{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' -}}
        {%- endif -%}
        {{- blocks(message.content) -}}
        {%- for call in (message.tool_calls or []) -%}
            {%- set call = call.function if call.function else call -%}
            {%- if message.content or not loop.first -%}{{- '\n' -}}{%- endif -%}
            {{- '<tool_call>\n{"name": ' + (call.name | tojson) + ', "arguments": ' + (call.arguments | tojson) -}}
            {{- '}\n</tool_call>' -}}
        {%- endfor -%}
        {{- 'STOP' -}}
        {%- endgeneration -%}
        {{- 'AFTER' -}}
    {%- elif message.role == 'tool' -%}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- 'USER' -}}{%- else -%}{{- '\n' -}}{%- endif -%}
        {{- '<tool_response>\n' -}}{{- blocks(message.content) -}}{{- '\n</tool_response>' -}}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- 'END' -}}{%- endif -%}
    {%- elif message.role != 'system' or not loop.first -%}
        {{- 'USER' -}}{{- blocks(message.content) -}}{{- 'END' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT' -}}{%- endif -%}
"""


@dataclasses.dataclass(frozen=True)
class _Turns:
    """How a family opens and ends turns, and what its processor replaces by an image."""

    image: str
    system: str = r"<|im_start|>system\n"
    user: str = r"<|im_start|>user\n"
    assistant: str = r"<|im_start|>assistant\n"
    stop: str = "<|im_end|>"
    after: str = r"\n"
    begin: str = ""


_CHATML_VISION: Final = _Turns("<|vision_start|><|image_pad|><|vision_end|>")
_FAMILIES: Final[Mapping[str, _Turns]] = {
    "qwen2_vl": _CHATML_VISION,
    "qwen2_5_vl": _CHATML_VISION,
    "qwen3_vl": _CHATML_VISION,
    "internvl": _Turns(r"<IMG_CONTEXT>\n"),
    "smolvlm": _Turns(
        "<image>",
        system="System: ",
        user="User: ",
        assistant="Assistant:",
        stop="<end_of_utterance>",
        begin="<|im_start|>",
    ),
    "lfm2_vl": _Turns("<image>", begin="<|startoftext|>"),
}


def tool_template(family: str) -> str | None:
    """A chat template with tools for a family; None where none is shipped."""
    if family == "gemma4":
        from trl.chat_template_utils import (
            gemma4_v5_chat_template,
        )  # Google's of July 2026; those before it lose images

        return str(gemma4_v5_chat_template)
    turns = _FAMILIES.get(family)
    if turns is None:
        return None
    words = {
        "IMAGE": turns.image,
        "BEGIN": turns.begin,
        "SYSTEM": turns.system,
        "USER": turns.user,
        "ASSISTANT": turns.assistant,
        "STOP": turns.stop,
        "AFTER": turns.after,
        "END": turns.stop + turns.after,
    }
    source = re.sub(r"'(IMAGE|BEGIN|SYSTEM|USER|ASSISTANT|STOP|AFTER|END)'", lambda m: f"'{words[m[1]]}'", _SOURCE)
    return TOOLS_MARK + source.strip()
