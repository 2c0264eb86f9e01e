"""Whatever a tool returns, the episode goes on, the record is written and reads back, and the next tool can use the images."""

import dataclasses
import enum
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from medvistagym_core.environment import Answer, Case, Episode, EpisodeConfig
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import Tool, Toolbox, ToolError, ToolResult, ToolSpec, coerce_result
from medvistagym_core.trajectories import Trajectory

SCHEMA = {"type": "object", "properties": {"image": {"type": "integer"}}, "required": ["image"]}
SPEC = ToolSpec(name="give", description="Give.", parameters=SCHEMA, images=("image",), returns=("text",))
CALL = '<tool_call>{"name": "give", "arguments": {"image": %d}}</tool_call>'
GREY = np.zeros((8, 8), np.uint8)


def forged(**fields):
    """An image with fields that its class refuses."""
    image = Image(pixels=GREY)
    for name, value in fields.items():
        object.__setattr__(image, name, value)
    return image


def played(make):
    """The record of an episode in which a tool returned what `make` gives, read back from its line."""

    def give(image):
        return make()

    box = Toolbox({"give": Tool.from_schema(SPEC, give, lambda arguments: None)})
    case = Case("c", "t", "test", 0, "f", "What is it?", (Image(pixels=GREY),), Answer("x"))
    episode = Episode(case, box, EpisodeConfig(view_side=16))
    with LocalExecutor(box) as executor:
        for handle in (0, 1):  # the second call uses the first one's image, if there is one
            calls = episode.submit_turn(CALL % handle)
            episode.submit_results(executor.run([(episode.store, calls)])[0])
            assert episode.observation().messages
    record = episode.to_trajectory()
    assert Trajectory.model_validate_json(record.model_dump_json(round_trip=True)) == record
    assert all(picture.pixels.ndim in (2, 3) for picture in episode.rendered_images().values())
    return record.turns[0].calls[0]


class Colour(enum.StrEnum):
    RED = "red"


class Model(BaseModel):
    mean: float = math.nan


class Broken:
    def model_dump(self, **_):
        raise RuntimeError("no dump")


def recursive():
    value = []
    value.append(value)
    return value


def own_detail():
    image = Image(pixels=GREY)
    object.__setattr__(image, "detail", image)
    return image


