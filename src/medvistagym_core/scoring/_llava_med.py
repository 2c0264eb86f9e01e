"""LLaVA-Med's evaluation: recall of the words of open questions, accuracy of closed ones."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from medvistagym_core.scoring._item import ScoredItem, final_answer
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._measures import measure_text
from medvistagym_core.scoring._protocol import (
    Denominator,
    ItemScore,
    by_benchmark,
    excluded,
    expected_count,
    summarize,
    verdict_of,
)

_CLOSED, _RECALL = "closed accuracy", "open recall"
_EXPECTED: Final = {
    ("vqarad", _CLOSED): 272, ("vqarad", _RECALL): 179,
    ("slake", _CLOSED): 416, ("slake", _RECALL): 645,
    ("pathvqa", _CLOSED): 3362, ("pathvqa", _RECALL): 3357,
}  # fmt: skip
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_FULL_STOP: Final = re.compile(r"\.(?!\d)")
_ARTICLES: Final = frozenset(("a", "an", "the"))
_NUMBER_WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS: Final = {word: str(value) for value, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}
_CONTRACTIONS: Final = {
    f"{verb}nt": f"{verb}n't"
    for verb in ("is", "are", "was", "were", "does", "do", "did", "ca", "could", "has", "have", "had", "wo", "would")
}


@functools.lru_cache(1024)
def normalize_words(text: str) -> tuple[str, ...]:
    """The words of a text by this harness's normalisation, written from its description.

    A punctuation mark that stands next to a blank anywhere in the text is removed everywhere, another one becomes a blank; full
    stops go unless a digit follows; numbers to ten are digits, and "none" is 0; articles go; "dont" is "don't".
    """
    text = text.lower().replace("\n", " ").replace("\t", " ").strip()
    for mark in _PUNCTUATION:
        if mark in text:
            text = text.replace(mark, "" if f"{mark} " in text or f" {mark}" in text else " ")
    text = _FULL_STOP.sub("", text)
    words = (_NUMBERS.get(word, word) for word in text.split())
    return tuple(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@dataclasses.dataclass(frozen=True)
class LlavaMedProtocol:
    """Open questions by the share of the right answer's words that are found, closed ones by what the answer contains.

    Args:
        as_published: Whether the rule keeps its faults.
    """

    as_published: bool = False
    source: str = "microsoft/LLaVA-Med b9a98a7 (2023-12-11), the scripts of v1; described in docs/scoring.md"
    faults: tuple[str, ...] = (
        (
            "A closed answer without 'yes' or 'no' in it is wrong even when it is the right answer: 'left', "
            "'lung' (microsoft/LLaVA-Med#113)."
        ),
        "'yes' and 'no' are looked for inside words: 'i do not know' is right for 'no'.",
        "A closed answer that holds both 'yes' and 'no' is right for either.",
        "The counts of the recall are those of the prediction: a word said three times counts three times.",
    )
    unverified: tuple[str, ...] = (
        "The harness's list of contractions is longer than the one here.",
        "Before 2023-12-12 a wrong yes/no answer was not counted at all (microsoft/LLaVA-Med#35); that form is not offered.",
        "'Open accuracy' needs the answers of the training set and is not offered.",
    )

    @property
    def name(self) -> str:
        return "llava-med@as-published" if self.as_published else "llava-med"

    @property
    def rules(self) -> str:
        if self.as_published:
            closed = "contains the letters 'yes' or 'no' and contains the right answer's letters"
            recall = (
                "the times that words of the right answer occur in the prediction, over that plus those that do not"
            )
        else:
            closed = "contains the right answer as whole words and, for yes and no, not the other one too"
            recall = "the share of the right answer's words, each as often as it is there, that occur in the prediction"
        return (
            f"Closed: right when the normalised prediction {closed}. Open: {recall}; a mean, not an accuracy. No judge."
        )

    def exclusion(self, item: ScoredItem) -> str | None:
        if item.kind == "choice":
            return "llava-med scores open and closed questions, not choices"
        return None if item.language == "en" else "llava-med scores English questions"

    def needs_judge(self, item: ScoredItem) -> bool:
        return False

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        reason = self.exclusion(item)
        if reason is not None:
            return excluded(item, reason)
        answer = final_answer(item.text)
        gold, given = normalize_words(item.gold), normalize_words(answer)
        measures = measure_text(item.gold, answer)
        if item.kind == "open":
            recall = self._recall(gold, given)
            return ItemScore(item, "measured", recall, "open", answer, measures=measures)
        verdict, score = verdict_of(self._is_right(gold, given))
        return ItemScore(item, verdict, score, "closed", answer, measures=measures)

    def _is_right(self, gold: tuple[str, ...], given: tuple[str, ...]) -> bool:
        right, text = " ".join(gold), " ".join(given)
        if self.as_published:
            return ("yes" in text or "no" in text) and right in text
        other = {"yes": "no", "no": "yes"}.get(right)
        return bool(right) and f" {right} " in f" {text} " and other not in given

    def _recall(self, gold: tuple[str, ...], given: tuple[str, ...]) -> float:
        right, found = Counter(gold), Counter(given)
        if self.as_published:
            shared = sum(count for word, count in found.items() if word in right)
            missing = sum(count for word, count in right.items() if word not in found)
            return shared / (shared + missing) if shared + missing else 0.0
        return sum((right & found).values()) / len(gold) if gold else 0.0

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        denominators = []
        for benchmark, group in by_benchmark(rows).items():
            for name, kind in ((_CLOSED, "closed"), (_RECALL, "open")):
                part = [row for row in group if row.group == kind]
                if part:
                    expected = expected_count(_EXPECTED, benchmark, name)
                    denominators.append(summarize(benchmark, name, part, expected=expected))
        return tuple(denominators)
