import dataclasses
import json
import pickle

import numpy as np
import pytest

from medvistagym_core.environment import Episode, EpisodeConfig, Limits, Reward, informative_call_check, step_episodes
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import ToolCall, ToolResult

PROTOCOL = TextProtocol(max_calls_per_turn=3)


def call(name="window", **arguments):
    arguments = arguments or {"image": 0, "center": 1, "width": 10}
    return ToolCall(name=name, arguments=arguments)


def say(*calls, answer=None):
    return PROTOCOL.format_turn(None, calls, answer)


def texts(messages):
    return [b["text"] for m in messages for b in m["content"] if b["type"] == "text"]


def images(messages):
    return [b["image"] for m in messages for b in m["content"] if b["type"] == "image"]


def play(executor, episode, *said):
    for text in said:
        step_episodes(executor, [episode], [text])
    return episode


def test_from_question_to_answer(task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox, view_side=64, prompt="Look well.")
    first = episode.messages
    assert [m["role"] for m in first] == ["system", "user"]
    assert texts(first) == [
        "Look well.",
        "image 0:",
        "Which quadrant is bright?\nOptions: upper left; upper right; lower left; lower right",
    ]
    assert images(first)[0].size == (64, 64)
    assert images(first)[0].mode == "RGB"

    play(executor, episode, "<think>Narrow.</think>" + say(call()))
    assert [m["role"] for m in episode.messages[2:]] == ["assistant", "tool"]
    assert episode.messages[2] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "<think>Narrow.</think>"}],
        "tool_calls": [
            {"type": "function", "function": {"name": "window", "arguments": {"image": 0, "center": 1, "width": 10}}}
        ],
    }
    assert episode.new_messages == episode.messages[3:]
    assert texts(episode.new_messages) == ["image 1:"]
    assert np.asarray(images(episode.new_messages)[0]).std() > 0

    assert not episode.done
    assert episode.score.total == 0
    answer = episode.case.answer.value
    play(executor, episode, say(answer=answer))
    assert episode.termination == "answered"
    assert episode.grade.correct
    assert episode.score.total == pytest.approx(0.95)
    assert episode.score.terms == {"right": 1, "wrong": 0, "efficiency": -1, "abstained": 0, "calls": -1}
    assert episode.outcome.had_required_information is True
    with pytest.raises(RuntimeError, match="over"):
        episode.submit_turn("more")


def test_terse_shows_no_word_more_than_needed(task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox, compact=True)
    assert texts(episode.messages) == ["Which quadrant is bright?"]
    play(executor, episode, say(call()), say(call("broken", image=0)), "hm")
    assert texts(episode.messages)[1:] == ["tool_failed", "hm", "malformed_call"]


def test_style_text_needs_no_template_that_knows_tools(task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox, style="text")
    play(executor, episode, say(call()))
    assert [m["role"] for m in episode.messages] == ["user", "assistant", "user"]
    assert texts(episode.messages[1:2]) == [say(call())]
    assert "tool_calls" not in episode.messages[1]


@pytest.mark.parametrize(
    ("said", "code", "says"),
    [
        ("hm", "malformed_call", "End the turn with"),
        ("<tool_call>{</tool_call>", "malformed_call", "not JSON"),
        (say(call(), call(), call()) + say(call()), "malformed_call", "at most 3"),
        (say(call("zap", image=0)), "unknown_tool", "zap"),
        (say(call(image=9, center=1, width=10)), "bad_value", "9"),
        (say(call(image=0, center=1)), "bad_arguments", "width"),
        (say(call(image=0, center=1, width=10, extra=1)), "bad_arguments", "extra"),
        (say(call(image=0, center=1, width=0)), "bad_arguments", "width"),
        (say(call("crop", image=0, box=[0, 0, 2000, 10])), "bad_arguments", "box"),
        (say(call("broken", image=0, how="value")), "bad_value", "no scale"),
        (say(call("broken", image=0)), "tool_failed", "RuntimeError"),
        ("x" * 9000, "malformed_call", "cut at 8192"),
    ],
)
def test_errors_are_observations_and_count(task, toolbox, executor, said, code, says):
    episode = Episode.from_task(task, "test", 0, toolbox, protocol=PROTOCOL)
    play(executor, episode, said)
    assert not episode.done
    assert episode.calls == 1
    (shown,) = texts(episode.new_messages)
    assert shown.startswith(code + ": ")
    assert says in shown
    seen = episode.observation()
    assert (seen.error or seen.results[0].error).code == code
    play(executor, episode, say(answer=episode.case.answer.value))
    assert episode.score.total == pytest.approx(0.95)


