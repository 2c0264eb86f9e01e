"""The audit: is the benchmark honest? Solvable with tools, and nothing but pictures and tools tells an answer.

Limits: the expert is right in at least 95 % of each family; whoever learned from the train questions without looking, from the
commonest answer, or from the question's numbers, picture sizes and place in the order, stays within 15 points of chance; no
header, and nothing of an answer, stands in what a policy reads before its first call.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import AuditCheck, Case, Episode
from medvistagym_core.environment.grading import grade
from medvistagym_core.tools import Toolbox

if TYPE_CHECKING:
    from medvistagym_realsmoke._draft import Draft
    from medvistagym_realsmoke._task import RealSmoke

MIN_EXPERT_ACCURACY: Final = 0.95
MAX_ABOVE_CHANCE: Final = 0.15
_NEIGHBOURS: Final = 9
_HEADER: Final = re.compile(r"\b(HU|CT|MR|CR|NM|US|mm per pixel|spacing|modality|axial|coronal|sagittal)\b")


def run_audit(task: RealSmoke, n: int) -> Iterator[AuditCheck]:
    """Check a task.

    Args:
        task: One of the two.
        n: Questions of each family that are solved, and that guessers learn from and are tested on; at most what there is.
    """
    for family in task.families:
        yield _expert_check(task, family, min(n, task.size("test") // len(task.families)))
    yield from check_secrecy(task, n)


def check_secrecy(task: RealSmoke, n: int) -> Iterator[AuditCheck]:
    """That nothing but pictures and tools tells an answer; the arguments are those of `run_audit`."""
    sizes = {split: task.size(split) // len(task.families) for split in task.splits}
    learn = min(n, sizes["train"])
    for family in task.families:
        chance = task.family(family).chance
        train = [task.draft("train", k, 0, family) for k in range(learn)]
        # Questions of other seeds are as many as one likes; a dozen would say nothing of a guesser.
        tested = [task.draft("test", k % sizes["test"], k // sizes["test"], family) for k in range(learn)]
        yield _guess_check(f"{family}: commonest answer", tested, chance, _commonest(train))
        yield _guess_check(f"{family}: question and sizes alone", tested, chance, _nearest(train))
    cases = [task.case("test", index) for index in range(task.size("test"))]
    yield _prompt_check(cases)
    yield _contradiction_check(cases)
    yield _overlap_check(task, cases)


def first_words(case: Case) -> str:
    """What a policy reads before its first call, without the question and its options."""
    text = Episode(case, Toolbox({})).initial_text
    for part in (case.question, *case.options):
        text = text.replace(part, "")
    return text


def _expert_check(task: RealSmoke, family: str, n: int) -> AuditCheck:
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ExpertPolicy, rollout

    first, step = task.families.index(family), len(task.families)
    toolbox = Registry.discover().toolbox(",".join(task.tools))
    episodes = list(rollout(ExpertPolicy(task), task, toolbox, "test", range(first, first + n * step, step)))
    right = sum(bool(episode.outcome.correct) for episode in episodes) / n
    calls = sum(episode.calls for episode in episodes) / n
    passed = right >= MIN_EXPERT_ACCURACY
    detail = f"{calls:.2f} calls, n = {n}"
    return AuditCheck(f"{family}: scripted expert", right, f">= {MIN_EXPERT_ACCURACY}", passed, detail)


def _guess_check(name: str, tested: Sequence[Draft], chance: float, guess: Callable[[Draft], str]) -> AuditCheck:
    right = sum(grade(draft.answer, guess(draft), options=draft.options).correct for draft in tested) / len(tested)
    limit = chance + MAX_ABOVE_CHANCE
    detail = f"chance {chance:.2f}, n = {len(tested)}"
    return AuditCheck(name, right, f"<= {limit:.2f}", right <= limit, detail)


def _commonest(train: Sequence[Draft]) -> Callable[[Draft], str]:
    """The answer that is right most often; of numbers, the train answer within whose tolerance most others lie."""
    if train[0].options:
        places = Counter(_answer_position(draft) for draft in train)
        place = places.most_common(1)[0][0]
        return lambda draft: draft.options[place]
    answers = [draft.answer.value for draft in train]
    hits = {
        value: sum(grade(draft.answer, _with_unit(draft, value)).correct for draft in train) for value in set(answers)
    }
    best = max(sorted(hits), key=lambda value: hits[value])
    return lambda draft: _with_unit(draft, best)


def _nearest(train: Sequence[Draft]) -> Callable[[Draft], str]:
    """What the train questions with the nearest numbers and picture sizes say: their vote, or their median."""
    import numpy as np

    numbers = np.array([_numbers(draft) for draft in train])
    scale = numbers.std(0) + 1e-9
    answers = [_answer_position(draft) if draft.options else float(draft.answer.value) for draft in train]

    def guess(draft: Draft) -> str:
        distance = (((numbers - np.array(_numbers(draft))) / scale) ** 2).sum(1)
        nearest = [answers[int(k)] for k in np.argsort(distance)[:_NEIGHBOURS]]
        if draft.options:
            return draft.options[int(Counter(nearest).most_common(1)[0][0])]
        return _with_unit(draft, f"{np.median(nearest):.2f}")

    return guess


def _prompt_check(cases: Sequence[Case]) -> AuditCheck:
    """No header, and no answer that is a number, in what is read before the first call."""
    telling = [case.id for case in cases if _tells(case, first_words(case))]
    detail = "; ".join(telling[:3]) or f"n = {len(cases)}"
    return AuditCheck("prompts that hold a header or an answer", len(telling), "0", not telling, detail)


def _tells(case: Case, text: str) -> bool:
    number = not case.options and re.search(rf"(?<![\d.]){re.escape(case.answer.value)}(?![\d.])", text)
    return bool(number or _HEADER.search(text))


def _contradiction_check(cases: Sequence[Case]) -> AuditCheck:
    answers: dict[tuple[Any, ...], set[str]] = {}
    for case in cases:
        answers.setdefault((case.question, *(image.digest for image in case.images)), set()).add(case.answer.value)
    wrong = sum(len(values) > 1 for values in answers.values())
    return AuditCheck("same pictures and question, another answer", wrong, "0", wrong == 0, f"n = {len(cases)}")


def _overlap_check(task: RealSmoke, cases: Sequence[Case]) -> AuditCheck:
    train = itertools.islice((task.case("train", index) for index in range(task.size("train"))), len(cases))
    seen = {image.digest for case in train for image in case.images}
    shared = sum(any(image.digest in seen for image in case.images) for case in cases)
    return AuditCheck("test cases with a picture of train", shared, "0", shared == 0, f"n = {len(cases)}")


def _answer_position(draft: Draft) -> int:
    return draft.options.index(draft.answer.value)


def _with_unit(draft: Draft, value: str) -> str:
    return f"{value} {draft.answer.unit}"


def _numbers(draft: Draft) -> list[float]:
    """Everything about a question that is no pixel: its numbers, up to 16, and sizes and values' types of its pictures."""
    in_question = [float(v) for v in re.findall(r"\d+", draft.question)][:16]
    sizes = [float(v) for image in draft.images for v in (*image.shape, image.frames)]
    return [*in_question, *([0.0] * (16 - len(in_question))), *sizes[:6], *([0.0] * (6 - len(sizes[:6])))]
