"""The rules of MMMU (Yue et al. 2024): which option a response names, and whether it holds the answer of an open question.

Written from a description of the official evaluation. A harness's variant differs by the arguments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Final

_EDGES: Final = ",.!?;:'"
_MIN_WORDS_FOR_TEXT: Final = 6
_SENTENCES: Final = re.compile(r"\.\s|\n")
_INDICATORS: Final = re.compile(r"could be |so |is |thus |therefore |final |answer |result ")
_NUMBER: Final = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?")


def find_letter(response: str, letters: str, options: Sequence[str]) -> str | None:
    """The letter of the option that a response names: the last "(X)", else the last " X ", else the longest option text."""
    text = f" {response.strip().strip(_EDGES)} "
    for form in ("({})", " {} "):
        places = {letter: text.rfind(form.format(letter)) for letter in letters}
        last = max(places, key=lambda letter: places[letter], default="")
        if last and places[last] >= 0:
            return last
    named = [
        (len(option), text.casefold().rfind(option.casefold()), letter)
        for letter, option in zip(letters, options, strict=False)
        if option.strip() and option.casefold() in text.casefold()
    ]
    return max(named)[2] if named else None


def find_letter_without_blank(response: str, letters: str, options: Sequence[str]) -> str | None:
    """The letter by the form in lmms-eval: "(X)", else "X " without a blank before it, else "X.", else option text.

    Option text is looked for in a response of six words at least. The last one found counts. "CTA " holds the letter A.
    """
    text = response.strip().strip(_EDGES)
    padded = f" {text} "
    for form in ("({})", "{} ", "{}."):
        places = {letter: padded.rfind(form.format(letter)) for letter in letters}
        last = max(places, key=lambda letter: places[letter], default="")
        if last and places[last] >= 0:
            return last
    if len(text.split()) < _MIN_WORDS_FOR_TEXT:
        return None
    named = [
        (text.casefold().rfind(option.casefold()), letter)
        for letter, option in zip(letters, options, strict=False)
        if option.strip() and option.casefold() in text.casefold()
    ]
    return max(named)[1] if named else None


def is_open_right(response: str, gold: str) -> bool:
    """Whether a response to an open question holds the right answer in one of its key phrases, or one of its numbers."""
    phrases, numbers = _key_phrases(response)
    for right in _gold_texts(gold):
        number = _as_number(right)
        if number is not None:
            if number in numbers:
                return True
        elif any(_pad(right) in f" {phrase} " if len(right.strip()) == 1 else right in phrase for phrase in phrases):
            return True
    return False


def _pad(text: str) -> str:
    return f" {text.strip()} "


def _gold_texts(gold: str) -> list[str]:
    """The right answers: several where the benchmark holds a list in a string."""
    gold = gold.strip()
    if gold.startswith("[") and gold.endswith("]"):
        try:
            values = ast.literal_eval(gold)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [gold.lower()]
        return [str(value).strip().lower() for value in values] if isinstance(values, list) else [gold.lower()]
    return [gold.lower()] if gold else []


def _key_phrases(response: str) -> tuple[list[str], set[float]]:
    """What stands behind words that announce an answer, sentence by sentence; the whole response when nothing does."""
    text = response.strip().strip(".").lower()
    sentences = [part.strip() for part in _SENTENCES.split(text) if part.strip()]
    phrases = []
    for index, sentence in enumerate(sentences):
        ends = [match.end() for match in _INDICATORS.finditer(sentence)]
        if index == len(sentences) - 1 and "=" in sentence:
            ends.append(sentence.rindex("=") + 1)
        phrase = sentence[max(ends) :].strip() if ends else ""
        if phrase and phrase not in ":,.!?;'":
            phrases.append(phrase)
    phrases = phrases or [text]
    numbers = {
        number for phrase in phrases for match in _NUMBER.findall(phrase) if (number := _as_number(match)) is not None
    }
    return phrases, numbers


def _as_number(text: str) -> float | None:
    """A number, rounded to two decimals; None for anything else."""
    if _NUMBER.fullmatch(text.strip()) is None:
        return None
    return round(float(text.replace(",", "")), 2)
