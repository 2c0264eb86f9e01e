"""Questions with answers, for the tests of the protocols."""

import itertools
from collections.abc import Sequence
from typing import Any

from medvistagym_core.scoring import QuestionKind, ScoredItem

OPTIONS = ("Diffuse uptake pattern", "Focal uptake pattern", "No uptake", "Not stated")
_NUMBERS = itertools.count()
_ANSWER = "Model's answer"


def item(
    response: str, gold: str = "yes", kind: QuestionKind = "yes_no", benchmark: str = "vqa_rad", **more: Any
) -> ScoredItem:
    return ScoredItem(str(next(_NUMBERS)), benchmark, "Is there a nodule?", gold, response, kind, **more)


def choice(
    response: str,
    gold: str = "Focal uptake pattern",
    benchmark: str = "pmc_vqa",
    options: Sequence[str] = OPTIONS,
    **more: Any,
) -> ScoredItem:
    return item(response, gold, "choice", benchmark, options=options, **more)


def judge_by_equality(prompt: str) -> str:
    """A judge that compares the two texts it is shown."""
    lines = dict(line.split(": ", 1) for line in prompt.splitlines() if ": " in line)
    return f"<judge>{int(lines['Right answer'].lower() != lines[_ANSWER].lower())}</judge>"


def value_of(score: Any, name: str) -> Any:
    return next(each for each in score.denominators if each.name == name)
