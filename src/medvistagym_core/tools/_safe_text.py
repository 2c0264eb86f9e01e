r"""Text of others made safe to keep and to show: encodable, and without control marks.

A control mark is what a tokenizer would read as the border of a role, an image or a call.
Chat templates write a conversation as one text, in which marks such as `<|im_end|>`, `<start_of_turn>`, `[INST]` or
`<image>` stand for roles and images; a tokenizer reads them wherever they stand. So a mark inside a tool's result, a
question or a description would speak with another's voice. `escape_control_marks` writes a backslash behind the first
character of each (`<\|im_end|>`, in the manner of `<\/script>`): every tokenizer then reads plain characters, and a
person sees the same characters as the model.

The marks are recognised by their shape, so this needs no tokenizer. `protocol.SpecialTokens` adds what one tokenizer has
beyond these shapes, and proves for it that nothing is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

# Names between angle brackets that published chat models use for roles, images and ends: Gemma, PaliGemma, Llama 2, LLaVA,
# Idefics, SmolVLM, InternVL, DeepSeek, Molmo, StarCoder, BERT's and T5's descendants.
_NAMES: Final = (
    r"s|bos|eos|pad|unk|mask|cls|sep|sop|eop|eod|eot|end_of_text|image|img|video|audio|quad|ref|box|patch|point|tool_response|"
    r"tools|function|SYS|global-img|row_\d+_col_\d+|fake_token_around_image|end_of_utterance|end_of_text|image_soft_token|"
    r"audio_soft_token|(?:start|begin|end)_of_[a-z_]{1,24}|(?:im|img|image|vid|video|vision|audio)_[a-z_]{1,24}|"
    r"IMG_[A-Z_]{1,24}|VIDEO_[A-Z_]{1,24}|SPECIAL_\d+|EXTRA_TOKENS_\d+|extra_id_\d+|unused\d+|loc\d+|seg\d+|reserved_\d+|"
    r"fim_[a-z_]{1,24}|file_sep|repo_name|reponame|filename|gh_stars|issue_[a-z_]{1,24}|jupyter_[a-z_]{1,24}|empty_output"
)
_BRACKETED: Final = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z_]{1,24}|CALL_ID|ARGS|THINK|MODEL_SETTINGS|PREFIX|MIDDLE|SUFFIX|IMG|"
    r"IMG_[A-Z_]{1,24}|REF|AUDIO|BEGIN_AUDIO|TRANSCRIBE|[gs]?MASK|CLS|SEP|PAD|UNK|BOS|EOS|@BOS@|multimodal|control_\d+|"
    r"UNUSED_TOKEN_\d+|unused\d+"
)
_PROTOCOL: Final = r"think|tool_call|answer"

# Each matches the first character of a mark and looks at no more than 64 characters behind it, so that time stays linear.
# The protocol's tags, of which every turn has some, are no names of the list; they are passed over before it is searched.
_NAMED: Final = re.compile(rf"<(?=/?[A-Za-z])(?!/?(?:{_PROTOCOL})>)(?=/?(?:{_NAMES})/?>)")
_TAG: Final = re.compile(r"<(?=[/\w@])(?=/?[\w@][^\s<>]{0,62}>)")
_TAG_BUT_PROTOCOL: Final = re.compile(rf"<(?=[/\w@])(?!/?(?:{_PROTOCOL})>)(?=/?[\w@][^\s<>]{{0,62}}>)")
_BRACKET: Final = re.compile(rf"\[(?=[/\w@])(?=/?(?:{_BRACKETED})\])")
_TITLE: Final = re.compile(r">(?=>[A-Z_]{1,40}<<)")
_BARRED_TAG: Final = re.compile(r"\|(?=<[A-Z_]{1,40}\d{0,8}>\|)")
# The same in full-width forms, which some tokenizers turn into ASCII (NFKC) before they look for marks.
_WIDE_NAMED: Final = re.compile(rf"[＜﹤](?=[|｜]|/?(?:{_NAMES})/?[>＞﹥])|[<](?=/?(?:{_NAMES})/?[＞﹥])")
_WIDE_BRACKET: Final = re.compile(rf"[\[［](?=/?(?:{_BRACKETED})[\]］])")
_BAR: Final = re.compile(r"<[|｜][^\s<>]{1,62}>")


def encodable_text(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def escape_control_marks(text: str, *, keep_protocol_tags: bool = False) -> str:
    r"""The text with a backslash behind the first character of whatever looks like a control mark; else the text itself.

    Escaping twice is the same as once. The time it takes is in proportion to the text.

    Args:
        text: Words of a tool, a task, a person or a server.
        keep_protocol_tags: Leave `<think>`, `<tool_call>` and `<answer>`, for the project's own sentences about them.
    """
    if "<" in text:
        text = _escape_bars(text)
        text = (_TAG_BUT_PROTOCOL if keep_protocol_tags else _TAG).sub(r"<\\", text)
    return _escape_brackets(text if text.isascii() else _escape_wide_forms(text))


def escape_policy_text(text: str) -> str:
    r"""What a policy wrote, as it is shown to it again, with the marks that `find_control_mark` finds escaped."""
    if "<" in text:
        text = _NAMED.sub(r"<\\", _escape_bars(text))
    return _escape_brackets(text if text.isascii() else _escape_wide_forms(text))


def find_control_mark(text: str) -> str | None:
    """The first mark of a role, an image or an end in what a policy wrote; None when there is none.

    Narrower than what is escaped in others' words: a tag that no published chat model uses is a policy's to write.
    """
    matches = [match for pattern, needs in _MARKS if needs in text and (match := pattern.search(text))]
    if not matches:
        return None
    first = min(match.start() for match in matches)
    beginning = text[first : first + 64]
    end = next((k for k, character in enumerate(beginning[2:], 3) if character in ">]"), 16)
    return beginning[:end]


_MARKS: Final = ((_BAR, "<|"), (_BAR, "<｜"), (_NAMED, "<"), (_BRACKET, "["), (_TITLE, ">>"), (_BARRED_TAG, "|<"))


def _escape_bars(text: str) -> str:
    return text.replace("<|", "<\\|").replace("<｜", "<\\｜")


def _escape_wide_forms(text: str) -> str:
    return _WIDE_BRACKET.sub(r"\g<0>\\", _WIDE_NAMED.sub(r"\g<0>\\", text))


def _escape_brackets(text: str) -> str:
    if "[" in text:
        text = _BRACKET.sub(r"[\\", text)
    if ">>" in text:
        text = _TITLE.sub(r">\\", text)
    if "|<" in text:
        text = _BARRED_TAG.sub(r"|\\", text)
    return text


def escape_json(value: Any) -> Any:
    """A JSON value with the marks in its texts and keys escaped; the value itself if there are none."""
    if isinstance(value, str):
        return escape_control_marks(value)
    if isinstance(value, Mapping):
        entries = {escape_json(key): escape_json(part) for key, part in value.items()}
        return value if entries == value else entries
    if isinstance(value, list | tuple):
        items = [escape_json(part) for part in value]
        return value if items == list(value) else items
    return value
