"""The special tokens of one tokenizer, kept out of the text of conversations.

`escape_control_marks` knows marks by their shape. A tokenizer may have others, and a chat template may open turns with plain
words ("USER:"). `SpecialTokens` collects all of one checkpoint, escapes them in messages before they are rendered, and
proves on that very tokenizer that no escaped text gives one: whoever renders text for a model makes one when the model
is loaded, and passes every conversation through `escape_messages`.

A tokenizer here is any object with the methods of transformers' tokenizers and processors; nothing is imported.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

from medvistagym_core.protocol._bounded_processor import render_messages
from medvistagym_core.protocol._call_parser import TOOL_CALL_TAGS
from medvistagym_core.protocol._messages import Message
from medvistagym_core.protocol._template_process import try_chat_template
from medvistagym_core.protocol._text_protocol import ANSWER, THINK
from medvistagym_core.protocol._turn import Turn
from medvistagym_core.tools import ToolError, escape_control_marks, escape_policy_text

_PROTOCOL_TAGS: Final = frozenset((*THINK, *TOOL_CALL_TAGS, *ANSWER))
_MAX_MARK_CHARS: Final = 256
_MAX_HEADER_CHARS: Final = 32
_OPENINGS: Final = tuple("<[|｜")
_FORMATTING: Final = re.compile(
    r"</?(?:b|i|u|s|p|em|strong|sub|sup|code|pre|br|hr|span|div|blockquote|caption|table|thead|tbody|tfoot|tr|th|td|ul|ol|li|"
    r"h[1-6]|[0-9]mass)>|<0x[0-9A-Fa-f]{2}>"
)
_PROBES: Final = ("vq17", "vq23", "vq42")
_PROVEN_IN_TEMPLATE: Final = 256
_WIDE: Final = 0xFEE0  # from ASCII to the full-width forms
_UNSEEN: Final = "\0\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}\N{COMBINING ACUTE ACCENT}"
_END: Final = ""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class UnsafeTokenizerError(ValueError):
    """A tokenizer that reads a special token even where it is escaped."""


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """What a tokenizer or its chat template reads as the border of a role, an image or a call.

    Attributes:
        tokens: All of them, without the tags of the text protocol, which a policy is to write.
        others: Those that are no control marks by their shape.
        disguised: Those that the tokenizer also reads in other letters, in wide forms or around characters that nobody sees,
            even where `escape_control_marks` was there before.
    """

    tokens: tuple[str, ...]
    others: tuple[str, ...] = ()
    disguised: tuple[str, ...] = ()
    _pattern: re.Pattern[str] | None = dataclasses.field(default=None, repr=False, compare=False)
    _dangling: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    _normalizer: Any = dataclasses.field(default=None, repr=False, compare=False)

    @classmethod
    def from_processor(cls, processor: Any) -> Self:
        """The special tokens of a processor or tokenizer, proven to stay out of escaped text.

        Raises:
            UnsafeTokenizerError: They do not; the message names the first.
            CostlyTemplateError: The chat template takes more time or memory than it may.
        """
        try_chat_template(getattr(processor, "chat_template", None))
        tokenizer = getattr(processor, "tokenizer", processor)
        normalizer = _normalizer(tokenizer)
        tokens = sorted(_collect(processor, tokenizer) - _PROTOCOL_TAGS)
        marks = [*tokens, *_role_headers(processor, tokens)]
        if normalizer is not None:
            marks += [normal for token in tokens if (normal := normalizer.normalize_str(token).strip())]
        marks = list(dict.fromkeys(mark for mark in marks if mark.strip() not in _PROTOCOL_TAGS))
        others = tuple(mark for mark in marks if escape_policy_text(mark) == mark)
        pattern = _pattern_of(mark for mark in others if len(mark) > 1)
        disguised = () if normalizer is None else tuple(mark for mark in marks if _is_disguised(mark, normalizer))
        special = cls(tuple(marks), others, disguised, pattern, _dangling_starts(others, marks), normalizer)
        _prove(special, processor, tokenizer, tokens)
        return special

    def escape(self, text: str) -> str:
        """The text with each special token broken by a backslash; the text itself where there is none."""
        escaped = self._escape_once(text)
        if self._normalizer is not None:
            normal = self._normalizer.normalize_str(escaped)
            if self._escape_once(normal) != normal:
                return self._escape_once(normal)
        return escaped

    def escape_messages(self, messages: Iterable[Mapping[str, Any]]) -> list[Message]:
        """Chat messages with `escape` applied to every text in them: content, reasoning, names and arguments of calls."""
        return [self._value(message) for message in messages]

    def escape_schemas(self, schemas: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Tool schemas with `escape` applied to every text in them."""
        return [self._value(schema) for schema in schemas]

    def read_turn(self, text: str) -> str | Turn:
        """What a policy wrote, as `Policy.act` gives it: a malformed turn where it holds one of `others`, else the text."""
        match = None if self._pattern is None else self._pattern.search(text)
        if match is None:
            return text
        mark = next(mark for mark in self.others if text.startswith(mark, match.start()))
        message = f"Write plain words: {self.escape(mark)} is a control mark, which only the chat template writes."
        return Turn(text, error=ToolError("malformed_call", message))

    def _escape_once(self, text: str) -> str:
        text = escape_policy_text(text)
        if self._pattern is not None:
            text = self._pattern.sub(r"\g<0>\\", text)
        for mark in self.others:
            if len(mark) == 1:  # there is no inside to break
                text = text.replace(mark, _REPLACEMENT)
        return text + "\\" if text.endswith(self._dangling) else text

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.escape(value)
        if isinstance(value, Mapping):
            return {self._value(key): self._value(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return self._separate([self._value(part) for part in value])
        return value

    def _separate(self, parts: list[Any]) -> list[Any]:
        """The blocks, with a backslash between two texts that would be a special token together."""
        for k in range(len(parts) - 1):
            texts = [part.get("text") if isinstance(part, dict) else None for part in parts[k : k + 2]]
            if isinstance(texts[0], str) and isinstance(texts[1], str):
                joint = texts[0][-_MAX_MARK_CHARS:] + texts[1][:_MAX_MARK_CHARS]
                if self._escape_once(joint) != joint:
                    parts[k] = {**parts[k], "text": texts[0] + "\\"}
        return parts


def _collect(processor: Any, tokenizer: Any) -> set[str]:
    tokens = set(map(str, getattr(tokenizer, "all_special_tokens", ())))
    added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    tokens |= {str(token) for token in added.values() if getattr(token, "special", False) or _is_mark(str(token))}
    tokens |= {
        value
        for name, value in getattr(processor, "__dict__", {}).items()
        if name.endswith("_token") and isinstance(value, str)
    }
    longest = max(tokens, key=len, default="")
    if len(longest) > _MAX_MARK_CHARS:
        raise UnsafeTokenizerError(
            f"the tokenizer has a special token of {len(longest):,} characters ({longest[:20]!r}...), and those of more than "
            f"{_MAX_MARK_CHARS} are not kept out of text"
        )
    return {token for token in tokens if token.strip()} - _PROTOCOL_TAGS


def _is_mark(token: str) -> bool:
    """Whether a token that is not called special is a border all the same, as Qwen's <tool_response> is.

    Others are words, or HTML, which is one token for the sake of length.
    """
    return (
        token.startswith(_OPENINGS)
        and len(token) > 2
        and " " not in token
        and not (_FORMATTING.fullmatch(token) or any(tag in token for tag in _PROTOCOL_TAGS))
    )


def _role_headers(processor: Any, tokens: Sequence[str]) -> list[str]:
    """Plain words with which a chat template opens turns, such as "USER:"; none where special tokens do."""
    blocks = _takes_blocks(processor)
    turns = list(zip(("user", "assistant", "user"), _PROBES, strict=True))
    rendered = None if blocks is None else _render(processor, turns, blocks)
    if rendered is None:
        return []
    headers = set()
    for piece in re.split("|".join(_PROBES), rendered):
        behind = max((piece.rfind(token) + len(token) for token in tokens if token in piece), default=0)
        words = piece[behind:].strip().rpartition("\n")[2].rpartition(". ")[2]
        if 2 < len(words) <= _MAX_HEADER_CHARS and set(words) & set(string.punctuation):
            headers.add(words)
    return sorted(headers)


def _dangling_starts(others: Iterable[str], marks: Iterable[str]) -> tuple[str, ...]:
    """Starts of marks that, at the end of a text, are made whole by the beginning of a mark that the template writes next."""
    beginnings = {mark[:k] for mark in marks for k in range(1, len(mark) + 1)}
    return tuple({mark[:k] for mark in others for k in range(1, len(mark)) if mark[k:] in beginnings})


def _pattern_of(marks: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for the first character of each mark, whose time does not grow with the number of marks (a prefix tree)."""
    tree: dict[str, Any] = {}
    for mark in marks:
        node = tree
        for character in mark:
            node = node.setdefault(character, {})
        node[_END] = {}
    if not tree:
        return None
    return re.compile("|".join(f"{re.escape(first)}(?={_alternatives(rest)})" for first, rest in tree.items()))


def _alternatives(node: Mapping[str, Any]) -> str:
    if _END in node:
        return ""  # the shortest of marks that begin alike is enough
    parts = [re.escape(character) + _alternatives(rest) for character, rest in node.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _normalizer(tokenizer: Any) -> Any:
    """What the tokenizer does to text before it looks for added tokens; None where it looks for all of them first.

    Tokens that are added without being called special are looked for late unless somebody says otherwise.
    """
    added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    late = any(getattr(token, "normalized", False) for token in added.values())
    return getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None) if late else None


def _render(processor: Any, texts: Sequence[tuple[str, str]], blocks: bool) -> str | None:
    """A conversation through the chat template, contents as blocks or as text; None where it takes none of this kind."""
    messages = [{"role": role, "content": [{"type": "text", "text": text}] if blocks else text} for role, text in texts]
    try:
        return render_messages(processor, messages, None, generation=True)
    except Exception:  # noqa: BLE001 a template can raise anything; what it renders is judged elsewhere
        return None


def _takes_blocks(processor: Any) -> bool | None:
    """Whether a chat template takes content as blocks rather than text; None where it shows neither, or is not there."""
    if not getattr(processor, "chat_template", None):
        return None
    for blocks in (True, False):
        rendered = _render(processor, [("user", _PROBES[0]), ("assistant", _PROBES[1])], blocks)
        if rendered and all(probe in rendered for probe in _PROBES[:2]) and not re.search(r"['\"]text['\"]", rendered):
            return blocks
    return None


def _is_disguised(mark: str, normalizer: Any) -> bool:
    """Whether a tokenizer makes the mark of texts without it, in which marks were escaped by their shape."""
    texts = map(escape_control_marks, _disguises(mark))
    return any(mark not in text and mark in normalizer.normalize_str(text) for text in texts)


def _disguises(token: str) -> list[str]:
    """Texts that a tokenizer may turn into the token before it looks for it: other letters, wide forms, unseen characters."""
    wide = "".join(chr(ord(letter) + _WIDE) if "!" <= letter <= "~" else letter for letter in token)
    half = len(token) // 2
    return [token.upper(), token.lower(), wide, *(f"{token[:half]}{mark}{token[half:]}" for mark in _UNSEEN)]


def _prove(special: SpecialTokens, processor: Any, tokenizer: Any, tokens: Sequence[str]) -> None:
    """Encode every special token, whole, doubled, nested and disguised, and all in a conversation, each time escaped."""
    ids = {tokenizer.convert_tokens_to_ids(token): token for token in tokens}
    for harmless_id in (None, getattr(tokenizer, "unk_token_id", None)):  # an unknown character is no border
        ids.pop(harmless_id, None)
    texts = [special.escape(f"{t} {t}{t} {t[: len(t) // 2]}{t}{t[len(t) // 2 :]}") for t in tokens]
    texts += [special.escape(" ".join(_disguises(token))) for token in tokens[:_PROVEN_IN_TEMPLATE]]
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    for row in rows:
        if read := next((ids[token] for token in row if token in ids), None):
            raise UnsafeTokenizerError(
                f"the tokenizer reads its special token {read!r} out of text, even where it is escaped"
            )
    blocks = _takes_blocks(processor)
    if blocks is None:
        return
    counts = []
    for text in (_PROBES[0], special.escape(" ".join(tokens[:_PROVEN_IN_TEMPLATE]))):
        rendered = _render(processor, [("user", text), ("assistant", text), ("user", text)], blocks) or ""
        row = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        counts.append(Counter(token for token in row if token in ids))
    if counts[0] != counts[1]:
        read = ids[next(iter((counts[1] - counts[0]) | (counts[0] - counts[1])))]
        raise UnsafeTokenizerError(f"the chat template makes the special token {read!r} of text in which it is escaped")
