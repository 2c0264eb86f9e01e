"""Scripts played against the real tools: the expert solves the task, demonstrations say what they could have read."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Case, ToolCall
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, ScoutVQA
from medvistagym_scoutvqa._script_runner import ScriptRecord, run_scripts

FAMILIES = pytest.mark.parametrize(
    ("task", "family"),
    [(SCOUTVQA, "window"), (SCOUTVQA, "zoom"), (SCOUTVQA, "measure"), (SCOUTVQA, "direct"), (CHAIN, "chain")],
)


def first_cases(task: ScoutVQA, family: str, n: int, split: str = "test") -> list[Case]:
    first = task.families.index(family)
    return [task.case(split, first + k * len(task.families)) for k in range(n)]


def run_demonstrations(task: ScoutVQA, cases: list[Case], skill: float, seed: int = 0) -> list[ScriptRecord]:
    rng = np.random.default_rng(seed)
    return run_scripts(cases, [task.demonstrate(case, rng, skill) for case in cases])


@FAMILIES
def test_the_expert_solves_what_it_has_never_seen(task: ScoutVQA, family: str) -> None:
    cases = first_cases(task, family, 40)
    records = run_scripts(cases, [task.expert(case.question, case.images, np.random.default_rng(0)) for case in cases])
    right = sum(record.answer == case.answer.value for record, case in zip(records, cases, strict=True))
    assert right >= 0.97 * len(cases)
    assert all(result.ok for record in records for result in record.results)
    assert max(len(record.calls) for record in records) <= 8
    assert family != "direct" or not any(record.calls for record in records)


def test_the_expert_abstains_from_other_questions() -> None:
    case = SCOUTVQA.case("test", 0)
    (record,) = run_scripts([case], [SCOUTVQA.expert("What is the diagnosis?", case.images, np.random.default_rng(0))])
    assert record.answer == "unclear"


@FAMILIES
def test_a_skilled_demonstration_is_right(task: ScoutVQA, family: str) -> None:
    cases = first_cases(task, family, 40)
    records = run_demonstrations(task, cases, 1.0)
    assert [record.answer for record in records] == [case.answer.value for case in cases]
    assert all(result.ok for record in records for result in record.results)
    if family != "direct":
        assert all(task.informative(case, record.calls[-1]) for case, record in zip(cases, records, strict=True))


@FAMILIES
def test_a_plausible_demonstration_is_never_wrong(task: ScoutVQA, family: str) -> None:
    cases = first_cases(task, family, 60)
    records = run_demonstrations(task, cases, 0.0)
    assert all(result.ok for record in records for result in record.results)
    for case, record in zip(cases, records, strict=True):
        can_tell = family == "direct" or any(task.informative(case, call) for call in record.calls)
        assert record.answer in (case.answer.value, "unclear")
        assert can_tell or record.answer == "unclear"


def test_a_demonstration_without_skill_does_not_teach_which_tool_to_use() -> None:
    for family in SCOUTVQA.families:
        records = run_demonstrations(SCOUTVQA, first_cases(SCOUTVQA, family, 150, "train"), 0.0)
        names = collections.Counter(record.calls[0].name for record in records if record.calls)
        assert set(names) == set(SCOUTVQA.tools)
        assert max(names.values()) < 0.5 * names.total()


def test_half_of_the_direct_questions_are_answered_at_once() -> None:
    records = run_demonstrations(SCOUTVQA, first_cases(SCOUTVQA, "direct", 100), 0.3)
    assert 30 < sum(not record.calls for record in records) < 70


@pytest.mark.parametrize(
    ("index", "name", "arguments"),
    [
        (0, "window", {"image": 0, "center": 40, "width": 1500}),
        (0, "window", {"image": 0, "preset": "lung"}),
        (0, "window", {"image": 0, "preset": "no such"}),
        (0, "window", {"image": 0}),
        (0, "window", {"image": 0, "center": "40", "width": 0}),
        (0, "zoom", {"image": 0, "box": [0, 0, 250, 250]}),
        (1, "zoom", {"image": 0, "box": [0, 0, 1000, 1000]}),
        (1, "zoom", {"image": 0, "box": [500, 0, 0, 1000]}),
        (1, "zoom", {"image": 0, "box": [0, 0, 1]}),
        (1, "measure", {"image": 0, "box": [0, 0, 250, 250]}),
        (2, "measure", {"image": 0, "box": [0, 0, 1000, 1000]}),
        (2, "measure", {"image": 1, "box": [0, 0, 1000, 1000]}),
        (2, "nothing", {}),
        (3, "measure", {"image": 0, "box": [0, 0, 250, 250]}),
    ],
)
def test_other_calls_tell_nothing(index: int, name: str, arguments: dict[str, Any]) -> None:
    assert not SCOUTVQA.informative(SCOUTVQA.case("test", index), ToolCall(name=name, arguments=arguments))


def test_a_preset_tells_something_where_it_shows_the_nodules() -> None:
    soft = next(case for case in first_cases(SCOUTVQA, "window", 40) if case.truth.tissue == "soft tissue")
    bone = next(case for case in first_cases(SCOUTVQA, "window", 40) if case.truth.tissue == "bone")
    call = ToolCall(name="window", arguments={"image": 0, "preset": "brain"})
    assert SCOUTVQA.informative(soft, call)
    assert not SCOUTVQA.informative(bone, call)


def test_only_direct_questions_need_no_call() -> None:
    assert [SCOUTVQA.needs_call(SCOUTVQA.case("test", index)) for index in range(4)] == [True, True, True, False]
    assert [SCOUTVQA.needed(SCOUTVQA.case("test", index)) for index in range(4)] == ["window", "zoom", "measure", ""]
    assert CHAIN.needed(CHAIN.case("test", 0)) is None
