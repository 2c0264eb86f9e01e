"""The presentation around an answer: Markdown, LaTeX, HTML, JSON, quotes, "The answer is". It changes no grade.

Only what surrounds the whole answer is taken off, or what marks a word without meaning anything (bold). Where it is unclear
what is meant, the text stays as it is: two boxes, an object that gives its answer twice, struck out words.
"""

from __future__ import annotations

import functools
import html
import json
import re
from typing import Final

MAX_ANSWER_CHARS: Final = 8_000
"""A longer answer is not read: no question here has one, and the time that a text costs grows with its length."""

_MAX_LAYERS: Final = 8
_MAX_CACHED_CHARS: Final = 256

_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_ANSWER_TAG: Final = re.compile(r"<answer>(.*)</answer>", re.IGNORECASE | re.DOTALL)
_FENCE: Final = re.compile(r"```[\w+-]*\s([^`]*)```")
_ANSWER_KEYS: Final = frozenset(("answer", "final_answer", "final answer", "response", "result", "choice", "option"))

_MATH: Final = re.compile(r"\$\$?([^$]{1,400})\$\$?|\\[()\[\]]")
_STYLE: Final = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|textsf|emph|underline|mathrm|mathbf|mathit|mathsf|operatorname|mbox)\s?\{([^{}]*)\}"
)
_FRACTION: Final = re.compile(r"\\[dt]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")
_SUPERSCRIPT: Final = re.compile(r"\^\{([^{}]*)\}")
_DEGREES: Final = re.compile(r"\s?\^?\{?\\(?:circ|degree)\b\}?")
_COMMAND: Final = re.compile(
    r"\\(leq|le|geq|ge|lt|gt|pm|times|approx|sim|mu|neq|quad|qquad)(?![a-zA-Z])|\\([%,;:!&#_ ])"
)
_SYMBOLS: Final = {
    "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "lt": "<", "gt": ">", "pm": "±", "times": "×", "approx": "≈", "sim": "~",
    "mu": "µ", "neq": "≠", "%": "%", "&": "&", "#": "#", "_": "_",
}  # fmt: skip

