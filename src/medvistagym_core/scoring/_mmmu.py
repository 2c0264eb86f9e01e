"""MMMU's own evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from medvistagym_core.scoring._item import ScoredItem, benchmark_key, final_answer
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._mmmu_rule import find_letter, is_open_right
from medvistagym_core.scoring._protocol import Denominator, ItemScore, by_benchmark, excluded, summarize, verdict_of

_SIZES: Final = {"validation": 150, "test": 1752}


@dataclasses.dataclass(frozen=True)
class MmmuProtocol:
    """Multiple choice by the letter or text found in the response, open questions by key phrases and numbers.

    Args:
        as_published: Whether the rule keeps its faults.
    """

    as_published: bool = False
    source: str = "MMMU-Benchmark/MMMU, eval_utils; described in docs/scoring.md"
    faults: tuple[str, ...] = (
        (
            "A response that names no option draws one at random; here such a row is worth what a draw is "
            "expected to be, one over the number of options."
        ),
    )
    unverified: tuple[str, ...] = (
        (
            "Of several option texts in a response the longest counts; the order in which the official code "
            "decides was not compared."
        ),
    )

    @property
    def name(self) -> str:
        return "mmmu-official@as-published" if self.as_published else "mmmu-official"

    @property
    def rules(self) -> str:
        unparsed = (
            "is worth one over the number of options, which a random draw is expected to give"
            if self.as_published
            else "is wrong"
        )
        return (
            "Multiple choice: the last '(X)' in the response, else the last ' X ', else the longest option text "
            f"in it; a response that names none {unparsed}. Open: the phrases behind 'could be', 'so', 'is', "
            "'thus', 'therefore', 'final', 'answer' and 'result' hold the right answer, or a number of theirs is "
            "equal to it when rounded to two decimals. No judge."
        )

    def exclusion(self, item: ScoredItem) -> str | None:
        if benchmark_key(item.benchmark) != "mmmu":
            return "mmmu-official scores MMMU"
        return None if item.kind in ("choice", "open") else "mmmu-official scores choices and open questions"

    def needs_judge(self, item: ScoredItem) -> bool:
        return False

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        reason = self.exclusion(item)
        return score_mmmu(item, draws=self.as_published) if reason is None else excluded(item, reason)

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        denominators: list[Denominator] = []
        for benchmark, group in by_benchmark(rows).items():
            splits = {row.item.split for row in group}
            expected = _SIZES.get(splits.pop()) if len(splits) == 1 else None
            denominators.append(summarize(benchmark, "accuracy", group, expected=expected))
            subjects = sorted({row.item.category for row in group} - {""})
            denominators += [
                summarize(benchmark, f"accuracy, {subject}", [row for row in group if row.item.category == subject])
                for subject in subjects
            ]
        return tuple(denominators)


def score_mmmu(item: ScoredItem, *, draws: bool) -> ItemScore:
    """An item by the official rule; `draws` where a response that names no option draws one."""
    answer = final_answer(item.text)
    if item.kind == "open":
        verdict, score = verdict_of(is_open_right(answer, item.gold))
        return ItemScore(item, verdict, score, "open", answer)
    letters = "".join(chr(ord("A") + place) for place in range(len(item.options)))
    letter = find_letter(answer, letters, item.options)
    return score_letter(item, letter, draws=draws)


def score_letter(item: ScoredItem, letter: str | None, *, draws: bool) -> ItemScore:
    """A choice by the letter that was found, or drawn where none was."""
    right = item.gold_letter
    if right is None:
        return ItemScore(item, "error", group="choice", reason=f"the right answer {item.gold!r} is none of the options")
    if letter is None:
        if draws and item.options:
            return ItemScore(
                item, "drawn", 1 / len(item.options), "choice", reason="no option is named: drawn at random"
            )
        return ItemScore(item, "wrong", 0.0, "choice", reason="no option is named")
    verdict, score = verdict_of(letter == right)
    return ItemScore(item, verdict, score, "choice", letter)
