"""The assessment of an episode: the grade of its answer, and whether it made the calls that its case needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from medvistagym_core.environment._reward_terms import EpisodeOutcome
from medvistagym_core.environment._step import Step
from medvistagym_core.environment._task import Case
from medvistagym_core.environment.grading import Grader, grade
from medvistagym_core.tools import ToolCall


def assess_steps(
    case: Case,
    steps: Sequence[Step],
    graders: Mapping[str, Grader],
    abstention: str | None,
    informed: Callable[[Sequence[ToolCall]], bool] | None,
) -> EpisodeOutcome:
    """What a reward looks at.

    Args:
        case: The case.
        steps: The turns and what came of them.
        graders: How answers are compared, by kind of answer.
        abstention: The task's word for "I cannot tell".
        informed: Says of the calls that succeeded whether they tell something about the case; None where nobody knows.

    Raises:
        ValueError: The case's answer is none of its kind (`grading.grade`).
    """
    succeeded = None if informed is None else informed([call for step in steps for call in step.succeeded])
    compared = grade(
        case.answer,
        steps[-1].answer if steps else None,
        options=case.options,
        abstention=abstention,
        graders=graders,
        question=case.question,
    )
    return EpisodeOutcome(
        turns=tuple([step.turn for step in steps]),
        results=tuple([step.results for step in steps]),
        grade=compared,
        had_required_information=succeeded,
    )
