import json

import numpy as np
import PIL.Image
import pytest

from medvistagym_core import cli
from medvistagym_core.environment import Episode, Limits, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.imaging import Image, Window
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import verify
from medvistagym_core.tools import ToolCall, tool
from medvistagym_core.trajectories import TrajectoryWriter

WINDOW = ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
CROP = ToolCall(name="crop", arguments={"image": 1, "box": [0, 0, 500, 500]})
MEASURE = ToolCall(name="measure", arguments={"image": 0})
WRONG = ToolCall(name="crop", arguments={"image": 9, "box": [0, 0, 500, 500]})
NOISE = ToolCall(name="noise", arguments={"image": 0})
OF_NOISE = ToolCall(name="measure", arguments={"image": 1})
ANSWER = "<answer>upper left</answer>"


@tool
def measure(image: Image) -> dict[str, float]:
    """Measure an image.

    Args:
        image: The image.
    """
    return {"mean": float(image.pixels.mean()), "ignored": 0}


@tool(deterministic=False)
def noise(image: Image) -> Image:
    """Add noise.

    Args:
        image: The image.
    """
    return image.with_pixels(image.pixels + np.random.default_rng().normal(size=image.shape))


def test_what_ran_runs_alike(world, file):
    registry, write = world
    write([[WINDOW], [CROP], [MEASURE], [WRONG]], [[MEASURE]], [])
    report = replayed(registry, file)
    assert report.same
    assert (report.episodes, report.calls, report.exact, report.loose, report.skipped) == (3, 5, 5, 0, 0)
    assert report.differences == report.lock == ()


def test_every_episode_is_played_in_batches(world, file):
    registry, write = world
    write(*[[[WINDOW], [CROP]]] * 150)
    assert replayed(registry, file).exact == 300


def test_tools_that_may_vary_need_only_succeed_alike_and_so_does_what_is_made_of_them(world, file):
    registry, write = world
    write([[NOISE], [OF_NOISE], [MEASURE], [ToolCall(name="broken", arguments={"image": 0})]])
    report = replayed(registry, file)
    assert report.same
    assert (report.exact, report.loose) == (1, 3)


def test_calls_that_never_ran_are_not_made_again(world, file):
    registry, write = world
    write([[WINDOW], [WINDOW], [MEASURE]], limits=Limits(max_calls=2))
    report = replayed(registry, file)
    assert report.same
    assert (report.exact, report.skipped) == (2, 1)


def test_an_episode_that_was_stopped_in_a_turn_replays(world, file, task):
    registry, _ = world
    toolbox = registry.toolbox()
    episode = Episode.from_task(task, "test", 0, toolbox)
    episode.submit_turn(TextProtocol().format_turn(None, [WINDOW]))
    with TrajectoryWriter(file, toolbox) as writer:
        writer.write(episode.to_trajectory(), episode.rendered_images())
    report = replayed(registry, file)
    assert report.same
    assert report.skipped == 1


def test_another_kernel_under_the_same_schema_is_found_out(world, file):
    registry, write = world
    write([[WINDOW], [CROP]], [[MEASURE]])
    registry.add_tool(tool(_other_window()))
    report = replayed(registry, file)
    assert not report.same
    (difference, follows) = report.differences
    assert (difference.what, difference.tool, difference.turn, difference.call) == ("image", "window", 0, 0)
    assert "window_center 1.0" in difference.recorded
    assert "window_center 2.0" in difference.replayed
    assert follows.tool == "crop"
    assert difference.episode in str(difference)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("text", lambda call: call.update(text="mean: 7")),
        ("data", lambda call: call.update(data='{"mean":7.0}')),
        ("error", lambda call: call.update(error={"code": "tool_failed", "message": "measure failed."})),
        ("images", lambda call: call.update(handles=[1])),
    ],
)
def test_a_result_that_was_changed_is_found(world, file, what, change):
    registry, write = world
    write([[MEASURE], [WINDOW]])
    rewrite(file, lambda record: change(record["turns"][0]["calls"][0]))
    report = replayed(registry, file)
    assert report.differences[0].what == what
    assert report.differences[0].tool == "measure"


@pytest.mark.parametrize(
    ("written", "same"), [('{"ignored":0,"mean":MEAN}', True), ('{"mean":MEAN,"ignored":0.0}', False)]
)
def test_the_order_of_facts_says_nothing_and_their_kind_does(world, file, written, same):
    registry, write = world
    write([[MEASURE]])

    def change(record):
        call = record["turns"][0]["calls"][0]
        call.update(data=written.replace("MEAN", repr(json.loads(call["data"])["mean"])))

    rewrite(file, change)
    assert replayed(registry, file).same is same


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(index=2),
        lambda record: record["images"][0].update(digest="0" * 64),
        lambda record: record["outcome"].update(expected="nowhere"),
        lambda record: record["opening"][-1].update(text="What is this?"),
        lambda record: record.update(split="nowhere"),
    ],
)
def test_a_case_that_is_another_one_is_found(world, file, change):
    registry, write = world
    write([[WINDOW]])
    rewrite(file, change)
    assert replayed(registry, file).differences[0].what == "case"


