"""MedVLThinker's evaluation: closed questions as multiple choice, by exact letter or text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from medvistagym_core.scoring._item import ScoredItem
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._protocol import (
    Denominator,
    ItemScore,
    by_benchmark,
    excluded,
    expected_count,
    summarize,
    verdict_of,
)

_ACCURACY = "accuracy"
_EXPECTED: Final = {
    ("pmcvqa", _ACCURACY): 2000, ("mmmu", _ACCURACY): 170, ("medxpertqa", _ACCURACY): 2000, ("pathvqa", _ACCURACY): 3362,
    ("slake", _ACCURACY): 416, ("vqarad", _ACCURACY): 272,
}  # fmt: skip
_ANSWER: Final = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_MARKERS: Final = ("answer:", "answer is:", "answer is", "is:")


def extract_answer(response: str) -> str:
    """The answer in a response: the first line of its last answer block, else what follows "answer:" or "is:", or all of it."""
    blocks = _ANSWER.findall(response)
    if blocks:
        lines = blocks[-1].strip().splitlines()
        return lines[0].strip() if lines else ""
    folded = response.lower()
    for marker in _MARKERS:
        at = folded.rfind(marker)
        if at >= 0:
            return response[at + len(marker) :].strip()
    return response.strip()


@dataclasses.dataclass(frozen=True)
class MedvlthinkerProtocol:
    """Choices and closed questions, right when the extracted answer is exactly the letter, the text, or "L. text"."""

    name: str = "medvlthinker"
    rules: str = (
        "Only questions with options and closed questions. The answer is the first line of the last <answer> "
        "block, else what follows the last 'answer:', 'answer is:', 'answer is' or 'is:'. Right when it is, "
        "without case, the letter of the right option, its text, or 'L. text'. Nothing else is tried and nothing "
        "is drawn. No judge."
    )
    source: str = "UCSC-VLAA/MedVLThinker a3163b1 (2025-08-17); described in docs/scoring.md"
    faults: tuple[str, ...] = ()
    unverified: tuple[str, ...] = (
        (
            "The options of closed VQA-RAD, SLAKE and PathVQA questions come from a language model whose replies "
            "the authors cached (UCSC-VLAA/MedVLThinker-Eval): without those options only the text of the answer "
            "can match."
        ),
        "Tables average three runs; one run is scored here.",
        "LLaVA-Med alone is scored by substrings there; that form is not offered.",
    )

    def exclusion(self, item: ScoredItem) -> str | None:
        if item.kind == "open":
            return "medvlthinker scores closed questions and choices"
        return None if item.language == "en" else "medvlthinker scores English questions"

    def needs_judge(self, item: ScoredItem) -> bool:
        return False

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        reason = self.exclusion(item)
        if reason is not None:
            return excluded(item, reason)
        answer = extract_answer(item.text)
        gold, letter = item.gold.strip().lower(), (item.gold_letter or "").lower()
        right = {gold} | ({letter, f"{letter}. {gold}"} if letter else set())
        verdict, score = verdict_of(answer.lower() in right - {""})
        return ItemScore(item, verdict, score, "choice", answer)

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        denominators = [
            summarize(benchmark, _ACCURACY, group, expected=expected_count(_EXPECTED, benchmark, _ACCURACY))
            for benchmark, group in by_benchmark(rows).items()
        ]
        if len(denominators) > 1:  # the mean of benchmarks, as in the paper's last column; each counts the same
            values = [each.value for each in denominators if each.value is not None]
            mean = sum(values) / len(values) if len(values) == len(denominators) else None
            denominators.append(
                Denominator("all", "mean of benchmarks", mean, len(denominators), len(values), sum(values))
            )
        return tuple(denominators)
