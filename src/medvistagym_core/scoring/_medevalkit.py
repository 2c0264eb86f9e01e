"""MedEvalKit's evaluation: rules for closed questions and choices, a language model for open ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from medvistagym_core.scoring._item import ScoredItem, benchmark_key
from medvistagym_core.scoring._judge import Judge, ask_judge
from medvistagym_core.scoring._measures import measure_text
from medvistagym_core.scoring._medevalkit_rule import (
    find_option,
    is_closed_right,
    is_yes_no_right,
    parse_response,
    plain,
    word_overlap,
)
from medvistagym_core.scoring._mmmu import score_mmmu
from medvistagym_core.scoring._protocol import (
    Denominator,
    ItemScore,
    by_benchmark,
    expected_count,
    summarize,
    verdict_of,
)

_CLOSED, _OPEN, _TOTAL = "closed accuracy", "open accuracy by judge", "total accuracy"
_EXPECTED: Final = {
    ("vqarad", _CLOSED): 251, ("vqarad", _OPEN): 200, ("vqarad", _TOTAL): 451,
    ("slake", _CLOSED): 836, ("slake", _OPEN): 1258, ("slake", _TOTAL): 2094,
    ("pathvqa", _CLOSED): 3362, ("pathvqa", _OPEN): 3357, ("pathvqa", _TOTAL): 6719,
    ("pmcvqa", _TOTAL): 33430, ("omnimedvqa", _TOTAL): 88996, ("medxpertqa", _TOTAL): 2000,
}  # fmt: skip
_MMMU_SIZES: Final = {"validation": 150, "test": 1752}


@dataclasses.dataclass(frozen=True)
class MedevalkitProtocol:
    """Yes/no by word, other closed questions by equality, choices by letter or text, open questions by a judge.

    Args:
        as_published: Whether the rules keep their faults.
    """

    as_published: bool = False
    source: str = "alibaba-damo-academy/MedEvalKit 9b12e3b (2026-02-24); described in docs/scoring.md"
    faults: tuple[str, ...] = (
        (
            "yes/no: 'yes' and 'no' are looked for inside words, so that 'Yes, there is an abnormality' and "
            "'yes, a nodule' are wrong and 'a nodule is seen' says no."
        ),
        "SLAKE: its 'Yes' and 'No' are not recognised as such (case), so they are compared as whole texts.",
        "Closed, not yes/no: a leading blank or an article makes an answer wrong.",
        "Open: an empty answer ends the harness with a TypeError.",
        (
            "Open: what is printed as precision, recall and f1 is F1, precision and recall; the printed accuracy "
            "is divided by the number of questions twice."
        ),
        "A failed call of the judge makes the answer wrong.",
        "PathVQA: with the judge the closed accuracy is printed as 0 and the total counts open questions only.",
        (
            "SLAKE: with the judge closed questions are counted twice; a perfect model scores 2930 / 2094 (alibaba-damo-"
            "academy/MedEvalKit#30 reports an older form)."
        ),
        "Choices: something is always chosen, by similarity of characters; an empty answer or a refusal is option A.",
        "Choices: of options with the same text the last is the right one.",
        "MMMU validation: open questions are never right, and a response that names no option draws one.",
    )
    unverified: tuple[str, ...] = (
        (
            "Which of these faults were in the code that made a published table: tables predate or patched some of "
            "them. Compare with stored responses, not with a table alone."
        ),
        "The judge's prompt is our own; the published one was gpt-4.1-2025-04-14 at temperature 0.",
        "How the similarity of an option and a response is computed: taken as difflib's ratio of (option, response).",
        "BLEU-2 to 4 and ROUGE are not computed.",
    )

    @property
    def name(self) -> str:
        return "medevalkit@as-published" if self.as_published else "medevalkit"

    @property
    def rules(self) -> str:
        if self.as_published:
            return (
                "Yes/no: exactly one of the letters 'yes' and 'no' occurs and is right. Other closed questions "
                "and all of SLAKE's: equal without case, full stops and line breaks. Open: a language model "
                "decides, a failed call is wrong. SLAKE: it decides closed questions as well, and they count "
                "twice; PathVQA: closed is 0 and the total counts open ones. Choices: by letter, else by text, "
                "else the option with the most similar characters, the first of equal ones. MMMU: the official "
                "letter parser with a random draw (worth its expectation); open questions of the validation "
                "split are never right."
            )
        return (
            "Yes/no: exactly one of the words 'yes' and 'no' occurs and is right. Other closed questions: equal "
            "without case, articles, full stops and surplus blanks. Open, and all of SLAKE: a language model "
            "decides; a failed call is an error row. Choices: by letter, else by text; what names no option is "
            "wrong. MMMU: the official rule. Totals count each question once."
        )

    def exclusion(self, item: ScoredItem) -> str | None:
        return None

    def needs_judge(self, item: ScoredItem) -> bool:
        if item.kind == "choice" or benchmark_key(item.benchmark) == "mmmu":
            return False
        return benchmark_key(item.benchmark) == "slake" or not _is_closed(item)

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        if benchmark_key(item.benchmark) == "mmmu":
            return self._score_mmmu(item)
        if item.kind == "choice":
            return self._score_choice(item)
        return self._score_text(item, judge)

    def _score_mmmu(self, item: ScoredItem) -> ItemScore:
        if self.as_published and item.kind == "open" and item.split != "test":
            return ItemScore(
                item, "wrong", 0.0, "open", reason="open questions of this split are compared character by character"
            )
        return score_mmmu(item, draws=self.as_published)

    def _score_choice(self, item: ScoredItem) -> ItemScore:
        lettered = (ord(item.letter.strip().upper()) - ord("A"),) if item.letter else ()
        places = lettered or item.gold_places[-1:] if self.as_published else (*lettered, *item.gold_places)
        if not any(0 <= place < len(item.options) for place in places):
            reason = f"the right answer {item.gold!r} is none of the options"
            return ItemScore(item, "error", group="choice", reason=reason)
        place = find_option(item.text, item.options, as_published=self.as_published)
        if place is None:
            return ItemScore(item, "wrong", 0.0, "choice", reason="no option is named")
        verdict, score = verdict_of(place in places)
        return ItemScore(item, verdict, score, "choice", chr(ord("A") + place))

    def _score_text(self, item: ScoredItem, judge: Judge | None) -> ItemScore:
        closed = _is_closed(item)
        answer = parse_response(item.text)
        row = ItemScore(
            item, "unjudged", None, "closed" if closed else "open", answer,
            measures=measure_text(item.gold, answer), rule_score=float(self._is_right_by_rule(item, closed)),
        )  # fmt: skip
        if self.as_published and not closed and not answer.strip():
            return dataclasses.replace(
                row, verdict="error", reason="the harness ends with a TypeError at an empty answer"
            )
        if not self.needs_judge(item):
            verdict, score = verdict_of(bool(row.rule_score))
            return dataclasses.replace(row, verdict=verdict, score=score)
        if judge is None:
            return dataclasses.replace(row, reason="a language model decides, and none was given")
        judgement = ask_judge(judge, item, answer)
        if judgement.right is None and not self.as_published:
            return dataclasses.replace(row, verdict="error", reason=judgement.error, judgement=judgement)
        verdict, score = verdict_of(bool(judgement.right))
        return dataclasses.replace(row, verdict=verdict, score=score, reason=judgement.error, judgement=judgement)

    def _is_right_by_rule(self, item: ScoredItem, closed: bool) -> bool:
        if not closed:
            return plain(parse_response(item.text)).strip() == plain(item.gold).strip()
        yes_no = item.gold.strip().lower() in ("yes", "no")
        if yes_no and not (
            self.as_published and benchmark_key(item.benchmark) == "slake" and item.gold != item.gold.lower()
        ):
            return is_yes_no_right(item.text, item.gold, as_published=self.as_published)
        return is_closed_right(item.text, item.gold, as_published=self.as_published)

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        denominators: list[Denominator] = []
        for benchmark, group in by_benchmark(rows).items():
            if all(row.group == "choice" or benchmark_key(benchmark) == "mmmu" for row in group):
                denominators.append(self._summary(benchmark, _TOTAL, group))
            else:
                denominators += self._text_denominators(benchmark, group)
        return tuple(denominators)

    def _text_denominators(self, benchmark: str, rows: list[ItemScore]) -> list[Denominator]:
        closed = [row for row in rows if row.group == "closed"]
        opened = [row for row in rows if row.group == "open"]
        denominators = []
        if closed:
            denominators.append(self._summary(benchmark, _CLOSED, closed))
        if closed and benchmark_key(benchmark) == "slake":
            denominators.append(self._summary(benchmark, "closed accuracy by rule", closed, lambda row: row.rule_score))
        if opened:
            denominators.append(self._summary(benchmark, _OPEN, opened))
            denominators.append(self._summary(benchmark, "open exact match", opened, lambda row: row.rule_score))
        if closed and opened:
            denominators.append(self._summary(benchmark, _TOTAL, rows))
            denominators.append(
                self._summary(benchmark, "total accuracy without a judge", rows, lambda row: row.rule_score)
            )
        if self.as_published and opened:
            denominators += _printed_measures(benchmark, opened)
            if any(row.judgement for row in opened):
                return _published_totals(benchmark, denominators, closed, opened)
        return denominators

    def _summary(
        self,
        benchmark: str,
        name: str,
        rows: Sequence[ItemScore],
        value_of: Callable[[ItemScore], float | None] = lambda row: row.score,
    ) -> Denominator:
        expected = expected_count(_EXPECTED, benchmark, name)
        if benchmark_key(benchmark) == "mmmu":
            splits = {row.item.split for row in rows}
            expected = _MMMU_SIZES.get(splits.pop()) if len(splits) == 1 else None
        return summarize(benchmark, name, rows, value_of=value_of, expected=expected)


def _is_closed(item: ScoredItem) -> bool:
    """What the harness takes as closed: SLAKE by its own mark, the others by an answer that is yes or no."""
    if benchmark_key(item.benchmark) == "slake":
        return item.kind in ("yes_no", "closed")
    return item.gold.strip().lower() in ("yes", "no")


def _printed_measures(benchmark: str, opened: Sequence[ItemScore]) -> list[Denominator]:
    """The measures of open questions under the names that the harness prints them by."""
    printed = []
    for name, measure in (("precision", "f1"), ("recall", "precision"), ("f1", "recall")):
        values = [word_overlap(row.item.gold, row.answer)[measure] for row in opened]
        mean = sum(values) / len(values)
        printed.append(Denominator(benchmark, f"open {name}, as printed", mean, len(values), len(values), sum(values)))
    right = sum(row.rule_score or 0.0 for row in opened)
    twice_divided = right / len(opened) ** 2
    return [*printed, Denominator(benchmark, "open acc, as printed", twice_divided, len(opened), len(opened), right)]


def _published_totals(
    benchmark: str, denominators: list[Denominator], closed: Sequence[ItemScore], opened: Sequence[ItemScore]
) -> list[Denominator]:
    """The totals with their faults: PathVQA forgets closed questions, SLAKE counts them twice."""
    key = benchmark_key(benchmark)
    if key not in ("pathvqa", "slake") or not closed:
        return denominators
    by_judge = sum(row.score or 0.0 for row in opened)
    sums = {_CLOSED: 0.0, _TOTAL: by_judge}
    if key == "slake":
        twice = sum((row.rule_score or 0.0) + (row.score or 0.0) for row in closed)
        sums = {_CLOSED: twice, _TOTAL: twice + by_judge}
    return [
        dataclasses.replace(each, value=sums[each.name] / each.total, score_sum=sums[each.name], low=None, high=None)
        if each.name in sums
        else each
        for each in denominators
    ]
