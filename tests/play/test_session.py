"""What a page does: calls that go a policy's way, a model that answers, and the trajectory that is kept."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medvistagym_core.cli._play import shell_script
from medvistagym_core.imaging import Image, Window
from medvistagym_core.play import OpenedImage, PlaySession, SessionError
from medvistagym_core.play._documents import describe_session, describe_voxel
from medvistagym_core.trajectories import TrajectoryReader

BOX = [500, 0, 1000, 500]
SCAN = Image(
    pixels=np.arange(64, dtype=np.int16).reshape(8, 8),
    unit="HU",
    modality="CT",
    spacing=(0.5, 0.5),
    window=Window(32, 64),
)


class Scripted:
    """A policy that looks once and answers."""

    name = "scripted"

    def __init__(self):
        self.sampling = {"temperature": 0.0}

    def act(self, observations):
        (observation,) = observations
        self.question = observation.question
        if observation.num_turns:
            return ["<answer>upper right</answer>"]
        return [
            '<think>Look.</think><tool_call>{"name": "crop", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>'
        ]


@pytest.fixture
def session(toolbox, executor):
    session = PlaySession(toolbox, executor, policy=Scripted(), shell=shell_script)
    session.add_image(SCAN, OpenedImage(Path("scan.png"), 0, 1))
    return session


def test_a_call_makes_an_image_with_its_lineage(session):
    assert session.call("crop", {"image": 0, "box": BOX}) == 0
    session.call("window", {"image": 1, "center": 10, "width": 5})
    images = describe_session(session)["images"]
    assert [(one["handle"], one["parent"], one["made"]) for one in images] == [
        (0, None, None),
        (1, 0, (0, 0)),
        (2, 1, (1, 0)),
    ]
    assert images[1]["shape"] == [4, 4]
    assert images[2]["window"]["width"] == 5


@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("crop", {"image": 0, "box": [0, 0]}, "bad_arguments", "crop: box"),
        ("crop", {"image": 7, "box": BOX}, "bad_value", "there is no image 7; the only image is 0"),
        ("corp", {}, "unknown_tool", "did you mean crop"),
        ("broken", {"image": 0}, "tool_failed", "out of order"),
    ],
)
def test_a_call_that_fails_says_what_a_policy_would_read(session, name, arguments, code, said):
    session.call(name, arguments)
    error = describe_session(session)["turns"][0]["calls"][0]["error"]
    assert error["code"] == code
    assert said in error["message"]


def test_an_image_that_is_opened_twice_keeps_its_handle(session):
    assert session.add_image(SCAN, OpenedImage(Path("scan.png"), 0, 1)) == 0
    session.call("crop", {"image": 0, "box": BOX})
    assert session.add_image(SCAN, OpenedImage(Path("other.png"), 0, 1)) == 2


def test_the_model_takes_turns_between_those_of_a_person(session, tmp_path):
    session.call("crop", {"image": 0, "box": BOX})
    with pytest.raises(SessionError, match="ask a question first"):
        session.step()
    session.ask(" Which quadrant? ")
    assert session.step() == 1
    assert session.answered
    assert session.policy.question == "Which quadrant?"
    with pytest.raises(SessionError, match="answered"):
        session.call("crop", {"image": 0, "box": BOX})
    turns = describe_session(session)["turns"]
    assert [(turn["who"], turn["answer"]) for turn in turns] == [("person", None), ("scripted", "upper right")]
    (trajectory,) = TrajectoryReader(session.save(tmp_path, expected="upper right"))
    assert trajectory.outcome.correct
    assert trajectory.policy.name == "person and scripted"


def test_another_question_is_asked_of_the_same_images_and_calls(session):
    session.call("crop", {"image": 0, "box": BOX})
    session.ask("Which quadrant?")
    session.step()
    assert session.answered
    session.ask("And now?")
    assert [turn["answer"] for turn in describe_session(session)["turns"]] == [None]
    session.call("window", {"image": 1, "center": 10, "width": 5})
    assert session.step() == 2
    assert session.policy.question == "And now?"


def test_a_person_answers_in_the_place_of_the_model(session, tmp_path):
    session.ask("Which quadrant?")
    session.step()
    session.answer("upper left")
    (trajectory,) = TrajectoryReader(session.save(tmp_path))
    assert (trajectory.outcome.answer, trajectory.outcome.ended) == ("upper left", "answered")
    assert [turn.answer for turn in trajectory.turns] == [None, "upper left"]


def test_a_session_is_saved_as_an_episode_and_goes_on(session, tmp_path):
    with pytest.raises(SessionError, match="nothing to save"):
        session.save(tmp_path)
    session.call("crop", {"image": 0, "box": BOX})
    with pytest.raises(SessionError, match="that is no answer"):
        session.save(tmp_path, answer="</answer>")
    (first,) = TrajectoryReader(session.save(tmp_path, question="Where?", answer="there"))
    assert [block.text for block in first.opening if block.text and "Where?" in block.text]
    assert first.outcome.answer == "there"
    assert first.turns[0].calls[0].arguments == {"image": 0, "box": BOX}
    assert [image.parent for image in first.images] == [None, 0]
    assert all((tmp_path / "images" / f"{image.picture}.png").is_file() for image in first.images)
    session.call("window", {"image": 1, "center": 10, "width": 5})
    (second,) = TrajectoryReader(session.save(tmp_path))
    assert len(second.turns) == 2


def test_a_model_that_fails_is_a_sentence(session):
    session.policy.act = lambda observations: [RuntimeError("the server is gone")]
    session.ask("Which quadrant?")
    with pytest.raises(SessionError, match="scripted failed: the server is gone"):
        session.step()


def test_memory_is_bounded(toolbox, executor):
    session = PlaySession(toolbox, executor, max_bytes=SCAN.pixels.nbytes)
    session.add_image(SCAN, OpenedImage(Path("scan.png"), 0, 1))
    with pytest.raises(SessionError, match="begin anew"):
        session.add_image(SCAN.replace(frame=None, pixels=SCAN.pixels + 1), OpenedImage(Path("other.png"), 0, 1))
    session.reset()
    assert session.add_image(SCAN, OpenedImage(Path("other.png"), 0, 1)) == 0


def test_a_call_is_copied_with_the_calls_it_needs_and_no_others(session):
    session.call("crop", {"image": 0, "box": BOX})
    session.call("broken", {"image": 0})
    session.call("window", {"image": 0, "center": 1, "width": 2})
    texts = session.snippets("window", {"image": 1, "center": 10, "width": 5})
    assert texts["tool_call"] == (
        '<tool_call>{"name": "window", "arguments": {"image": 1, "center": 10, "width": 5}}</tool_call>'
    )
    assert texts["shell"] == (
        "medvistagym tools call crop scan.png --box 500,0,1000,500 --out 0-crop.npy\n"
        "medvistagym tools call window 0-crop.npy --center 10 --width 5 --out window.png\n"
    )
    assert texts["python"].splitlines() == [
        "import medvistagym_core as mv",
        "",
        "tools = mv.tools('crop,window')",
        "image_0 = mv.open('scan.png')",
        "result = tools.crop(image=image_0, box=[500, 0, 1000, 500])",
        "image_1 = result.images[0]",
        "result = tools.window(image=image_1, center=10, width=5)",
        'print(result.text or "no text")',
        "for image in result.images:",
        '    image.save("result.png")',
    ]
    assert "broken" not in texts["python"]


def test_the_program_that_is_copied_runs(tmp_path, toolbox, executor):
    dicom = pytest.importorskip("medvistagym_dicom", reason="the DICOM plugin is not installed")
    from medvistagym_core.tools import Toolbox

    SCAN.save(tmp_path / "scan.png")
    session = PlaySession(Toolbox({"zoom": dicom.zoom}), executor)
    session.add_image(SCAN, OpenedImage(tmp_path / "scan.png", 0, 1))
    (tmp_path / "it.py").write_text(session.snippets("zoom", {"image": 0, "box": BOX})["python"])
    subprocess.run([sys.executable, "it.py"], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "result.png").is_file()


def test_a_voxel_tells_its_value_and_its_place_in_the_patient():
    oriented = SCAN.replace(attributes={"direction": "1 0 0 0 1 0", "position_mm": "-10 20 5"})
    assert describe_voxel(oriented, 0, 3, 2) == {"value": 19, "mm": [-8.5, 21.0, 5.0]}
    assert describe_voxel(SCAN, 0, 7, 7) == {"value": 63, "mm": None}
    with pytest.raises(LookupError, match="no pixel"):
        describe_voxel(SCAN, 0, 8, 0)