_TAGS: Final = re.compile(r"</?(?:b|strong|i|em|u|p|span|div|code|mark|br)\s?/?>", re.IGNORECASE)
_RAISED: Final = re.compile(r"<sup>([^<]{1,20})</sup>", re.IGNORECASE)
_LOWERED: Final = re.compile(r"<sub>([^<]{1,20})</sub>", re.IGNORECASE)
# An asterisk or underscore that opens emphasis stands before a word and after none: the one of T2* does not.
_EMPHASIS: Final = (
    re.compile(r"(?<![\w*])\*\*\*(?=[^\s*])([^*\n]*)\*\*\*(?!\*)"),
    re.compile(r"(?<![\w*])\*\*(?=[^\s*])([^*\n]*(?:\*(?!\*)[^*\n]*)?)\*\*(?!\*)"),
    re.compile(r"(?<![\w*])\*\*(?=[^\s*])([^*\n]*)\*\*"),
    re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])"),
    re.compile(r"(?<!\w)__(?=[^\s_])([^_\n]*)__(?!\w)"),
    re.compile(r"(?<!\w)_(?=[^\s_])([^_\n]*[^\s_])_(?!\w)"),
    re.compile(r"`([^`\n]*)`"),
)
_HEADING: Final = re.compile(r"#{2,6}\s+")
_BULLET: Final = re.compile(r"(?:[*•–-]\s+)(?=[^\W\d]|\()")
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`", "「": "」"}

_LEAD_IN: Final = re.compile(
    r"""
    (?:(?:so|thus|therefore|hence|in\sconclusion|in\ssummary|overall)\s?,?\s{1,3})?
    (?:
      (?:(?:the|my|our)\s{1,3})?(?:(?:final|correct|best|right|short)\s{1,3}){0,3}(?:answer|option|choice)
      (?: \s{1,3}(?:is|would\sbe|should\sbe)(?:\s{0,3}:\s{0,3}|\s{1,3}) | \s{0,3}[:=]\s{0,3} | \s{0,3}[-–—]\s{1,3} )
    | (?:ans|response|result|diagnosis|findings?|impression|conclusion)\s{0,3}:\s{0,3}
    | (?:正确|最终)?答案(?:(?:是|为)\s{0,3}[:：]?|[:：])\s{0,3}
    | (?:(?:it|this)\s{1,3}is|it['’]s|i\s(?:would\s)?(?:choose|select|pick))\s{1,3}
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def unwrap_answer(text: str) -> str:
    r"""The answer without its presentation.

    >>> unwrap_answer("The answer is **B**.")
    'B.'
    >>> unwrap_answer(r"$\boxed{\text{left lung}}$")
    'left lung'
    """
    if len(text) <= _MAX_CACHED_CHARS:
        return _unwrap_cached(text)
    return _unwrap(text[:MAX_ANSWER_CHARS])


def _unwrap(text: str) -> str:
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    for _ in range(_MAX_LAYERS):
        inner = _peel(text)
        if inner == text:
            break
        text = inner
    return text


_unwrap_cached = functools.lru_cache(4096)(_unwrap)


def _peel(text: str) -> str:
    """Take one layer of presentation off."""
    text = text.strip()
    if "<" in text:
        tagged = _ANSWER_TAG.fullmatch(text)
        text = tagged[1].strip() if tagged and "<answer>" not in tagged[1].casefold() else text
        text = _TAGS.sub(
            lambda m: "\n" if "br" in m[0].casefold() else "", _LOWERED.sub(r"\1", _RAISED.sub(r"^\1", text))
        )
    if "`" in text:
        fenced = _FENCE.fullmatch(text)
        text = fenced[1].strip() if fenced else text
    if text.startswith("{") and text.endswith("}"):
        text = _peel_object(text)
    if "\\" in text or "$" in text:
        text = _peel_latex(text)
    if "*" in text or "_" in text or "`" in text:
        for pattern in _EMPHASIS:
            text = pattern.sub(r"\1", text)
    text = _HEADING.sub("", text, count=1) if text.startswith("##") else text
    if "\n" not in text.strip():
        bullet = _BULLET.match(text)
        text = text[bullet.end() :] if bullet else text
    return _peel_lead_in(_peel_quotes(text))


def _peel_object(text: str) -> str:
    """The value of a JSON object that holds an answer and nothing else."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return text
    if not isinstance(pairs, list) or len(pairs) != 1:
        return text
    key, value = pairs[0]
    if key.casefold() not in _ANSWER_KEYS:
        return text
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return json.dumps(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, int | float) else text


def _peel_latex(text: str) -> str:
    text = _peel_box(text)
    text = _MATH.sub(lambda m: m[1] or "", text)
    for _ in range(3):  # `\text{\textbf{x}}`
        text, changed = _STYLE.subn(r"\1", text)
        if not changed:
            break
    text = _FRACTION.sub(r" \1/\2", text)
    text = _DEGREES.sub("°", text)
    text = _SUPERSCRIPT.sub(r"^\1", text)
    return _COMMAND.sub(lambda m: _SYMBOLS.get(m[1] or m[2], " "), text)


def _peel_box(text: str) -> str:
    r"""The content of `\boxed{...}`, when there is one box, and nothing else but what leads to it."""
    start = text.find("\\boxed{")
    if start < 0 or text.find("\\boxed", start + 1) >= 0:
        return text
    depth = 0
    for at in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            break
    else:
        return text
    before, after = (re.sub(r"\$|\\[()\[\]]", "", part).strip() for part in (text[:start], text[at + 1 :]))
    if after.strip(" .") or (before and _LEAD_IN.fullmatch(before + " ") is None):
        return text
    return text[start + len("\\boxed{") : at]


def _peel_quotes(text: str) -> str:
    text = text.strip()
    closing = _QUOTES.get(text[:1])
    if closing is None:
        return text
    inner = text.rstrip(" .,;!")
    if len(inner) > 2 and inner.endswith(closing) and closing not in inner[1:-1] and text[0] not in inner[1:-1]:
        return inner[1:-1].strip()
    return text


def _peel_lead_in(text: str) -> str:
    lead_in = _LEAD_IN.match(text)
    return text[lead_in.end() :] or text if lead_in else text
