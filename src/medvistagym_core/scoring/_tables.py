"""Reports as text for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core.scoring._document import ConditionReport, EvaluationReport, Number, ProtocolReport
from medvistagym_core.scoring._run import RunComparison

_MAX_CELL_CHARS = 60
_HEADER = ("task", "condition", "protocol", "number", "value", "95 % interval", "questions", "published")


def format_report(report: EvaluationReport) -> str:
    """The numbers of every condition and protocol, aligned, then what stays with other images, then the notes."""
    parts = [_align(_HEADER, _number_rows(report))] if report.conditions else []
    if report.retained:
        parts.append("What stays of the score:\n" + _align(_RETAINED_HEADER, _retained_rows(report)))
    if report.reliance:
        parts.append("When tool results are replaced:\n" + _align(_RELIANCE_HEADER, _reliance_rows(report)))
    return "\n\n".join(parts)


def format_markdown(report: EvaluationReport) -> str:
    """The report as a Markdown page: how it was measured, the numbers, breakdowns, and what to know."""
    lines = ["# Scores", "", "For research only, not for clinical use.", "", *_markdown(_HEADER, _number_rows(report))]
    if report.retained:
        lines += ["", "## What stays of the score", "", *_markdown(_RETAINED_HEADER, _retained_rows(report))]
    if report.reliance:
        lines += ["", "## When tool results are replaced", "", *_markdown(_RELIANCE_HEADER, _reliance_rows(report))]
    for condition in report.conditions:
        lines += ["", f"## {condition.task} {condition.split}, {condition.condition}", "", *_facts(condition)]
        for protocol in condition.protocols:
            lines += _protocol_lines(protocol)
    if report.notes:
        lines += ["", "## To know", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def format_comparison(found: RunComparison, max_changes: int) -> str:
    """Two runs on one task: scores, the test, and the questions that flipped.

    Args:
        found: The comparison.
        max_changes: Most questions that are listed.
    """
    test = found.test
    interval = "" if test.low is None else f" [{test.low:+.3f}, {test.high:+.3f}]"
    name = "McNemar's exact test" if test.test == "mcnemar" else "test of random signs"
    means = (
        f"{test.first:.3f} ({found.first}), {test.second:.3f} ({found.second}) on {test.questions} questions of both"
    )
    counts = f"{test.gained} gained, {test.lost} lost, p = {test.p_value:.3g} ({name})"
    lines = [
        f"{found.task} {found.split}, {found.protocol}: {means}",
        f"difference {test.difference:+.3f}{interval}, {counts}",
    ]
    if found.only_first or found.only_second:
        lines.append(
            f"left out: {found.only_first} questions of the first run only, {found.only_second} of the second only"
        )
    if found.changes and max_changes:
        rows = [
            (
                "gained" if change.gained else "lost",
                change.case,
                change.question,
                change.gold,
                change.first,
                change.second,
            )
            for change in found.changes[:max_changes]
        ]
        lines += ["", _align(("", "case", "question", "right answer", "first", "second"), rows)]
        if len(found.changes) > max_changes:
            lines.append(f"... and {len(found.changes) - max_changes} more")
    return "\n".join(lines)


_RETAINED_HEADER = ("task", "protocol", "condition", "against", "share", "95 % interval", "questions")
_RELIANCE_HEADER = (
    "task", "results", "tool", "family", "episodes", "changed", "95 % interval", "when they should", "when not",
    "right before", "right after", "followed",
)  # fmt: skip


def _number_rows(report: EvaluationReport) -> list[tuple[str, ...]]:
    rows = []
    for condition in report.conditions:
        for protocol in condition.protocols:
            numbers = protocol.numbers or ((protocol.mean,) if protocol.mean.questions else ())
            rows += [(condition.task, condition.condition, protocol.protocol, *_cells(number)) for number in numbers]
    return rows


def _cells(number: Number) -> tuple[str, ...]:
    spread = "" if number.deviation is None else f" ± {number.deviation:.3f}"
    counted = str(number.questions)
    if number.scored != number.questions:
        counted = f"{number.scored} of {number.questions}"
    published = "" if number.published is None else f"{number.published:,}"
    return number.name, f"{_value(number.value)}{spread}", _interval(number.low, number.high), counted, published


def _retained_rows(report: EvaluationReport) -> list[tuple[str, ...]]:
    return [
        (r.task, r.protocol, r.condition, r.against, _value(r.share), _interval(r.low, r.high), str(r.questions))
        for r in report.retained
    ]


def _reliance_rows(report: EvaluationReport) -> list[tuple[str, ...]]:
    return [
        (
            r.task, r.results, r.tool, r.family, str(r.episodes), _value(r.changed), _interval(r.low, r.high),
            _value(r.changed_when_should), _value(r.changed_when_should_not), _value(r.accuracy_before),
            _value(r.accuracy_after), _value(r.followed),
        )
        for r in report.reliance
    ]  # fmt: skip


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _facts(condition: ConditionReport) -> list[str]:
    sampling = ", ".join(f"{name} {value}" for name, value in condition.sampling.items()) or "none"
    limits = f"at most {condition.max_turns} turns and {condition.max_calls} calls"
    answers = f"{condition.unanswered:.1%} without an answer, {condition.abstained:.1%} abstained"
    samplings = f", {condition.samples} samplings of each" if condition.samples > 1 else ""
    facts = [
        f"- Policy {condition.policy}; generation settings: {sampling}.",
        f"- Tools: {', '.join(condition.tools) or 'none'}; {limits}.",
        f"- {condition.questions} questions{samplings}; {condition.calls_per_question:.2f} calls a question; {answers}.",
    ]
    origin = [f"{name} {value}" for name, value in condition.provenance.items() if value and name != "notes"]
    if origin:
        facts.append(f"- Questions: {', '.join(origin)}.")
    if condition.rendered_prompt:
        quoted = "\n".join(f"      {line}" for line in condition.rendered_prompt.splitlines())
        facts += ["- What was read before the first turn of the first case:", "", quoted]
    return facts


def _protocol_lines(protocol: ProtocolReport) -> list[str]:
    lines = ["", f"### {protocol.protocol}", "", f"{protocol.rules} Source: {protocol.source}."]
    for breakdown in protocol.breakdowns:
        rows = [_cells(number)[:4] for number in breakdown.numbers]
        lines += ["", *_markdown((breakdown.by, "mean score", "95 % interval", "questions"), rows)]
    if protocol.measures:
        rows = [_cells(number)[:4] for number in protocol.measures]
        lines += ["", *_markdown(("measure", "mean", "95 % interval", "questions"), rows)]
    return [*lines, *(["", *(f"- {note}" for note in protocol.notes)] if protocol.notes else [])]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"

    return [line(header), line(["---"] * len(header)), *map(line, rows)]


def _align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; columns without any text are left out."""
    table = [[_shorten(cell) for cell in row] for row in rows]
    used = [k for k in range(len(header)) if any(row[k] for row in table)]
    lines = [[header[k] for k in used], *([row[k] for k in used] for row in table)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(used))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CELL_CHARS else f"{text[: _MAX_CELL_CHARS - 3]}..."
