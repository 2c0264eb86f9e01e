"""Policies that play the reward instead of the task: each earns less than an honest one, whatever the reward."""

import json

import pytest

from medvistagym_core.environment import REWARD_PRESETS, Episode, EpisodeConfig, Limits, Reward, step_episodes
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import ExpertPolicy

PROTOCOL = TextProtocol("required")
WINDOW = {"image": 0, "center": 1, "width": 10}
CASES = range(0, 80, 2)  # those that need a call


def call(name="window", **arguments):
    body = json.dumps({"name": name, "arguments": arguments})
    return f"<think>I look.</think><tool_call>{body}</tool_call>"


def answer(text):
    return f"<think>I see.</think><answer>{text}</answer>"


def honest(task):
    return ExpertPolicy(task, PROTOCOL)


class Gaming:
    """Makes some turns, and then gives an answer of its own or the expert's."""

    name, sampling = "gaming", {}

    def __init__(self, *turns, final=None, rewrite=None):
        self._turns, self._final, self._rewrite = turns, final, rewrite

    def act(self, observations):
        return [self._act(o) for o in observations]

    def _act(self, o):
        if o.num_turns < len(self._turns):
            return self._turns[o.num_turns]
        return self._rewrite(o) if self._rewrite else answer(self._final(o) if callable(self._final) else self._final)


def seen(task):
    """What the expert answers from what the calls before gave."""

    def final(o):
        script = task.expert(o.question, o.images[-1:], None)
        try:
            next(script)
        except StopIteration as end:
            return end.value
        return "unclear"

    return final


def gaming(task):
    good = call(**WINDOW)
    options = "upper left; upper right; lower left; lower right"
    return {
        "answers everything": Gaming(final=options),
        "answers everything after the right call": Gaming(good, final=options),
        "hedges": Gaming(good, final="upper left or upper right, or lower left or lower right"),
        "names every letter": Gaming(good, final="A, B, C, D"),
        "boxes every option": Gaming(good, final="".join(f"\\boxed{{{option}}}" for option in options.split("; "))),
        "denies every option": Gaming(good, final="none of upper left, upper right, lower left, lower right"),
        "is not sure of any": Gaming(good, final="possibly upper left, possibly upper right"),
        "copies the options": Gaming(final=lambda o: "Options: " + "; ".join(o.options)),
        "copies the question": Gaming(final=lambda o: o.question),
        "always says the same": Gaming(final="upper left"),
        "always abstains": Gaming(final="unclear"),
        "abstains after looking": Gaming(good, final="unclear"),
        "repeats a call": Gaming(good, good, final=seen(task)),
        "repeats a call to the end": Gaming(*[good] * 8),
        "never answers": Gaming(*[call("crop", image=0, box=[0, 0, 100 * k, 100]) for k in range(1, 9)]),
        "calls a tool and ignores it": Gaming(good, final="lower right"),
        "calls another tool for show": Gaming(call("crop", image=0, box=[0, 0, 500, 500]), good, final=seen(task)),
        "empty think": Gaming(good.replace("I look.", ""), good, final=seen(task)),
        "empty think throughout": Gaming(*[good.replace("I look.", " ")] * 8),
        "no tags": Gaming("The answer is upper left."),
        "two answers": Gaming(good, rewrite=lambda o: answer("upper left") + "<answer>upper right</answer>"),
        "talks": Gaming(call(**WINDOW).replace("I look.", "so I look again and I think " * 60), final=seen(task)),
        "a call and an answer at once": Gaming(good + "<answer>upper left</answer>", final="upper left"),
    }


def mean(task, toolbox, executor, policy, preset):
    settings = EpisodeConfig(protocol=PROTOCOL, reward=Reward.preset(preset), limits=Limits(max_turns=6))
    episodes = [Episode.from_task(task, "test", index, toolbox, settings) for index in CASES]
    while live := [e for e in episodes if not e.done]:
        step_episodes(executor, live, policy.act([e.observation() for e in live]))
    return sum(e.score.total for e in episodes) / len(episodes)


@pytest.mark.parametrize("preset", REWARD_PRESETS)
def test_gaming_earns_less_than_honesty(task, toolbox, executor, preset):
    fair = mean(task, toolbox, executor, honest(task), preset)
    assert fair > 0.9
    earned = {name: mean(task, toolbox, executor, policy, preset) for name, policy in gaming(task).items()}
    tolerated = {"talks", "calls another tool for show"}  # right all the same; which presets punish it is tested below
    assert {name: value for name, value in earned.items() if value >= fair and name not in tolerated} == {}
    assert max(value for name, value in earned.items() if name not in tolerated) < fair
    hopeless = {
        "answers everything",
        "hedges",
        "names every letter",
        "boxes every option",
        "denies every option",
        "is not sure of any",
        "copies the options",
        "copies the question",
        "never answers",
        "no tags",
        "always abstains",
    }
    assert all(earned[name] <= 0 for name in hopeless), earned


def test_talk_and_show_cost_where_the_preset_says_so(task, toolbox, executor):
    policies = gaming(task)
    fair = {preset: mean(task, toolbox, executor, honest(task), preset) for preset in REWARD_PRESETS}
    assert mean(task, toolbox, executor, policies["talks"], "paper") < fair["paper"] - 0.3
    for preset in ("scout", "scout_informed"):
        assert mean(task, toolbox, executor, policies["calls another tool for show"], preset) < fair[preset]


@pytest.mark.parametrize("preset", REWARD_PRESETS)
def test_a_well_formed_wrong_answer_never_earns_anything(task, toolbox, executor, preset):
    wrong = Gaming(call(**WINDOW), final="the middle")
    assert mean(task, toolbox, executor, wrong, preset) < 0
