"""Scripts played against the real tools: the expert solves the task, demonstrations say what they could have read."""

import collections

import numpy as np
import pytest

from medvistagym_core import ToolCall
from medvistagym_scoutvqa import CHAIN, SCOUTVQA
from medvistagym_scoutvqa.play import play

FAMILIES = pytest.mark.parametrize(
    ("task", "family"),
    [(SCOUTVQA, "window"), (SCOUTVQA, "zoom"), (SCOUTVQA, "measure"), (SCOUTVQA, "direct"), (CHAIN, "chain")],
)


def cases(task, family, n, split="test"):
    first = task.families.index(family)
    return [task.case(split, first + k * len(task.families)) for k in range(n)]


def demonstrated(task, given, skill, seed=0):
    rng = np.random.default_rng(seed)
    return play(given, [task.demonstrate(case, rng, skill) for case in given])


@FAMILIES
def test_the_expert_solves_what_it_has_never_seen(task, family):
    given = cases(task, family, 40)
    played = play(given, [task.expert(case.question, case.images, np.random.default_rng(0)) for case in given])
    right = sum(p.answer == case.answer.value for p, case in zip(played, given, strict=True))
    assert right >= 0.97 * len(given)
    assert all(result.ok for p in played for result in p.results)
    assert max(len(p.calls) for p in played) <= 8
    assert family != "direct" or not any(p.calls for p in played)


def test_the_expert_abstains_from_other_questions():
    case = SCOUTVQA.case("test", 0)
    (played,) = play([case], [SCOUTVQA.expert("What is the diagnosis?", case.images, np.random.default_rng(0))])
    assert played.answer == "unclear"


@FAMILIES
def test_a_skilled_demonstration_is_right(task, family):
    given = cases(task, family, 40)
    played = demonstrated(task, given, 1.0)
    assert [p.answer for p in played] == [case.answer.value for case in given]
    assert all(result.ok for p in played for result in p.results)
    if family != "direct":
        assert all(task.informative(case, p.calls[-1]) for case, p in zip(given, played, strict=True))


@FAMILIES
def test_a_clumsy_demonstration_is_never_wrong(task, family):
    given = cases(task, family, 60)
    played = demonstrated(task, given, 0.0)
    assert all(result.ok for p in played for result in p.results)
    for case, p in zip(given, played, strict=True):
        told = family == "direct" or any(task.informative(case, call) for call in p.calls)
        assert p.answer in (case.answer.value, "unclear")
        assert told or p.answer == "unclear"


def test_a_demonstration_without_skill_does_not_teach_which_tool_to_use():
    for family in SCOUTVQA.families:
        played = demonstrated(SCOUTVQA, cases(SCOUTVQA, family, 150, "train"), 0.0)
        names = collections.Counter(p.calls[0].name for p in played if p.calls)
        assert set(names) == set(SCOUTVQA.tools)
        assert max(names.values()) < 0.5 * names.total()


def test_half_of_the_direct_questions_are_answered_at_once():
    played = demonstrated(SCOUTVQA, cases(SCOUTVQA, "direct", 100), 0.3)
    assert 30 < sum(not p.calls for p in played) < 70


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
def test_other_calls_tell_nothing(index, name, arguments):
    assert not SCOUTVQA.informative(SCOUTVQA.case("test", index), ToolCall(name=name, arguments=arguments))


def test_a_preset_tells_something_where_it_shows_the_nodules():
    soft = next(case for case in cases(SCOUTVQA, "window", 40) if case.truth.tissue == "soft tissue")
    bone = next(case for case in cases(SCOUTVQA, "window", 40) if case.truth.tissue == "bone")
    call = ToolCall(name="window", arguments={"image": 0, "preset": "brain"})
    assert SCOUTVQA.informative(soft, call)
    assert not SCOUTVQA.informative(bone, call)


def test_only_direct_questions_need_no_call():
    assert [SCOUTVQA.needs_call(SCOUTVQA.case("test", index)) for index in range(4)] == [True, True, True, False]
    assert [SCOUTVQA.needed(SCOUTVQA.case("test", index)) for index in range(4)] == ["window", "zoom", "measure", ""]
    assert CHAIN.needed(CHAIN.case("test", 0)) is None
