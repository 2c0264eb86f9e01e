"""The house grade as a scoring protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade
from medvistagym_core.scoring._item import ScoredItem, final_answer
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._measures import measure_text
from medvistagym_core.scoring._protocol import Denominator, ItemScore, by_benchmark, summarize, verdict_of

_KINDS = {"yes_no": "yes_no", "closed": "exact", "open": "text", "choice": "choice"}


@dataclasses.dataclass(frozen=True)
class StrictProtocol:
    """Right only when the answer says the right answer, whatever its form (`medvistagym_core.environment.grading`)."""

    name: str = "strict"
    rules: str = (
        "An answer is right when it says the right answer and nothing else: the word yes or no at its head that "
        "is not taken back; the option by text or letter, not both of two; the number in its unit within the "
        "tolerance; free text that states the same finding with the same negations, sides, levels, numbers and "
        "degrees, in the same words. Markdown, LaTeX, JSON and 'The answer is' change nothing. Overlap of words "
        "is a measure only. No model judges."
    )
    source: str = "medvistagym_core.environment.grading"
    faults: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    def exclusion(self, item: ScoredItem) -> str | None:
        return None

    def needs_judge(self, item: ScoredItem) -> bool:
        return False

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        answer = final_answer(item.text)
        kind = item.answer_kind or _KINDS[item.kind]
        gold = item.letter if kind == "choice" and item.letter and not item.gold else item.gold
        right = Answer(gold, kind, aliases=item.aliases, tolerance=item.tolerance, unit=item.unit)
        measures = measure_text(item.gold, answer) if item.kind == "open" else None
        try:
            text = answer if item.response is not None else None
            given = grade(right, text, options=item.options, question=item.question)
        except ValueError as error:
            return ItemScore(item, "error", group=item.kind, answer=answer, reason=str(error), measures=measures)
        verdict, score = verdict_of(given.correct)
        return ItemScore(item, verdict, score, item.kind, answer, measures=measures)

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        denominators: list[Denominator] = []
        for benchmark, group in by_benchmark(rows).items():
            denominators.append(summarize(benchmark, "accuracy", group))
            kinds = dict.fromkeys(row.group for row in group)
            if len(kinds) > 1:
                denominators += [
                    summarize(benchmark, f"{kind} accuracy", [r for r in group if r.group == kind]) for kind in kinds
                ]
        return tuple(denominators)
