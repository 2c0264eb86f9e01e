"""How MedEvalKit reads a response, written from a description of its rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final

_MARKERS: Final = (
    "**answer**:", "**answer**", "*answer*:", "**answer:**", "answer is", "answer:", "final answer", "final answer is",
)  # fmt: skip
_ANSWER: Final = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_WORDS: Final = re.compile(r"[a-z]+")
_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_BARE_LETTER: Final = re.compile(r"\(?([a-z])\)?\.?")


def parse_response(response: str) -> str:
    r"""The answer in a response: what is in `\boxed{}`, else in the answer tag, cut behind the last "answer is" or the like."""
    text = response.lower()
    if "boxed" in text:
        text = _read_box(text)
    elif "<answer>" in text:
        blocks = _ANSWER.findall(text)
        text = blocks[-1] if blocks else text
    for marker in _MARKERS:
        text = text.rpartition(marker)[2]
    return text


def _read_box(text: str) -> str:
    start = text.rfind("boxed{")
    if start < 0:
        return text
    depth = 0
    for at in range(start + len("boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[start + len("boxed{") : at]
    return text[start + len("boxed{") :]


def word_overlap(gold: str, answer: str) -> dict[str, float]:
    """Precision, recall and F1 of the sets of words of two texts, without case."""
    right, given = set(gold.lower().split()), set(answer.lower().split())
    shared = len(right & given)
    if not shared:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    return {
        "precision": shared / len(given),
        "recall": shared / len(right),
        "f1": 2 * shared / (len(given) + len(right)),
    }


def plain(text: str) -> str:
    """Lower case, without full stops and line breaks."""
    return text.lower().replace("\n", "").replace(".", "")


def tidy(text: str) -> str:
    """`plain`, without articles and surplus blanks as well."""
    return " ".join(_ARTICLES.sub(" ", text.lower().replace("\n", " ").replace(".", " ")).split())


def is_yes_no_right(response: str, gold: str, *, as_published: bool) -> bool:
    """Whether exactly one of "yes" and "no" occurs, the right one: as a word; as published, anywhere among the letters."""
    text, right = parse_response(response), gold.strip().lower()
    if as_published:
        answers = {word for word in ("yes", "no") if word in plain(text)}
    else:
        answers = {"yes", "no"} & set(_WORDS.findall(text))
    return answers == {right}


def is_closed_right(response: str, gold: str, *, as_published: bool) -> bool:
    """Whether the parsed response is the right answer, without case and full stops."""
    form = plain if as_published else tidy
    return form(parse_response(response)) == form(gold)


def find_option(response: str, options: Sequence[str], *, as_published: bool) -> int | None:
    """The option that a response names: by letter, else by text, else as published the one most like the whole response.

    As published something is always found: of equally similar ones the first, so that an empty response names option A; and of
    options with the same text the last.
    """
    text = response.lower()
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    if paragraphs:
        bare = _BARE_LETTER.fullmatch(paragraphs[0])
        text = bare[1] if bare else paragraphs[-1].split(".")[0]
    text = parse_response(text).split(".")[0].rpartition(":")[2].strip()
    letter = _BARE_LETTER.fullmatch(text)
    if letter and ord(letter[1]) - ord("a") < len(options):
        return ord(letter[1]) - ord("a")
    texts = [option.strip().lower() for option in options]
    if text in texts:
        return len(texts) - 1 - texts[::-1].index(text) if as_published else texts.index(text)
    return _most_similar(response, options) if as_published and options else None


def _most_similar(response: str, options: Sequence[str]) -> int:
    """The place of the option with the highest ratio of matching characters; the first of equal ones."""
    matcher = difflib.SequenceMatcher()  # which leaves frequent characters of a long response out
    matcher.set_seq2(response.lower())
    best, place = 0.0, 0
    for index, option in enumerate(options):
        matcher.set_seq1(option.lower())
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and (ratio := matcher.ratio()) > best:
            best, place = ratio, index
    return place
