import dataclasses
import itertools
import pickle

import pytest

from medvistagym_core.environment import REWARD_PRESETS, EpisodeOutcome, Reward, RewardBreakdown
from medvistagym_core.environment.grading import Grade
from medvistagym_core.plugins import PluginWarning, Registry
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import ToolCall, ToolError, ToolResult

PROTOCOL = TextProtocol(max_calls_per_turn=4)
RIGHT, WRONG, ABSTAINED, SILENT = Grade(correct=True), Grade(), Grade(abstained=True), Grade(answered=False)
OK = ToolResult(text="ok")


def zoom(side=500):
    return ToolCall(name="zoom", arguments={"image": 0, "box": [0, 0, side, side]})


def outcome(grade, *steps, informed=None, results=None, think=None):
    """An episode of `steps`, each a tuple of calls or a raw text, and then an answer unless the grade says there was none."""
    texts = [step if isinstance(step, str) else PROTOCOL.format_turn(think, step) for step in steps]
    if grade.answered:
        texts.append(PROTOCOL.format_turn(think, answer="x"))
    turns = tuple(PROTOCOL.parse(text) for text in texts)
    given = results or [tuple(OK for _ in turn.calls) for turn in turns]
    return EpisodeOutcome(turns, tuple(given), grade, informed)


def total(preset, grade, *steps, **more):
    return Reward.preset(preset)(outcome(grade, *steps, **more)).total


def test_paper_values():
    assert total("paper", RIGHT) == pytest.approx(1.0)
    assert total("paper", RIGHT, (zoom(),)) == pytest.approx(1.0)
    assert total("paper", WRONG) == pytest.approx(-0.6)
    assert total("paper", ABSTAINED) == pytest.approx(0.0)
    assert total("paper", RIGHT, "no tags") == pytest.approx(0.6)
    assert total("paper", SILENT, (zoom(),)) == pytest.approx(-1.0)


def behaviours():
    long = "the same six words again and again " * 12
    for grade in (RIGHT, WRONG, ABSTAINED, SILENT):
        for steps in (
            (),
            ((zoom(),),),
            ((zoom(),), (zoom(),)),
            ("no tags",) * 5,
            (long,),
            tuple((zoom(k),) for k in range(1, 30)),
        ):
            yield grade, outcome(grade, *steps)


@pytest.mark.parametrize("preset", REWARD_PRESETS)
def test_right_beats_abstaining_beats_wrong_whatever_else_happens(preset):
    reward = Reward.preset(preset)
    totals: dict[str, list[float]] = {"right": [], "abstained": [], "wrong": []}
    for grade, episode in behaviours():
        kind = "right" if grade.correct else "abstained" if grade.abstained else "wrong"
        totals[kind].append(reward(episode).total)
    assert min(totals["right"]) > max(totals["wrong"])
    assert max(totals["wrong"]) < 0
    if preset != "paper":
        assert min(totals["right"]) > max(totals["abstained"])
        assert min(totals["abstained"]) > max(totals["wrong"])


def test_paper_weights_keep_every_wrong_episode_below_every_right_one():
    reward = Reward.preset("paper")
    for form, rep, form2, rep2 in itertools.product((-1, 1), (0, -1.5, -2, -3), (-1, 1), (0, -1.5, -2, -3)):
        w = reward.weights
        right = w["correct"] + w["format"] * form + w["repetition"] * rep
        wrong = -w["correct"] + w["format"] * form2 + w["repetition"] * rep2
        assert right > wrong
        assert wrong < 0


def test_scout_values():
    assert total("scout", RIGHT) == 1.0
    assert total("scout", RIGHT, (zoom(),)) == pytest.approx(0.95)
    assert total("scout", RIGHT, (zoom(1), zoom(2)), "not a turn") == pytest.approx(0.85)
    assert total("scout", ABSTAINED) == 0.0
    assert total("scout", ABSTAINED, (zoom(1),)) == 0.0
    assert total("scout", WRONG, (zoom(1),)) == -0.5
    assert total("scout", WRONG) == -0.5
    assert total("scout", SILENT) == -0.5
    assert total("scout", RIGHT, *[(zoom(k),) for k in range(1, 40)]) == pytest.approx(0.6)


