"""GAZE's evaluation of VQA-RAD: yes or no by the first word, other answers by exact match and by the F1 of their words."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Final

from medvistagym_core.scoring._item import ScoredItem, final_answer
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._measures import measure_text
from medvistagym_core.scoring._protocol import (
    Denominator,
    ItemScore,
    by_benchmark,
    excluded,
    summarize,
    verdict_of,
)

_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")
_MARK: Final = re.compile(r"[^\w\s]")
_YES: Final = frozenset(("yes", "y", "true", "1"))
_NO: Final = frozenset(("no", "n", "false", "0"))
_SAME: Final = {
    "hemorrhage": "bleeding", "haemorrhage": "bleeding", "carcinoma": "cancer", "neoplasm": "tumor", "tumour": "tumor",
    "oedema": "edema", "myocardial infarction": "heart attack", "cerebrovascular accident": "stroke",
    "fracture": "broken bone", "pneumothorax": "collapsed lung", "pulmonary embolism": "pe", "ct scan": "ct",
    "computed tomography": "ct", "magnetic resonance imaging": "mri", "x ray": "xray", "chest x ray": "chest xray",
    "abdominal": "abdomen",
}  # fmt: skip
_SAME_WORDS: Final = [(re.compile(rf"\b{term}\b"), _SAME[term]) for term in sorted(_SAME, key=len, reverse=True)]


@functools.lru_cache(1024)
def normalize_finding(text: str) -> str:
    """A text by this harness's normalisation, written from its description.

    Articles become blanks, then punctuation goes without leaving one ("x-ray" is "xray"), then words that it takes for the
    same become one, the longest first.
    """
    text = _MARK.sub("", _ARTICLE.sub(" ", text.lower().strip()))
    text = " ".join(text.split())
    for term, word in _SAME_WORDS:
        text = term.sub(word, text)
    return text


def first_word_says(text: str) -> bool | None:
    """Whether the first word says yes or no; None for neither."""
    word = normalize_finding(text).partition(" ")[0]
    return True if word in _YES else False if word in _NO else None


def word_f1(gold: str, answer: str) -> float:
    """The F1 of the sets of words; 0 where either is empty."""
    right, given = set(normalize_finding(gold).split()), set(normalize_finding(answer).split())
    shared = len(right & given)
    return 2 * shared / (len(right) + len(given)) if shared else 0.0


@dataclasses.dataclass(frozen=True)
class GazeProtocol:
    """Yes or no by the first word of the answer, everything else by exact match."""

    name: str = "gaze"
    source: str = "liamchalcroft/gaze e6f3eaa, examples/vqa_rad (gaze-vlm 0.1.1); described in docs/scoring.md"
    faults: tuple[str, ...] = ()
    unverified: tuple[str, ...] = (
        "The package gaze-vlm 0.1.1 holds tests of the rule, but neither rule nor answers; the rule is the repository's.",
        "Questions that failed there are in no file and in none of its numbers.",
    )
    rules: str = (
        "Closed, where the right answer is yes or no: right when the first word of the answer says the same. Open: right when "
        "the texts are the same without case, articles and punctuation, 17 words being taken for others; beside it the F1 of "
        "their sets of words. Exact match and F1 of all questions are over those texts, closed ones included. No judge."
    )

    def exclusion(self, item: ScoredItem) -> str | None:
        """Choices and other languages."""
        if item.kind == "choice":
            return "gaze scores open and closed questions, not choices"
        return None if item.language == "en" else "gaze scores English questions"

    def needs_judge(self, item: ScoredItem) -> bool:
        """Never."""
        return False

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        """Right or wrong."""
        reason = self.exclusion(item)
        if reason is not None:
            return excluded(item, reason)
        answer = final_answer(item.text)
        closed = item.gold.strip().lower() in ("yes", "no", "y", "n")
        if closed:
            right = first_word_says(answer) is not None and first_word_says(answer) == first_word_says(item.gold)
        else:
            right = normalize_finding(answer) == normalize_finding(item.gold)
        verdict, score = verdict_of(right)
        group = "closed" if closed else "open"
        return ItemScore(item, verdict, score, group, answer, measures=measure_text(item.gold, answer))

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        """Accuracy of closed and open questions, F1 of open ones, exact match and F1 of all."""
        found = []
        for benchmark, group in by_benchmark(rows).items():
            numbers: tuple[tuple[str, str, Callable[[ItemScore], float | None]], ...] = (
                ("closed accuracy", "closed", lambda row: row.score),
                ("open accuracy", "open", lambda row: row.score),
                ("open F1", "open", _f1),
                ("exact match", "", _exact_match),
                ("F1", "", _f1),
            )
            for name, kind, value_of in numbers:
                part = [row for row in group if kind in ("", row.group)]
                if part:
                    found.append(summarize(benchmark, name, part, value_of=value_of))
        return tuple(found)


def _f1(row: ItemScore) -> float:
    return word_f1(row.item.gold, row.answer)


def _exact_match(row: ItemScore) -> float:
    return float(normalize_finding(row.item.gold) == normalize_finding(row.answer))
