"""Recorded episodes as items to score: nothing is run again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from medvistagym_core.environment.grading import parse_yes_no
from medvistagym_core.scoring._item import QuestionKind, ScoredItem
from medvistagym_core.trajectories import Trajectory

_OPTIONS: Final = re.compile(r"\nOptions: (.*)\Z", re.DOTALL)
_KINDS: Final[dict[str, QuestionKind]] = {"yes_no": "yes_no", "choice": "choice"}


def item_of(trajectory: Trajectory) -> ScoredItem:
    """The question of an episode with what the policy wrote last; the right answer comes from the record's own key.

    Files of older versions hold no key and no question of their own: then the question is the text that was shown, and
    an answer is compared as a choice where options were shown, as yes or no, or as a text.
    """
    key = trajectory.outcome.key
    question, options = trajectory.question, trajectory.options
    if question is None:
        question, options = _shown_question(trajectory)
    gold = trajectory.outcome.expected if key is None else key.value
    recorded_kind = ("choice" if options else None) if key is None else key.kind
    kind = question_kind(gold, recorded_kind, trajectory.facets.get("answer_type", ""))
    facets = trajectory.facets
    return ScoredItem(
        id=trajectory.id,
        benchmark=trajectory.task,
        question=question,
        gold=gold,
        response=trajectory.turns[-1].text if trajectory.turns else None,
        kind=kind,
        options=options,
        split=trajectory.split,
        language=facets.get("language", "en"),
        modality=facets.get("modality", ""),
        category=facets.get("category", trajectory.family),
        aliases=() if key is None else key.aliases,
        answer_kind=None if key is None else key.kind,
        unit=None if key is None else key.unit,
        tolerance=None if key is None else key.tolerance,
    )


def question_kind(gold: str, answer_kind: str | None, answer_type: str = "") -> QuestionKind:
    """How protocols see a question: by what its benchmark calls it ("open", "closed"), else by the kind of its answer.

    Args:
        gold: The right answer.
        answer_kind: The kind of answer, as graders name it; None where it is not known.
        answer_type: "open", "closed", or nothing.
    """
    if answer_type == "open":
        return "open"
    if answer_type == "closed" and answer_kind != "choice":
        return "yes_no" if _is_yes_no(gold) else "closed"
    if answer_kind is None:
        return "yes_no" if _is_yes_no(gold) else "open"
    return _KINDS.get(answer_kind, "open")


def scorable(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """The episodes that are scored: those in which the policy itself did not fail, which are no wrong answers."""
    return [trajectory for trajectory in trajectories if trajectory.outcome.ended != "policy_failed"]


def _is_yes_no(text: str) -> bool:
    return parse_yes_no(text) is not None and len(text.split()) == 1


def _shown_question(trajectory: Trajectory) -> tuple[str, tuple[str, ...]]:
    """Question and options as the first observation shows them."""
    texts = [block.text for block in trajectory.opening if block.text]
    text = texts[-1] if texts else ""
    match = _OPTIONS.search(text)
    options = tuple(match[1].split("; ")) if match else ()
    return (text[: match.start()] if match else text), options
