"""The kind "choice": one of several options, by its text, its letter, or both.

An option is named by its text; by the letter of its place ("B", "(B)", "B.", "Option B"); or by both, when they agree:
"B: pneumonia" where B is another option is no answer. A reason may follow, behind "because", "since" or "due to", or behind the
option's text in a sentence of its own, when it names no other option but to say that it is wrong, and takes nothing back. No
letters are found inside prose, and two options named are none.

Options are told apart by their own texts as far as it takes: by letters and spaces alone where that is enough, else by what
`answer_key` keeps, else exactly. A text that is an option and also the letter of another one ("A" among "C", "B", "A") is the
option, because options are shown by their texts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._finding import canonical_finding
from medvistagym_core.environment.grading._form import unwrap_answer
from medvistagym_core.environment.grading._grade import CORRECT, WRONG, Grade
from medvistagym_core.environment.grading._normalize import answer_key, fold_characters
from medvistagym_core.environment.grading._text import grade_exact
from medvistagym_core.environment.grading._words import HEDGES, NEGATIONS, words

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

_LETTER: Final = re.compile(
    r"""(?:(?:option|choice|answer|letter)\s{1,3})?
    (?: \((?P<round>[a-z])\) | \[(?P<square>[a-z])\] | \{(?P<curly>[a-z])\} | (?P<bare>[a-z]) )
    (?:\s{0,3}[).:,]{1,2}(?=\s|\Z|[^\W\d_])\s* | \s+[-–—]\s+ | \s+ | \Z)
    (?P<text>.*)\Z""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_LETTER_LAST: Final = re.compile(
    r"(?P<text>.*\S)\s{0,3}[(\[](?:(?:option|choice)\s)?(?P<letter>[a-z])[)\]][.!]?\Z", re.IGNORECASE | re.DOTALL
)
_IS_RIGHT: Final = re.compile(
    r"is\s(?:the\s)?(?:correct|right|best)(?:\s(?:answer|option|choice))?\.?\Z", re.IGNORECASE
)
_REASON: Final = re.compile(
    r"(?:\A|[,;.\s]\s{0,3})(?:(?:because|since|due\sto)\s|(?:explanation|reasoning|rationale|reason|justification)\s?:\s)",
    re.IGNORECASE,
)
_FIRST_SENTENCE: Final = re.compile(
    r"((?:\(?[A-Za-z]\)?[.:)]?\s{1,3})?[^\n]{1,400}?)(?:\.\s|\n)\s{0,3}(?=\S)"  # whose letter is not the sentence
)
_MAX_LETTER_CHARS: Final = 4  # "(B)." alone: a sentence behind a letter may be another text for it
_RETRACTIONS: Final = NEGATIONS | HEDGES | words("but or however instead wrong incorrect actually wait rather although")
_DENIED: Final = re.compile(  # other options that a reason turns down: "A is wrong", "options A, C and D are incorrect"
    r"\b(?:(?:[Oo]ptions?|[Cc]hoices?|[Aa]nswers?)\s)?(?P<letters>\(?[A-Z]\)?(?:(?:,\s?(?:and\s)?|\sand\s|\sor\s)\(?[A-Z]\)?){0,8})"
    r"\s(?:is|are)\s(?:clearly\s|obviously\s|all\s)?(?:wrong|incorrect|false|not\s(?:correct|right|true))(?=\s*(?:\Z|[.,;]|and\s))"
)
_OWN_LETTER: Final = re.compile(r"\s*\(?([A-Za-z])\s?[).:]\s*(?=\S)")
_MAX_CACHED_OPTIONS: Final = 1024