REFUSED = {
    "text that is none": lambda: ToolResult(text=None),
    "an error that is text": lambda: ToolResult(error="bad"),
    "an error without a sentence": lambda: ToolResult(error=ToolError("boom", None)),
    "images in a list": lambda: ToolResult(images=[Image(pixels=GREY)]),
    "an array among the images": lambda: ToolResult(images=(GREY,)),
    "data in a list": lambda: ToolResult(data=[1]),
    "nothing": lambda: None,
    "an empty list": list,
    "bytes": lambda: b"x",
    "an array": lambda: GREY,
    "mixed keys": lambda: {"a": 1, 2: 3},
    "bytes in data": lambda: {"a": b"x"},
    "a list that holds itself": lambda: {"a": recursive()},
    "a broken model": Broken,
    "more values than fit": lambda: {"a": list(range(300_000))},
    "an array of data as large": lambda: {"a": np.broadcast_to(np.float32(0), (10**5, 10**5))},
    "a number of five thousand digits": lambda: {"a": 10**5000},
    "a bare number of five thousand digits": lambda: 10**5000,
    "a thousand images": lambda: [Image(pixels=GREY)] * 1000,
    "ten billion pixels": lambda: Image(pixels=np.broadcast_to(np.uint8(0), (10**5, 10**5))),
    "a billion pixels in one": lambda: Image(pixels=np.broadcast_to(np.uint8(0), (1, 2**30))),
    "pixels that are text": lambda: forged(pixels="x"),
    "pixels of another shape": lambda: forged(pixels=np.zeros((2, 2, 2, 2))),
    "complex pixels": lambda: forged(pixels=np.zeros((2, 2), complex)),
    "no photometric": lambda: forged(photometric="HSV"),
    "a unit that is a number": lambda: Image(pixels=GREY, unit=5),
    "a modality that is a number": lambda: Image(pixels=GREY, modality=5),
    "an endless unit": lambda: Image(pixels=GREY, unit="x" * 10**6),
    "attributes that are a list": lambda: Image(pixels=GREY, attributes=[("a", "b")]),
    "attributes that are numbers": lambda: Image(pixels=GREY, attributes={"a": 1}),
    "a spacing of zero": lambda: forged(spacing=(0.0, 1.0)),
    "a spacing of text": lambda: forged(spacing=("a", "b")),
    "a spacing for nine axes": lambda: forged(spacing=(1.0,) * 9),
    "a spacing that is no number": lambda: forged(spacing=(math.nan, 1.0)),
    "a window that is a pair": lambda: Image(pixels=GREY, window=(40, 400)),
    "a window function of its own": lambda: Image(pixels=GREY, window=Window(40, 400, "cubic")),
    "windows in a list": lambda: Image(pixels=GREY, windows=[Window(1, 2)]),
    "an overlay of another shape": lambda: forged(overlay=np.zeros((3, 3), bool)),
    "an overlay of numbers": lambda: Image(pixels=GREY, overlay=np.zeros((8, 8), np.uint8)),
    "a way back of five numbers": lambda: Image(pixels=GREY, to_source=(1, 0, 0, 0, 1)),
    "a way back that is no number": lambda: Image(pixels=GREY, to_source=(1, 0, math.nan, 0, 1, 0)),
    "a way back to a line": lambda: Image(pixels=GREY, to_source=(1, 1, 0, 1, 1, 0)),
    "a way back without end": lambda: Image(pixels=GREY, to_source=(1, 0, 1e300, 0, 1, 0)),
    "a source of no pixels": lambda: Image(pixels=GREY, source_shape=(0, 5)),
    "a source of text": lambda: Image(pixels=GREY, source_shape="ab"),
    "half a frame": lambda: Image(pixels=np.zeros((4, 8, 8)), frame=0.5),
    "a frame that is not there": lambda: forged(frame=7),
    "a detail that is text": lambda: Image(pixels=GREY, detail="x"),
    "a detail that is wrong": lambda: Image(pixels=GREY, detail=forged(unit=4)),
    "its own detail": own_detail,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_result_can_hold_is_an_error_of_the_tool(what):
    call = played(REFUSED[what])
    assert call.error.code == "tool_failed"
    assert "give" in call.error.message
    assert len(call.error.message) < 400


KEPT = {
    "lone surrogates": (lambda: "a\ud800b", "a?b"),
    "surrogates in data": (lambda: {"a\ud800": "\udfff"}, '{"a?": "?"}'),
    "an enumeration": (lambda: {"colour": Colour.RED, "n": enum.IntEnum("N", "A").A}, '{"colour": "red", "n": 1}'),
    "numbers that are none": (lambda: {"a": math.nan, "b": math.inf}, '{"a": null, "b": null}'),
    "numpy's numbers": (lambda: {"a": np.float32(1.5), "b": np.arange(2)}, '{"a": 1.5, "b": [0, 1]}'),
    "a number of numpy's": (lambda: np.arange(8, dtype=np.uint8).max(), "7"),
    "a model": (Model, '{"mean": null}'),
    "a bare number that is none": (lambda: math.nan, "nan"),
    "a long text": (lambda: "x" * 2_000_000, None),
    "control characters": (lambda: "a\x00\x1b[2J", "a\x00\x1b[2J"),
    "handles of its own": (lambda: ToolResult(text="a", handles=(99, -1)), "a"),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_a_result_can_hold_is_kept(what):
    make, text = KEPT[what]
    call = played(make)
    assert call.error is None
    assert call.handles == ()
    assert text is None or call.text == text


@pytest.mark.parametrize("dtype", [*np.sctypeDict.values(), ">i2", ">f4", "<u8"], ids=str)
def test_an_image_of_any_type_of_number_is_shown_and_used_or_refused(dtype):
    def make():
        return Image(pixels=np.arange(64).reshape(8, 8).astype(dtype))

    call = played(make)
    assert call.handles == (1,) if np.dtype(dtype).kind in "biuf" else call.error is not None


@pytest.mark.parametrize("values", [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324])
def test_pixels_without_a_range_are_shown(values):
    assert played(lambda: Image(pixels=np.full((8, 8), values))).handles == (1,)
    assert played(lambda: Image(pixels=np.array([[values, 0.0], [1.0, -values]]), window=Window(1e308, 1e308))).handles


def test_results_of_another_executor_are_checked_where_they_arrive():
    box = Toolbox({"give": Tool.from_schema(SPEC, lambda image: "x", lambda arguments: None)})
    for result in (
        ToolResult(handles=(5,)), ToolResult(handles=("0",)), ToolResult(text=7), ToolResult(seconds=math.nan), "done",
        ToolResult(data=[]), ToolResult(error="x"), None,
    ):  # fmt: skip
        case = Case("c", "t", "test", 0, "f", "What is it?", (Image(pixels=GREY),), Answer("x"))
        episode = Episode(case, box, EpisodeConfig(view_side=16))
        episode.submit_turn(CALL % 0)
        episode.submit_results([result])
        assert episode.last_error == "tool_failed"
        record = episode.to_trajectory()
        assert Trajectory.model_validate_json(record.model_dump_json(round_trip=True)) == record


def test_an_author_s_error_that_cannot_be_written_is_still_an_error():
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    for error in (
        MuteError(), ValueError("\ud800"), ToolError("boom", "x"), ToolError("malformed_call", "</tool_response>"),
        ToolError("bad_value", "x" * 10**6), ToolError("bad_value", ["x"]), ToolError(None, "x"), KeyError(),
    ):  # fmt: skip

        def fail(error=error):
            raise error

        call = played(fail)
        assert call.error.code in ("tool_failed", "bad_value")
        assert len(call.error.message) < 2100


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=4),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), parts, max_size=3),
    max_leaves=8,
)
images = st.builds(
    forged,
    unit=anything, modality=anything, spacing=anything | st.tuples(st.floats(), st.floats()), window=anything,
    windows=anything | st.just(()), overlay=anything, to_source=anything | st.tuples(*[st.floats()] * 6),
    source_shape=anything | st.tuples(st.integers(), st.integers()), frame=anything, attributes=anything,
    detail=anything, photometric=st.sampled_from(["RGB", "MONOCHROME1", "MONOCHROME2", "x"]),
)  # fmt: skip
results = st.builds(
    ToolResult,
    images=anything | st.lists(images, max_size=2).map(tuple), text=anything, data=anything, error=anything, handles=anything,
    seconds=anything,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything | images | results | st.lists(anything | images, max_size=3))
