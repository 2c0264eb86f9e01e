"""A policy goes on from a tool result that was replaced."""

from __future__ import annotations

import pytest

from medvistagym_core.environment import EpisodeConfig
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.rollouts import ExpertPolicy, replace_results, rollout
from medvistagym_core.scoring import ReplacedAnswer, measure_reliance


class Stubborn:
    """Calls a tool and does not read what it returns."""

    name = "stubborn"
    sampling = {"temperature": 0.0}  # noqa: RUF012

    def __init__(self):
        self.asked = 0

    def act(self, observations):
        self.asked += len(observations)
        call = '<tool_call>{"name": "window", "arguments": {"image": 0, "center": 1, "width": 10}}</tool_call>'
        return ["<answer>upper left</answer>" if o.num_turns else call for o in observations]


@pytest.fixture
def played(task, toolbox):
    return list(rollout(ExpertPolicy(task), task, toolbox, "test", range(16)))


def go_on(policy, played, task, toolbox, kind, batch=3):
    with LocalExecutor(toolbox) as executor:
        return list(replace_results(policy, played, lambda _: task, executor, EpisodeConfig(), kind, batch=batch))


def test_an_expert_is_lost_when_its_result_is_blank(played, task, toolbox):
    found = go_on(ExpertPolicy(task), played, task, toolbox, "blank")
    assert len(found) == 8  # the others need no tool
    for episode in found:
        assert episode.tool == "window"
        assert episode.before.outcome.correct
        assert episode.after.outcome.answer == "unclear"
        assert episode.after.turns[0].text == episode.before.turns[0].text
        assert episode.after.images[1].picture != episode.before.images[1].picture


def test_it_says_what_a_swapped_result_shows(played, task, toolbox):
    found = go_on(ExpertPolicy(task), played, task, toolbox, "swapped")
    assert len(found) == 8
    for episode in found:
        assert episode.donor.answer.value != episode.before.outcome.expected
        assert episode.after.outcome.answer == episode.donor.answer.value
        assert not episode.after.outcome.correct


def test_shuffled_results_are_of_another_case(played, task, toolbox):
    found = go_on(ExpertPolicy(task), played, task, toolbox, "shuffled")
    assert all(episode.donor.id != episode.before.case for episode in found)
    assert [e.after.outcome.answer for e in found] == [e.donor.answer.value for e in found]


def test_a_policy_that_does_not_read_keeps_its_answer(task, toolbox):
    policy = Stubborn()
    played = list(rollout(policy, task, toolbox, "test", range(6)))
    policy.asked = 0
    found = go_on(policy, played, task, toolbox, "swapped")
    assert policy.asked == len(found)  # a model is not asked about turns that are recorded
    (row,) = [r for r in measure_reliance([ReplacedAnswer(e.before, e.after, e.tool) for e in found], "swapped")
              if r.family == "overall"]  # fmt: skip
    assert row.changed == 0.0
    assert row.low == 0.0
    assert 0.3 < row.high < 0.5


def test_reliance_counts_by_tool_and_family(played, task, toolbox):
    found = go_on(ExpertPolicy(task), played, task, toolbox, "swapped")
    answers = [ReplacedAnswer(e.before, e.after, e.tool, followed=True) for e in found]
    window, overall = measure_reliance(answers, "swapped")
    assert (window.family, overall.family) == ("window", "overall")
    assert window.episodes == overall.episodes == 8
    assert (window.changed, window.accuracy_before, window.accuracy_after, window.followed) == (1.0, 1.0, 0.0, 1.0)
    assert window.should_change == 0  # this task does not say which tool a case needs
    assert window.changed_when_should is None


def test_failed_episodes_are_in_no_share(played, task, toolbox):
    class Failing:
        name, sampling = "failing", {"temperature": 0.0}

        def act(self, observations):
            raise OSError("gone")

    found = go_on(Failing(), played, task, toolbox, "blank")
    assert {e.after.outcome.ended for e in found} == {"policy_failed"}
    assert measure_reliance([ReplacedAnswer(e.before, e.after, e.tool) for e in found], "blank") == []


def test_one_answer_for_all_cannot_be_swapped(played, task, toolbox):
    same = [t for t in played if t.calls][:1] * 2
    assert go_on(ExpertPolicy(task), same, task, toolbox, "swapped") == []
    with pytest.raises(ValueError, match="results are blank, shuffled, swapped, not 'zero'"):
        go_on(ExpertPolicy(task), same, task, toolbox, "zero")