def grade_choice(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the text names the right option; without options, when it is the answer's text."""
    if not options:
        return grade_exact(answer, text, options)
    names = OptionNames.of(tuple(options))
    expected = names.find(answer.value)
    if expected is None:
        raise ValueError(f"the answer {answer.value!r} is none of the options {list(options)}")
    return CORRECT if names.find(text) == expected else WRONG


class OptionNames:
    """The options of a question, to be found by name.

    Args:
        options: Their texts in the order shown. Where every one begins with its own letter ("A: lung"), it is taken off.
    """

    def __init__(self, options: tuple[str, ...]) -> None:
        own = [_OWN_LETTER.match(option) for option in options]
        if all(match and ord(match[1].casefold()) - ord("a") == index for index, match in enumerate(own)):
            options = tuple(option[match.end() :] for option, match in zip(options, own, strict=True) if match)
        self.options = options
        forms: tuple[Callable[[str], object], ...] = (str.strip, _simplify, answer_key, canonical_finding)
        self._tables = tuple((form, _table(form, options)) for form in forms)

    @classmethod
    def of(cls, options: tuple[str, ...]) -> OptionNames:
        return _option_names(options)

    def find(self, text: str) -> int | None:
        """Which option a text names: the first one of that text; None when it names none, or several."""
        text = text.strip()
        named = self.find_text(text)
        if named is None:
            text = unwrap_answer(text)
            named = self._find_letter(text)
        return self._find_explained(text) if named is None else named

    def find_text(self, text: str) -> int | None:
        """Which option a text is, by its words alone."""
        if not text:
            return None
        for form, table in self._tables:
            indices = table.get(form(text), ())
            if indices:
                return indices[0] if len(indices) == 1 else None
        return None

    def _find_letter(self, text: str) -> int | None:
        text = fold_characters(text)
        match = _LETTER.match(text)
        if match is not None:
            letter = match["round"] or match["square"] or match["curly"] or match["bare"]
            return self._agreeing(letter, match["text"])
        match = _LETTER_LAST.match(text)
        return self._agreeing(match["letter"], match["text"]) if match else None

    def _find_explained(self, text: str) -> int | None:
        """The option whose text, with or without its letter, is the first sentence, when the others leave it at that."""
        first = _FIRST_SENTENCE.match(text)
        if first is None:
            return None
        index = self.find_text(first[1])
        if index is None and len(first[1]) > _MAX_LETTER_CHARS:
            index = self._find_letter(first[1])
        if index is None or self._takes_back(text[first.end() :], index):
            return None
        return index

    def _agreeing(self, letter: str, rest: str) -> int | None:
        """The option of a letter, when what stands with it is nothing, its own text, or a reason."""
        index = self._at(letter)
        if index is None:
            return None
        reason = _REASON.search(rest)
        if reason is not None:
            if self._takes_back(rest[reason.end() :], index):
                return None
            rest = rest[: reason.start()]
        rest = rest.strip(" .,;:!)\n")
        if not rest or _IS_RIGHT.match(rest):
            return index
        named = self.find_text(rest)
        return index if named is not None and named == self.find_text(self.options[index]) else None

    def _at(self, letter: str) -> int | None:
        index = ord(letter.casefold()) - ord("a")
        return index if index < len(self.options) else None

    def _takes_back(self, prose: str, index: int) -> bool:
        """Whether what follows an option names another one, but to turn it down, or denies or weakens it."""
        own = chr(ord("A") + index)
        prose = _DENIED.sub(lambda m: m[0] if own in re.findall("[A-Z]", m["letters"]) else "", prose)
        if "?" in prose or not _RETRACTIONS.isdisjoint(answer_key(prose).split()):
            return True
        named = f" {answer_key(prose)} "
        others = (answer_key(option) for place, option in enumerate(self.options) if place != index)
        letters = (chr(ord("A") + place) for place in range(len(self.options)) if place != index)
        return any(f" {other} " in named for other in others if other) or any(
            re.search(rf"(?<![\w'-]){letter}(?![\w'-]|\s(?!(?:is|are)\s)[a-z])", prose) for letter in letters
        )


@functools.lru_cache(_MAX_CACHED_OPTIONS)
def _option_names(options: tuple[str, ...]) -> OptionNames:
    return OptionNames(options)


def _simplify(text: str) -> str:
    return " ".join(fold_characters(unwrap_answer(text)).casefold().split()).rstrip(" .")


def _table(form: Callable[[str], object], options: tuple[str, ...]) -> dict[object, tuple[int, ...]]:
    """Options by one form of their texts; those that are the same text throughout count as the first of them."""
    table: dict[object, tuple[int, ...]] = {}
    first = {text.strip(): index for index, text in reversed(list(enumerate(options)))}
    for option in options:
        indices = table.get(form(option), ())
        if first[option.strip()] not in indices:
            table[form(option)] = (*indices, first[option.strip()])
    return table