def test_a_lucky_guess_is_worth_nothing_only_where_the_reward_says_so():
    assert total("scout_informed", RIGHT, informed=False) == 0.0
    assert total("scout_informed", RIGHT, informed=True) == 1.0
    assert total("scout_informed", RIGHT, informed=None) == 1.0
    assert total("scout_informed", WRONG, informed=False) == -0.5
    assert total("scout", RIGHT, informed=False) == 1.0
    assert Reward.preset("scout_informed").uses_privileged_information
    assert not Reward.preset("scout").uses_privileged_information
    assert not Reward.preset("scout_informed", uninformed=0).uses_privileged_information


def test_repetition():
    def value(*steps, **more):
        return Reward("r", {"repetition": 1})(outcome(RIGHT, *steps, **more)).total

    assert value() == 0
    assert value((zoom(1),), (zoom(2),)) == 0
    assert value((zoom(),), (zoom(),)) == -1.5
    assert value((zoom(), zoom())) == -1.5
    assert value((zoom(),), think="hm") == -1.5
    failed = ToolResult(error=ToolError("timeout", "zoom took too long."))
    assert value((zoom(),), (zoom(),), results=[(failed,), (OK,), ()]) == 0
    refused = ToolResult(error=ToolError("bad_value", "zoom: no."))
    assert value((zoom(),), (zoom(),), results=[(refused,), (OK,), ()]) == -1.5
    assert value("a b c d e f " * 4) == -2
    assert value("a b c d e f " * 9) == -3
    assert value("yes " * 40) == -3
    assert value(" ".join(f"word{k}" for k in range(400))) == 0


def test_terms_are_logged_apart_and_weights_can_change():
    score = Reward.preset("paper", calls=0.1)(outcome(RIGHT, (zoom(),)))
    assert score.terms == {"correct": 1.0, "format": 1.0, "repetition": 0.0, "calls": -1.0}
    assert score.total == pytest.approx(0.9)
    assert Reward.preset("paper")(outcome(RIGHT, (zoom(),))).terms["calls"] == -1.0


def test_an_outcome_is_a_value_that_travels():
    made = outcome(RIGHT, (zoom(),), "no tags", informed=True)
    assert made.calls == 2
    assert pickle.loads(pickle.dumps(made)).calls == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.grade = WRONG


def test_plugin_terms():
    def brief(outcome):
        return -len(outcome.turns[-1].text) / 100

    reward = Reward.preset("paper", terms={"brief": brief}, brief=1.0)
    assert reward(outcome(RIGHT)).terms["brief"] < 0
    for bad, why in (
        (lambda o: 1 / 0, "ZeroDivisionError"),
        (lambda o: float("nan"), "nan"),
        (lambda o: "much", "ValueError"),
    ):
        reward = Reward("r", {"right": 1.0, "bad": 1.0}, {"right": lambda o: 1.0, "bad": bad})
        with pytest.warns(PluginWarning, match=f"the reward term bad failed and counts 0: .*{why}"):
            score = reward(outcome(RIGHT))
        assert score == RewardBreakdown(1.0, {"right": 1.0, "bad": 0.0}, score.failed)
        assert why in score.failed["bad"]


def test_terms_come_from_installed_plugins(tmp_path, monkeypatch):
    (tmp_path / "plugin_brief.py").write_text(
        "from medvistagym_core import hookimpl\n\n"
        "@hookimpl\ndef medvistagym_rewards():\n"
        "    return {'brief': lambda outcome: -len(outcome.turns)}\n"
    )
    info = tmp_path / "brief-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brief\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medvistagym]\nbrief = plugin_brief\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry.discover("brief")
    reward = Reward.parse("paper,brief=0.1,calls=0.5", terms=registry.rewards)
    score = reward(outcome(RIGHT, (zoom(),)))
    assert score.terms["brief"] == -2
    assert score.total == pytest.approx(1.0 - 0.5 - 0.2)
    with pytest.raises(ValueError, match="no reward term 'brief'"):
        Reward.parse("paper,brief=0.1")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="did you mean format"):
        Reward("r", {"formt": 1.0})
    with pytest.raises(ValueError, match="paper, scout"):
        Reward.preset("sparse")
    with pytest.raises(ValueError, match="finite"):
        Reward("r", {"right": float("inf")})
