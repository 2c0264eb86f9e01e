"""From the episodes of one condition to its numbers under several protocols."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.scoring._document import Breakdown, ConditionReport, Number, ProtocolReport
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._protocol import Denominator, ScoringProtocol
from medvistagym_core.scoring._recorded import item_of, scorable
from medvistagym_core.scoring._score import ProtocolScore, score
from medvistagym_core.scoring._statistics import Estimate, estimate
from medvistagym_core.trajectories import Trajectory, wilson_interval

BREAKDOWNS: Final = ("family", "kind", "modality", "body_part", "language", "category")
"""Facts about questions by which scores are broken down, where a table or benchmark states them."""


@dataclasses.dataclass(frozen=True)
class ScoredCondition:
    """A condition with its scores.

    Attributes:
        report: Its numbers.
        scores: Score by question, for each protocol: the mean over its samplings.
        samplings: The rows of each sampling, for each protocol.
    """

    report: ConditionReport
    scores: Mapping[str, Mapping[str, float]]
    samplings: Mapping[str, Sequence[ProtocolScore]]


def score_condition(
    trajectories: Sequence[Trajectory],
    protocols: Sequence[str | ScoringProtocol],
    *,
    condition: str,
    file: str,
    tools: Sequence[str],
    judge: Judge | None = None,
    judge_calls: int = 1,
    rendered_prompt: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    facets: Sequence[str] = (),
) -> ScoredCondition:
    """Score the episodes of one policy on one task.

    Args:
        trajectories: The episodes; those in which the policy failed are counted and in no number.
        protocols: Names in `PROTOCOLS`, or protocols of one's own.
        condition: What was changed, for the report.
        file: Where the episodes are, for the report.
        tools: The tools that could be called.
        judge: Asked where a protocol needs a language model.
        judge_calls: How many calls of the judge may be under way at once.
        rendered_prompt: What the model read first.
        provenance: Where the questions are from.
        facets: More facts to break results down by.

    Raises:
        ValueError: There is no episode to score, or no such protocol.
    """
    if not trajectories:
        raise ValueError(f"{file} holds no episode")
    played = scorable(trajectories)
    samplings: dict[int, list[Trajectory]] = defaultdict(list)
    for trajectory in played:
        samplings[trajectory.sample].append(trajectory)
    order = [samplings[sample] for sample in sorted(samplings)]
    by_protocol: dict[str, list[ProtocolScore]] = defaultdict(list)
    for episodes in order:
        by_name = score([item_of(one) for one in episodes], protocols, judge=judge, judge_calls=judge_calls)
        for name, scored in by_name.items():
            by_protocol[name].append(scored)
    reports, scores = [], {}
    for name, parts in by_protocol.items():
        scores[name] = _question_scores(parts, order)
        reports.append(_protocol_report(name, parts, order, (*BREAKDOWNS, *facets)))
    report = ConditionReport(
        **_recorded_settings(trajectories[0]),
        **_count_outcomes(trajectories, played),
        condition=condition,
        file=file,
        tools=tuple(tools),
        rendered_prompt=rendered_prompt,
        samples=len(samplings),
        provenance=dict(provenance or {}),
        protocols=tuple(reports),
    )
    return ScoredCondition(report, scores, dict(by_protocol))


def _recorded_settings(episode: Trajectory) -> dict[str, Any]:
    """What a report says of how its episodes were played, as each of them records it."""
    return {
        "task": episode.task,
        "split": episode.split,
        "seed": episode.seed,
        "policy": episode.policy.name,
        "sampling": episode.policy.sampling,
        "prompt": episode.prompt,
        "max_turns": episode.max_turns,
        "max_calls": episode.max_calls,
    }


def _count_outcomes(trajectories: Sequence[Trajectory], played: Sequence[Trajectory]) -> dict[str, Any]:
    """Questions, failures, and of the episodes that were played calls, answers and abstentions for one of them."""
    count = max(len(played), 1)
    return {
        "questions": len({one.case for one in trajectories}),
        "failed": len(trajectories) - len(played),
        "calls_per_question": sum(one.calls for one in played) / count,
        "unanswered": sum(one.outcome.answer is None for one in played) / count,
        "abstained": sum(one.outcome.abstained for one in played) / count,
    }


def _question_scores(parts: Sequence[ProtocolScore], order: Sequence[Sequence[Trajectory]]) -> dict[str, float]:
    """The mean score of each question that has one, over its samplings."""
    found: dict[str, list[float]] = defaultdict(list)
    for scored, episodes in zip(parts, order, strict=True):
        for row, episode in zip(scored.rows, episodes, strict=True):
            if row.score is not None:
                found[episode.case].append(row.score)
    return {case: sum(values) / len(values) for case, values in found.items()}


def _protocol_report(
    name: str, parts: Sequence[ProtocolScore], order: Sequence[Sequence[Trajectory]], facets: Sequence[str]
) -> ProtocolReport:
    numbers = _average_samplings([scored.denominators for scored in parts])
    measures = _average_samplings([scored.mean_measures() for scored in parts])
    return ProtocolReport(
        protocol=name,
        rules=parts[0].rules,
        source=parts[0].source,
        numbers=tuple(numbers),
        mean=_mean(parts, order),
        breakdowns=tuple(_breakdowns(parts, order, facets)),
        measures=tuple(measures),
        notes=tuple(dict.fromkeys(note for scored in parts for note in scored.notes)),
    )


def _average_samplings(samplings: Sequence[Sequence[Denominator]]) -> list[Number]:
    """The numbers of a protocol, each the mean over the samplings that have it."""
    names = dict.fromkeys((each.benchmark, each.name) for part in samplings for each in part)
    joined = []
    for key in names:
        found = [each for part in samplings for each in part if (each.benchmark, each.name) == key]
        values = [each.value for each in found]
        present = [value for value in values if value is not None]
        value = sum(present) / len(present) if len(present) == len(found) else None
        first = found[0]
        low, high = (None, None) if value is None else wilson_interval(value * first.scored, first.scored)
        joined.append(
            Number(
                name=first.name,
                value=value,
                low=low,
                high=high,
                interval=None if value is None else "wilson",
                questions=first.total,
                scored=first.scored,
                unjudged=max(each.unjudged for each in found),
                errors=max(each.errors for each in found),
                published=first.expected,
                samples=tuple(values) if len(samplings) > 1 else (),
                deviation=statistics.stdev(present) if len(present) > 1 else None,
            )
        )
    return joined


def _mean(parts: Sequence[ProtocolScore], order: Sequence[Sequence[Trajectory]]) -> Number:
    scores = list(_question_scores(parts, order).values())
    rows = [row for scored in parts for row in scored.rows if row.verdict != "excluded"]
    per_sampling = [[row.score for row in scored.rows if row.score is not None] for scored in parts]
    means = [sum(values) / len(values) if values else None for values in per_sampling]
    present = [mean for mean in means if mean is not None]
    number = _number("mean score", estimate(scores), questions=len({row.item.id.partition("#")[0] for row in rows}))
    return number.model_copy(
        update={
            "unjudged": sum(row.verdict == "unjudged" for row in rows),
            "errors": sum(row.verdict == "error" for row in rows),
            "samples": tuple(means) if len(parts) > 1 else (),
            "deviation": statistics.stdev(present) if len(present) > 1 else None,
        }
    )


def _breakdowns(
    parts: Sequence[ProtocolScore], order: Sequence[Sequence[Trajectory]], facets: Sequence[str]
) -> list[Breakdown]:
    found = []
    for facet in dict.fromkeys(facets):
        groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for scored, episodes in zip(parts, order, strict=True):
            for row, episode in zip(scored.rows, episodes, strict=True):
                value = {"family": episode.family, "kind": row.item.kind}.get(facet) or episode.facets.get(facet, "")
                if row.score is not None and value:
                    groups[value][episode.case].append(row.score)
        if len(groups) > 1:
            numbers = [
                _number(value, estimate([sum(s) / len(s) for s in scores.values()]), questions=len(scores))
                for value, scores in sorted(groups.items())
            ]
            found.append(Breakdown(by=facet, numbers=tuple(numbers)))
    return found


def _number(name: str, found: Estimate, *, questions: int) -> Number:
    return Number(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        interval=found.kind,
        questions=questions,
        scored=found.questions,
    )