def test_rubbish_from_a_tool_can_be_shown_and_written(task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox)
    play(executor, episode, say(call("broken", image=0, how="surrogate")), say(call("broken", image=0, how="long")))
    shown = texts(episode.new_messages)[0]
    assert shown.endswith("[cut: 10000 characters in all]")
    assert len(shown) < 2100
    json.dumps(episode.to_trajectory().model_dump_json())


def test_several_calls_in_a_turn(task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox, protocol=PROTOCOL)
    play(executor, episode, say(call(), call("zap", image=0), call("crop", image=1, box=[0, 0, 500, 500])))
    assert [m["role"] for m in episode.new_messages] == ["tool", "tool", "tool"]
    assert [m["name"] for m in episode.new_messages] == ["window", "zap", "crop"]
    assert texts(episode.new_messages)[0] == "image 1:"
    assert texts(episode.new_messages)[2] == "image 2:"
    assert episode.store[2].shape == (16, 16)
    assert len(episode.observation().images) == 3


def test_budgets(task, toolbox, executor):
    limits = Limits(max_turns=4, max_calls=2)
    episode = Episode.from_task(task, "test", 0, toolbox, protocol=PROTOCOL, limits=limits)
    play(executor, episode, say(call(), call(width=20, image=0, center=1), call(width=30, image=0, center=1)))
    assert [m["content"][0]["text"][:16] for m in episode.new_messages] == ["image 1:", "image 2:", "budget_exhausted"]
    play(executor, episode, say(call()))
    assert texts(episode.new_messages)[0].startswith("budget_exhausted: All 2 calls are used; give your answer now")
    play(executor, episode, "hm")
    assert not episode.done
    assert episode.submit_turn(say(call())) == ()
    assert episode.termination == "turns"
    assert episode.grade.wrong
    assert len(episode.store) == 3

    unlucky = Episode.from_task(task, "test", 0, toolbox, limits=Limits(max_turns=1, max_calls=0))
    unlucky.submit_turn(say(answer="unclear"))
    assert unlucky.termination == "answered"


def test_the_tokens_of_an_episode_are_bounded(task, toolbox, executor):
    settings = EpisodeConfig(protocol=PROTOCOL, limits=Limits(max_tokens=60), count_tokens=len)
    answer = say(answer="unclear")
    assert len(answer) < 60 < len(say(call()))
    episode = Episode.from_task(task, "test", 0, toolbox, settings)
    play(executor, episode, "x" * 20, say(call()))
    assert episode.termination == "tokens"
    assert texts(episode.new_messages)[0] == "budget_exhausted: All 60 tokens are used; the episode is over."
    assert len(episode.store) == 1
    assert episode.to_trajectory().max_tokens == 60
    assert play(executor, Episode.from_task(task, "test", 0, toolbox, settings), answer).termination == "answered"
    wordy = play(executor, Episode.from_task(task, "test", 0, toolbox, settings), "x" * 20, "y" * 20, answer)
    assert wordy.termination == "answered"  # the turn that takes the last token is still read
    assert EpisodeConfig().count_tokens("é" * 6) == 3


def test_a_case_of_several_images_and_evidence_from_any_of_them(task, toolbox, executor):
    one, two = task.case("test", 0), task.case("test", 1)
    case = dataclasses.replace(one, images=(*one.images, *two.images))
    episode = Episode(case, toolbox, protocol=PROTOCOL)
    assert texts(episode.messages)[:2] == ["image 0:", "image 1:"]
    assert len(images(episode.messages)) == 2
    play(
        executor,
        episode,
        say(call("crop", image=1, box=[500, 0, 1000, 500])),
        say(call("crop", image=0, box=[0, 500, 500, 1000]), call("crop", image=2, box=[500, 500, 1000, 1000])),
    )
    record = episode.to_trajectory()
    assert [image.parent for image in record.images] == [None, None, 1, 0, 2]
    assert [(image.turn, image.call) for image in record.images[2:]] == [(0, 0), (1, 0), (1, 1)]
    # The quarter of a quarter knows where it lies in the second image.
    assert episode.store[4].to_source == (1.0, 0.0, 24.0, 0.0, 1.0, 8.0)
    assert np.array_equal(episode.store[4].pixels, case.images[1].pixels[8:16, 24:32])
    assert [call.images for turn in record.turns for call in turn.calls] == [(1,), (0,), (2,)]


