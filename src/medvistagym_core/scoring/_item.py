"""A stored answer, as it is scored."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Final, Literal

QuestionKind = Literal["yes_no", "closed", "open", "choice"]

MAX_RESPONSE_CHARS: Final = 50_000
"""How much of a response is read: its end, where the answer stands."""

_BENCHMARKS: Final = ("vqarad", "slake", "pathvqa", "pmcvqa", "mmmu", "omnimedvqa", "medxpertqa")
_LAST_ANSWER: Final = re.compile(r".*<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredItem:
    """A question, its right answer, and the text that was answered.

    Attributes:
        id: The question's stable name.
        benchmark: What it belongs to, such as "vqa_rad"; read without case and punctuation, and by its beginning ("slake_en").
        question: The question as asked.
        gold: The right answer as text; for a choice, the text of the option.
        response: What was answered, with or without reasoning and tags; None when there was nothing.
        kind: "yes_no", "closed" (a closed question that is not yes or no, such as "left or right"), "open", or "choice" (with
            options).
        options: Answers to choose from, in the order shown.
        letter: The letter of the right option; found from `gold` where it is None.
        split: The split it is from.
        language: Language of question and answer, "en" or "zh".
        modality: Imaging modality, for breakdowns.
        category: The benchmark's own kind of question or subject, for breakdowns.
        aliases: Other texts that are as right, for `strict`.
        answer_kind: How `strict` compares ("number", "set", "box", ...); from `kind` where it is None.
        unit: Unit of a number, for `strict`.
        tolerance: Largest accepted difference of a number, for `strict`.
    """

    id: str
    benchmark: str
    question: str
    gold: str
    response: str | None
    kind: QuestionKind
    options: tuple[str, ...] = ()
    letter: str | None = None
    split: str = "test"
    language: str = "en"
    modality: str = ""
    category: str = ""
    aliases: tuple[str, ...] = ()
    answer_kind: str | None = None
    unit: str | None = None
    tolerance: float | None = None

    @property
    def text(self) -> str:
        """The end of the response, as much of it as is read; empty when there was none."""
        return (self.response or "")[-MAX_RESPONSE_CHARS:]

    @property
    def gold_letter(self) -> str | None:
        """The letter of the right option, in upper case; None when no option is the right answer."""
        if self.letter:
            return self.letter.strip().upper()[:1]
        places = self.gold_places
        return chr(ord("A") + places[0]) if places else None

    @property
    def gold_places(self) -> tuple[int, ...]:
        """The places of the options whose text is the right answer, without case and outer blanks."""
        gold = self.gold.strip().casefold()
        return tuple(place for place, option in enumerate(self.options) if option.strip().casefold() == gold)


@functools.lru_cache(1024)
def benchmark_key(name: str) -> str:
    """One spelling of a benchmark's name; what is none of the known ones keeps its own.

    >>> benchmark_key("VQA-RAD"), benchmark_key("slake_en")
    ('vqarad', 'slake')
    """
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    return next((key for key in _BENCHMARKS if plain.startswith(key)), plain)


def final_answer(text: str) -> str:
    """The answer at the end of a response: its last answer tag, what follows the reasoning, or all of it."""
    if "<answer>" in text.casefold():
        match = _LAST_ANSWER.match(text)
        if match is not None:
            return match[1].strip()
    return text.rpartition("</think>")[2].strip()