def test_a_line_of_another_toolbox_is_found(world, file):
    registry, write = world
    write([[WINDOW]])
    rewrite(file, lambda record: record.update(toolbox="1" * 64))
    assert [d.what for d in replayed(registry, file).differences] == ["lock"]


def test_pictures_that_are_missing_broken_or_exchanged_are_found(world, file):
    registry, write = world
    write([[WINDOW], [CROP]])
    pictures = sorted((file.parent / "images").iterdir())
    assert len(pictures) == 3
    pictures[0].unlink()
    pictures[1].write_bytes(b"no picture")
    PIL.Image.new("L", (4, 4)).save(pictures[2])
    found = [d for d in replayed(registry, file).differences if d.what == "picture"]
    assert sorted(d.recorded for d in found) == [path.stem for path in pictures]
    assert {"missing", "broken"} < {d.replayed for d in found}


def test_other_tools_stop_it_unless_forced(world, file):
    registry, write = world
    write([[WINDOW], [MEASURE]])
    other = Registry()
    for found in registry.tools.values():
        if found.name != "window":
            other.add_tool(found)
    for task in registry.tasks.values():
        other.add_task(task)
    report = replayed(other, file)
    assert not report.same
    assert not report.replayed
    assert report.lock == ("window is missing",)
    forced = replayed(other, file, force=True)
    assert forced.replayed
    assert [(d.what, d.tool) for d in forced.differences if d.tool] == [("error", "window"), ("images", "window")]
    assert forced.skipped == 1


def test_a_task_that_is_not_there_is_said(world, file):
    registry, write = world
    write([[WINDOW]])
    rewrite(file, lambda record: record.update(task="elsewhere"))
    with pytest.raises(SelectionError, match="elsewhere"):
        replayed(registry, file)


# -- the command


def test_the_command_says_same_differs_and_misused(world, file, capsys, monkeypatch):
    registry, write = world
    monkeypatch.setattr(Registry, "discover", lambda allow=None: registry)
    write([[WINDOW], [MEASURE]])
    assert cli.main(["replay", str(file)]) == 0
    assert "1 episodes, 2 calls: 2 compared bit for bit" in capsys.readouterr().out
    rewrite(file, lambda record: record["turns"][1]["calls"][0].update(text="mean: 7"))
    assert cli.main(["replay", str(file)]) == 1
    assert "turn 1, call 0 (measure): text was 'mean: 7'" in capsys.readouterr().out
    assert cli.main(["replay", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["same"] is False
    assert found["differences"][0]["what"] == "text"
    for misuse in ([str(file.parent / "none.jsonl")], [str(file.with_suffix(".lock.json"))], []):
        assert cli.main(["replay", *misuse]) == 2
    assert cli.main(["replay", str(file.parent)]) == 2
    assert "is a folder; name one trajectory file in it" in capsys.readouterr().err
    file.write_text("no json\n")
    assert cli.main(["replay", str(file)]) == 1
    assert "line 1" in capsys.readouterr().err


def test_the_command_stops_at_other_tools(world, file, capsys, monkeypatch):
    registry, write = world
    write([[WINDOW]])
    registry.add_tool(tool(_other_window("Show it.")))
    monkeypatch.setattr(Registry, "discover", lambda allow=None: registry)
    assert cli.main(["replay", str(file)]) == 1
    said = capsys.readouterr()
    assert "window has another schema or description" in said.out
    assert "--force" in said.err
    assert cli.main(["replay", str(file), "--force"]) == 1
    assert "window_center" in capsys.readouterr().out


# -- the world


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run" / "test.jsonl"


@pytest.fixture
def world(task, toolbox, file):
    """A registry of toy tools, and a writer of episodes: each a list of turns, each turn a list of calls."""
    registry = Registry()
    for found in (*toolbox.values(), measure, noise):
        registry.add_tool(found)
    registry.add_task(task)

    def write(*episodes, **changes):
        toolbox = registry.toolbox()
        with LocalExecutor(toolbox, workers=2) as executor, TrajectoryWriter(file, toolbox) as writer:
            for sample, turns in enumerate(episodes):
                episode = Episode.from_task(task, "test", 0, toolbox, sample=sample, view_side=16, **changes)
                for said in (*[TextProtocol().format_turn(None, calls) for calls in turns], ANSWER):
                    step_episodes(executor, [episode], [said])
                writer.write(episode.to_trajectory(), episode.rendered_images())

    return registry, write


def replayed(registry, file, **options):
    return verify(file, registry, lambda toolbox: LocalExecutor(toolbox, workers=2, cache_bytes=0), **options)


def rewrite(file, change):
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for record in records:
        change(record)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def _other_window(summary="Show an image with another window."):
    from typing import Annotated

    from pydantic import Field

    def window(image: Image, center: float, width: Annotated[float, Field(ge=1)]) -> Image:
        return image.with_window(Window(center + 1, width))

    window.__doc__ = f"""{summary}

    Args:
        image: The image.
        center: Value shown as mid-grey.
        width: Range of values shown.
    """
    return window