@pytest.mark.parametrize(
    "bad", [{"max_turns": 0}, {"max_calls": -1}, {"max_tokens": 0}, {"max_text": 0}, {"max_observation": 0}]
)
def test_limits_are_checked(bad):
    with pytest.raises(ValueError, match="at least"):
        Limits(**bad)
    with pytest.raises(ValueError, match="tools"):
        EpisodeConfig(style="xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="view_side"):
        EpisodeConfig(view_side=0)


def test_results_must_fit_the_calls(task, toolbox):
    episode = Episode.from_task(task, "test", 0, toolbox)
    assert episode.submit_turn(say(call())) == (call(),)
    with pytest.raises(RuntimeError, match="waits for 1"):
        episode.submit_turn("hm")
    with pytest.raises(ValueError, match="1 results are due, not 2"):
        episode.submit_results([ToolResult(), ToolResult()])
    episode.stop()
    assert episode.termination == "stopped"
    assert "stopped before" in texts(episode.new_messages)[0]


class Counting:
    def __init__(self, executor):
        self.executor, self.jobs = executor, []

    @property
    def toolbox(self):
        return self.executor.toolbox

    def run(self, jobs):
        self.jobs.append([len(calls) for _, calls in jobs])
        return self.executor.run(jobs)

    def close(self):
        pass


def test_calls_of_many_episodes_run_together(task, toolbox, executor):
    episodes = [Episode.from_task(task, "test", k, toolbox, protocol=PROTOCOL) for k in range(4)]
    counting = Counting(executor)
    step_episodes(counting, episodes, [say(call()), say(answer="unclear"), "hm", say(call(), call("zap"))])
    assert counting.jobs == [[1, 2]]
    assert [e.done for e in episodes] == [False, True, False, False]
    step_episodes(counting, [e for e in episodes if not e.done], [say(answer="upper left")] * 3)
    assert counting.jobs == [[1, 2]]
    assert all(e.done for e in episodes)


def test_a_trainer_that_calls_one_tool_at_a_time(task, toolbox, executor):
    arguments = {"image": 0, "center": 1, "width": 10}
    episode = Episode.from_task(task, "test", 0, toolbox, compact=True)
    blocks = episode.call_tool("window", arguments, executor)
    assert [b["type"] for b in blocks] == ["image"]
    assert blocks[0]["image"].size == (32, 32)
    assert episode.turns == 1
    assert episode.call_tool("window", {}, executor) == [{"type": "text", "text": "bad_arguments"}]
    assert episode.call_tool("window", {"image": float("nan")}, executor) == [
        {"type": "text", "text": "malformed_call"}
    ]
    episode.submit_turn({"role": "assistant", "content": "<answer>unclear</answer>"})
    assert episode.grade.abstained
    assert episode.call_tool("window", arguments, executor) == [{"type": "text", "text": "budget_exhausted"}]


def test_a_trainer_that_runs_whole_turns_finds_its_results_ready(task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox, protocol=PROTOCOL)
    wide = {"image": 0, "center": 1, "width": 20}
    message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": "window", "arguments": a}} for a in (call().arguments, wide)
        ],
    }
    step_episodes(executor, [episode], [message])
    assert episode.call_tool("window", wide)[0]["text"] == "image 2:"
    assert episode.call_tool("window", call().arguments)[0]["text"] == "image 1:"
    assert episode.turns == 1
    with pytest.raises(LookupError, match="no result of window is ready"):
        episode.call_tool("window", wide)


def test_a_step_gives_the_turn_back_as_it_was_read_and_every_result(task, toolbox, executor):
    said = [say(call()), "<think>Hm.</think>" + say(call(), call("crop", image=0)), "no turn", say(answer="upper left")]
    episode = play(executor, Episode.from_task(task, "test", 0, toolbox, protocol=PROTOCOL), *said)
    assert [step.turn for step in episode.steps[:2]] == [PROTOCOL.parse(text) for text in said[:2]]
    assert [repr(step.turn) for step in episode.steps] == [repr(PROTOCOL.parse(text)) for text in said]
    assert [[result.ok for result in step.results] for step in episode.steps] == [[True], [True, False], [], []]
    assert [step.answer for step in episode.steps] == [None, None, None, "upper left"]
    assert [step.error for step in episode.steps] == [None, "bad_arguments", "malformed_call", None]