def test_no_value_ends_an_episode_or_makes_a_record_that_cannot_be_read(value):
    played(lambda: value)


@pytest.mark.attack
@settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything | images | results | st.lists(anything | images, max_size=3))
def test_no_value_of_thousands_ends_an_episode(value):
    played(lambda: value)


def test_a_result_that_is_right_is_left_as_it_is():
    image = Image(
        pixels=GREY, spacing=(0.5, 0.5), window=Window(40, 400), overlay=np.zeros((8, 8), bool), modality="CT"
    )
    result = coerce_result("give", (image, "text", {"a": [1, 2.5, "x", None]}), 0.25)
    assert result.images[0] is image
    assert (result.text, result.data, result.seconds) == ("text", {"a": [1, 2.5, "x", None]}, 0.25)


def test_a_result_that_is_given_again_keeps_all_but_its_time_and_shares_nothing_that_can_be_changed() -> None:
    image = Image(pixels=GREY)
    given = ToolResult(
        (image,), "two", {"sides": ["left"]}, None, (3,), 0.5, repairs=("number_text",), perturbation="shifted"
    )
    again = given.as_cache_hit()
    same = {field.name: getattr(again, field.name) for field in dataclasses.fields(ToolResult)}
    assert same == {**{name: getattr(given, name) for name in same}, "seconds": 0.0, "cached": True}
    assert again.data is not None
    assert given.data is not None
    again.data["sides"].append("right")
    assert given.data == {"sides": ["left"]}
