"""Checks of a question table without a policy: whether it can be used, and what guessing without its pictures scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment._capabilities import AuditCheck
from medvistagym_core.environment.grading import answer_key
from medvistagym_core.environment.questions._overlap import find_overlaps, hash_pictures

if TYPE_CHECKING:
    from medvistagym_core.environment.questions._question import Question
    from medvistagym_core.environment.questions._task import QuestionTask

_REPORTED: Final = "reported"
_MAX_SHOWN: Final = 3


def audit_table(task: QuestionTask, n: int) -> Iterator[AuditCheck]:
    """Check a table.

    Args:
        task: Its task.
        n: Questions of each split whose pictures are decoded.
    """
    table = task.table
    problems = table.problems
    yield _check("rows left out", len(problems), [str(problem) for problem in problems])
    sets = [hash_pictures(task, split, min(n, task.size(split))) for split in table.splits]
    broken = [problem for one in sets for problem in one.problems]
    yield _check("pictures that cannot be read", len(broken), broken)
    for split, questions in table.splits.items():
        disagreeing = list(_contradictions(questions))
        yield _check(f"{split}: same picture and question, another answer", len(disagreeing), disagreeing)
        yield from _blind_guesses(split, questions)
    overlaps = [overlap for overlap in find_overlaps(sets, max_distance=0) if overlap.distance is None]
    if len(sets) > 1:
        examples = "; ".join(f"{overlap.first[1]} = {overlap.second[1]}" for overlap in overlaps[:_MAX_SHOWN])
        yield AuditCheck("pictures in two splits", len(overlaps), _REPORTED, True, examples)


def _blind_guesses(split: str, questions: Sequence[Question]) -> Iterator[AuditCheck]:
    """What answering without looking gets."""
    answers = Counter(answer_key(question.answer.value) for question in questions)
    answer, count = answers.most_common(1)[0]
    yield AuditCheck(f"{split}: share of the most common answer", count / len(questions), _REPORTED, True, answer[:60])
    given_away = sum(len(key := answer_key(q.answer.value)) > 3 and key in answer_key(q.question) for q in questions)
    yield AuditCheck(f"{split}: answer stands in the question", given_away / len(questions), _REPORTED, True)
    choices = [question for question in questions if len(question.options) > 1 and question.answer.kind == "choice"]
    if not choices:
        return
    chance = sum(1 / len(question.options) for question in choices) / len(choices)
    longest = sum(max(question.options, key=len) == question.answer.value for question in choices) / len(choices)
    yield AuditCheck(f"{split}: longest option is right", longest, _REPORTED, True, f"chance {chance:.3f}")
    places = Counter(question.options.index(question.answer.value) for question in choices)
    place, often = places.most_common(1)[0]
    detail = f"option {place + 1}; chance {chance:.3f}"
    yield AuditCheck(f"{split}: one place is right", often / len(choices), _REPORTED, True, detail)


def _contradictions(questions: Sequence[Question]) -> Iterator[str]:
    groups: dict[object, list[Question]] = defaultdict(list)
    for question in questions:
        if question.pictures:
            groups[question.pictures, answer_key(question.question), question.options].append(question)
    for group in groups.values():
        if len({answer_key(question.answer.value) for question in group}) > 1:
            yield " and ".join(question.place or question.id for question in group[:_MAX_SHOWN])


def _check(name: str, count: int, details: Sequence[str]) -> AuditCheck:
    return AuditCheck(name, count, "at most 0", count == 0, "; ".join(details[:_MAX_SHOWN]))