def test_an_outcome_is_that_of_its_moment_and_holds_all_of_the_turns(task, toolbox, executor):
    episode = play(executor, Episode.from_task(task, "test", 0, toolbox), say(call()))
    early = episode.outcome
    play(executor, episode, say(answer="unclear"))
    assert (len(early.turns), len(early.results), early.calls, early.grade.answered) == (1, 1, 1, False)
    late = episode.outcome
    assert late.turns == tuple(step.turn for step in episode.steps)
    assert late.results == tuple(step.results for step in episode.steps)
    assert late.calls == episode.calls == 1
    assert episode.final[1] is episode.score
    assert episode.final[0].grade is episode.grade


def test_a_picture_is_rendered_once_for_an_image_and_for_no_other(task, toolbox, executor):
    first, second = (Episode.from_task(task, "test", 0, toolbox, view_side=side) for side in (16, 8))
    image = first.case.images[0]
    shown = image.rendered(16)
    assert image.rendered(16) is shown
    assert image.rendered(8).pixels.shape == (8, 8)
    assert first.rendered(0).pixels.shape == (16, 16)
    assert second.rendered(0).pixels.shape == (8, 8)
    cut = image.crop(0, 0, 4, 8)
    again = pickle.loads(pickle.dumps(image))
    assert cut.rendered(16).pixels.shape == (16, 8)
    assert again.rendered(16) is not shown
    assert again.rendered(16).sha256 == shown.sha256
    assert len(pickle.dumps(image)) == len(pickle.dumps(again))


@pytest.mark.parametrize("settings", [EpisodeConfig(), EpisodeConfig(compact=True), EpisodeConfig(prompt="Look well.")])
def test_the_text_of_the_opening_is_that_of_its_blocks(task, toolbox, settings):
    episode = Episode.from_task(task, "test", 0, toolbox, settings)
    assert episode.initial_text == "\n".join(b["text"] for b in episode.new_blocks if b["type"] == "text")
    assert "Which quadrant" in episode.initial_text


def test_a_guess_is_known_from_an_informed_answer(task, toolbox, executor):
    reward = Reward.preset("scout_informed")
    for index, said, right in (
        (0, (), False),
        (0, (call(image=0, center=1, width=3000),), False),
        (0, (call(),), True),
        (1, (), True),
    ):
        episode = Episode.from_task(task, "test", index, toolbox, reward=reward)
        play(executor, episode, *(say(c) for c in said), say(answer=episode.case.answer.value))
        assert episode.outcome.had_required_information is right
        assert (episode.score.total > 0.5) is right
    assert informative_call_check(object(), episode.case) is None


def walk(value, seen=None):
    """Everything reachable from a value through attributes, items and closures."""
    seen = {} if seen is None else seen
    if id(value) in seen or isinstance(value, type):
        return
    seen[id(value)] = value
    yield value
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif callable(value):
        parts = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    elif isinstance(value, str | bytes | int | float):
        parts = []
    else:
        parts = list(getattr(value, "__dict__", {}).values())
        parts += [getattr(value, name) for name in getattr(value, "__slots__", ()) if hasattr(value, name)]
    for part in parts:
        yield from walk(part, seen)


def test_the_right_answer_is_in_nothing_that_a_policy_sees(task, toolbox, executor):
    secret = "zxq right"
    case = dataclasses.replace(
        task.case("test", 0),
        answer=dataclasses.replace(task.case("test", 0).answer, value=secret, kind="exact", aliases=("zxq too",)),
    )
    case = dataclasses.replace(case, truth="zxq truth")
    episode = Episode(case, toolbox, protocol=PROTOCOL, abstention="unclear")
    said = [say(call()), "hm", say(call("broken", image=0)), say(call("zap", image=0)), say(answer="upper left")]
    for text in [None, *said]:
        if text:
            play(executor, episode, text)
        for thing in (episode.observation(), episode.messages, episode.new_messages, episode.score, episode.pending):
            for value in walk(thing):
                assert "zxq" not in str(value)
                assert value is not case
                assert value is not episode
    record = episode.to_trajectory()
    assert record.outcome.expected == secret
    assert "zxq" not in record.model_copy(update={"outcome": None}).model_dump_json(warnings=False)
    assert "zxq" not in str(record.to_messages(lambda sha: None))


def test_a_seed_belongs_to_an_episode(task, toolbox):
    seeds = {
        Episode.from_task(task, "test", k, toolbox, seed=s, sample=n).observation().seed
        for k in range(3)
        for s in (0, 1)
        for n in (0, 1)
    }
    assert len(seeds) == 12
    assert Episode.from_task(task, "test", 0, toolbox, sample=2).id == "test-0-0#2"
