"""Scoring many stored answers under several protocols."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from medvistagym_core.scoring._item import ScoredItem
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._protocol import Denominator, ItemScore, ScoringProtocol, by_benchmark, summarize
from medvistagym_core.scoring._protocols import find_protocol


@dataclasses.dataclass(frozen=True)
class ProtocolScore:
    """What a set of answers is worth under one protocol.

    Attributes:
        protocol: The protocol's name.
        rules: Its rules in sentences.
        source: Where they were read.
        denominators: The numbers that it publishes.
        notes: What to know before one of them is quoted: unjudged rows, errors, exclusions, counts that are not the published.
        rows: One score an item, in the order of the items.
    """

    protocol: str
    rules: str
    source: str
    denominators: tuple[Denominator, ...]
    notes: tuple[str, ...]
    rows: tuple[ItemScore, ...]

    def breakdown(self, field: str) -> tuple[Denominator, ...]:
        """The mean score by an attribute of the items, such as "modality", "category", "kind" or "language"."""
        found = []
        for benchmark, rows in by_benchmark(self.rows).items():
            values = sorted({str(getattr(row.item, field)) for row in rows})
            found += [
                summarize(
                    benchmark, f"{field} {value}", [row for row in rows if str(getattr(row.item, field)) == value]
                )
                for value in values
            ]
        return tuple(found)

    def mean_measures(self) -> tuple[Denominator, ...]:
        """The means of exact match, F1, precision, recall and BLEU-1 over the open questions of each benchmark."""
        return tuple(
            summarize(benchmark, f"open {name}", measured, value_of=lambda row, name=name: getattr(row.measures, name))  # type: ignore[misc]
            for benchmark, rows in by_benchmark(self.rows).items()
            if (measured := [row for row in rows if row.measures is not None and row.item.kind == "open"])
            for name in ("exact_match", "f1", "precision", "recall", "bleu1")
        )


def score(
    items: Iterable[ScoredItem],
    protocols: Sequence[str | ScoringProtocol],
    *,
    judge: Judge | None = None,
    judge_calls: int = 1,
) -> dict[str, ProtocolScore]:
    """Score stored answers under several protocols, by their names in the order given.

    Args:
        items: Questions with answers.
        protocols: Names in `PROTOCOLS`, or protocols of one's own.
        judge: A function from a prompt to a language model's reply, for the protocols that need one. It is called once for each
            question and protocol that needs it; no call is made without one.
        judge_calls: How many calls of the judge may be under way at once, from threads.

    Raises:
        ValueError: There is no protocol of a name, or the same one twice; or `judge_calls` is not above 0.
    """
    chosen = [find_protocol(each) if isinstance(each, str) else each for each in protocols]
    names = [protocol.name for protocol in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"a scoring protocol is named twice in {', '.join(names)}")
    if judge_calls < 1:
        raise ValueError(f"judge_calls is at least 1, not {judge_calls}")
    rows: dict[str, list[ItemScore]] = {name: [] for name in names}

    def score_item(item: ScoredItem) -> list[ItemScore]:
        # Item by item, so that what several protocols measure of one answer is measured once.
        return [protocol.score_item(item, judge) for protocol in chosen]

    with contextlib.ExitStack() as stack:
        scored: Iterable[list[ItemScore]] = map(score_item, items)
        if judge is not None and judge_calls > 1:
            scored = stack.enter_context(ThreadPoolExecutor(judge_calls)).map(score_item, items)
        for found in scored:
            for name, row in zip(names, found, strict=True):
                rows[name].append(row)
    return {protocol.name: _protocol_score(protocol, tuple(rows[protocol.name])) for protocol in chosen}


def _protocol_score(protocol: ScoringProtocol, rows: tuple[ItemScore, ...]) -> ProtocolScore:
    denominators = protocol.aggregate(rows)
    return ProtocolScore(
        protocol.name,
        protocol.rules,
        protocol.source,
        denominators,
        (*_row_notes(protocol.name, rows), *_count_notes(protocol.name, denominators)),
        rows,
    )


def _row_notes(name: str, rows: Sequence[ItemScore]) -> list[str]:
    notes = []
    for benchmark, group in by_benchmark(rows).items():
        verdicts = Counter(row.verdict for row in group)
        if verdicts["unjudged"]:
            notes.append(
                f"{name}: a language model decides {verdicts['unjudged']} of {len(group)} questions of {benchmark} "
                "and no judge was given; they are unjudged, and numbers that need them have no value."
            )
        if verdicts["error"]:
            first = next(row.reason for row in group if row.verdict == "error")
            notes.append(
                f"{name}: {verdicts['error']} of {len(group)} questions of {benchmark} could not be scored and are "
                f"in no value: {first}."
            )
        if verdicts["drawn"]:
            notes.append(
                f"{name}: the harness draws the answer of {verdicts['drawn']} of {len(group)} questions "
                f"of {benchmark}; each counts what a draw is expected to give."
            )
    excluded = Counter(row.reason for row in rows if row.verdict == "excluded")
    notes += [
        f"{name}: {f'{count} questions are' if count > 1 else 'a question is'} left out: {reason}."
        for reason, count in excluded.items()
    ]
    return notes


def _count_notes(name: str, denominators: Iterable[Denominator]) -> list[str]:
    return [
        f"{name}: {each.benchmark} {each.name} counts {each.total:,} questions; the published figures count {each.expected:,}."
        for each in denominators
        if each.expected is not None and each.expected != each.total
    ]
