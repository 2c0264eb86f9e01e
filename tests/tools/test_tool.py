"""The tool protocol: definition, schema, validation, running."""

import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import make_dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from medvistagym_core import Box, Image, ToolDefinitionError, ToolError, ToolResult, Window, tool


@tool(modalities=["CT"])
def shade(
    image: Image,
    preset: Literal["lung", "bone"] | None = None,
    width: Annotated[float, Field(gt=0, le=4000)] = 400.0,
    box: Box | None = None,
    steps: list[int] | None = None,
) -> Image:
    """Show the image otherwise.

    Use it when the greys hide what is asked.

    Args:
        image: The image to show.
        preset: What to show it for.
        width: Range of values.
        box: Where.
        steps: Steps, in order.
    """
    return image.with_window(Window(40, width))


@tool
class Remember:
    """Count how often it was set up."""

    setups = 0

    def setup(self, device: str) -> None:
        time.sleep(0.01)
        type(self).setups += 1

    def run(self, image: Image) -> str:
        """Count how often it was set up.

        Args:
            image: Any image.
        """
        return str(self.setups)


def image():
    return Image(pixels=np.arange(16, dtype=np.int16).reshape(4, 4), unit="HU")


def test_the_schema_says_all_that_the_signature_says():
    schema = shade.spec.parameters
    assert schema["required"] == ["image"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["image"] == {"type": "integer", "minimum": 0, "description": "The image to show."}
    assert properties["preset"] == {"type": "string", "enum": ["lung", "bone"], "description": "What to show it for."}
    assert properties["width"] == {
        "type": "number", "exclusiveMinimum": 0, "maximum": 4000, "default": 400.0, "description": "Range of values.",
    }  # fmt: skip
    assert shade.spec.description == "Show the image otherwise. Use it when the greys hide what is asked."
    assert shade.spec.returns == ("image",)
    assert shade.spec.modalities == ("CT",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "the argument image is missing"),
        ({"image": -1}, "greater than or equal to 0"),
        ({"image": True}, "integer"),
        ({"image": 0, "widht": 3}, "no argument widht; did you mean width?"),
        ({"image": 0, "preset": "lungs"}, "did you mean lung?"),
        ({"image": None}, "image must be a valid integer, got null; images are named by their numbers"),
        ({"image": "image_0"}, "images are named by their numbers, such as 0"),
        ({"image": 0, "bbox": [0, 0, 9, 9]}, "no argument bbox; did you mean box?"),
        ({"image": 0, "colour": "red"}, "it takes image, preset, width, box, steps, and nothing else"),
        ({"image": 0, "box": [0.1, 0.1, 0.5, 0.5]}, "integers on the grid of 0 to 1000"),
        ({"image": 0, "width": "wide"}, 'got "wide"'),
        ({"image": 0, "width": [400]}, "got [400]"),
        ({"image": 0, "steps": 3}, "got 3"),
        ({"image": 0, "width": 0}, "greater than 0"),
        ({"image": 0, "width": float("nan")}, "finite"),
        ({"image": 0, "box": [0, 0, 2000, 10]}, "less than or equal to 1000"),
        ({"image": 0, "box": [9, 0, 3, 10]}, "x0 < x1"),
        ({"image": 0, "box": object()}, "not JSON"),
    ],
)
def test_bad_arguments_are_explained_in_one_sentence(arguments, said):
    with pytest.raises(ToolError) as caught:
        shade.validate(arguments)
    assert caught.value.code == "bad_arguments"
    assert said in caught.value.message
    assert "shade" in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_wrong_within_an_argument_is_said_of_its_part():
    class Point(BaseModel, extra="forbid"):
        x: int

    @tool
    def move(points: list[Point]) -> str:
        """Move.

        Args:
            points: Where.
        """
        return "moved"

    for sent, said in (({}, "move: points.0.x is missing."), ({"x": 1, "y": 2}, "move: points.0.y does not exist.")):
        with pytest.raises(ToolError) as raised:
            move.validate({"points": [sent]})
        assert raised.value.message == said


def test_valid_arguments_come_back_with_defaults():
    assert shade.validate({"image": 2, "box": [0, 0, 10, 10]}) == {
        "image": 2, "preset": None, "width": 400.0, "box": Box(0, 0, 10, 10), "steps": None,
    }  # fmt: skip


def test_a_tool_still_is_its_function():
    assert shade(image(), width=80).window == Window(40, 80)


@pytest.mark.parametrize(
    ("value", "images", "text", "data"),
    [
        (image(), 1, "", None),
        ("seen", 0, "seen", None),
        (2.5, 0, "2.5", {"value": 2.5}),
        ({"mean": 3}, 0, '{"mean": 3}', {"mean": 3}),
        ([image(), "two", image()], 2, "two", None),
        ({"name": "Größe 肺"}, 0, '{"name": "Größe 肺"}', {"name": "Größe 肺"}),
        ([1, 2.5], 0, '{"values": [1, 2.5]}', {"values": [1, 2.5]}),
        (({"mean": 3}, 2), 0, '{"mean": 3, "value": 2}', {"mean": 3, "value": 2}),
        ([{"mean": 3}, "seen", {"mean": 4}], 0, "seen", {"values": [{"mean": 3}, {"mean": 4}]}),
        ([np.float32(1), np.int64(2)], 0, '{"values": [1.0, 2]}', {"values": [1.0, 2]}),
    ],
)
def test_results_are_normalised(value, images, text, data):
    @tool
    def give(image: Image) -> object:
        """Give.

        Args:
            image: Any.
        """
        return value

    result = give.run({"image": image()})
    assert result.ok
    assert (len(result.images), result.text, result.data) == (images, text, data)


def test_pydantic_models_are_results_too():
    class Size(BaseModel):
        mm: float

    @tool
    def size(image: Image) -> Size:
        """Size.

        Args:
            image: Any.
        """
        return Size(mm=3)

    assert size.run({"image": image()}).data == {"mm": 3.0}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("the box is empty"), "bad_value", "the box is empty"),
        (RuntimeError("no\nsecond line"), "tool_failed", "RuntimeError: no."),
        (ToolError("timeout", "Too slow."), "timeout", "Too slow."),
    ],
)
def test_failures_become_typed_errors(error, code, said):
    @tool
    def fail(image: Image) -> str:
        """Fail.

        Args:
            image: Any.
        """
        raise error

    result = fail.run({"image": image()})
    assert result.error is not None
    assert result.error.code == code
    assert said in result.error.message


@pytest.mark.parametrize("rubbish", [object(), None, [], {"a": object()}, [1, object()]])
def test_rubbish_is_the_tools_fault(rubbish):
    @tool
    def lie(image: Image) -> Image:
        """Lie.

        Args:
            image: Any.
        """
        return rubbish

    result = lie.run({"image": image()})
    assert result.error is not None
    assert result.error.code == "tool_failed"
    assert "lie" in result.error.message


def test_state_is_set_up_once_and_only_when_run():
    assert Remember.name == "remember"
    copy = Remember.with_metadata(plugin="other")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda t: t.run({"image": image()}), [Remember, copy] * 8))
    assert {r.text for r in results} == {"1"}


def test_a_batch_that_fails_costs_only_the_call_at_fault():
    @tool
    def half(image: Image, value: int) -> str:
        """Half.

        Args:
            image: Any.
            value: Any.
        """
        if value < 0:
            raise ValueError("negative")
        return str(value)

    sizes = []

    @half.batch
    def kernel(calls):
        sizes.append(len(calls))
        if any(call["value"] < 0 for call in calls):
            raise RuntimeError
        return [str(call["value"]) for call in calls]

    calls = [{"image": image(), "value": v} for v in (1, 2, 3)]
    assert [r.text for r in half.run_batch(calls)] == ["1", "2", "3"]
    assert sizes == [3]
    mixed = half.run_batch([{"image": image(), "value": v} for v in (1, -2)])
    assert [r.ok for r in mixed] == [True, False]


def test_a_batch_with_too_few_results_is_an_error():
    @tool
    def short(image: Image) -> str:
        """Short.

        Args:
            image: Any.
        """
        return "x"

    short.batch(lambda calls: ["x"])
    assert [r.ok for r in short.run_batch([{"image": image()}] * 3)] == [False] * 3


class OutOfMemoryError(RuntimeError):
    """As torch.OutOfMemoryError, which is a RuntimeError too."""


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("CUDA"), RuntimeError("CUDA error: out of memory"), MemoryError("Unable to allocate")]
)
def test_a_batch_that_exhausts_memory_is_run_in_halves(error):
    sizes = []

    @tool
    def heavy(image: Image, weight: int) -> str:
        """Weigh.

        Args:
            image: Any.
            weight: How heavy.
        """
        sizes.append(1)
        if weight > 9:
            raise error
        return str(weight)

    @heavy.batch
    def kernel(calls):
        sizes.append(len(calls))
        if len(calls) > 3:
            raise error
        return [str(call["weight"]) for call in calls]

    results = heavy.run_batch([{"image": image(), "weight": w} for w in range(10)])
    assert [r.text for r in results] == [str(w) for w in range(10)]
    assert sizes == [10, 5, 2, 3, 5, 2, 3]
    alone = heavy.run({"image": image(), "weight": 10})
    assert alone.error is not None
    assert alone.error.code == "tool_failed"
    assert "heavy ran out of memory" in alone.error.message


@pytest.mark.parametrize("error", [RuntimeError("no memory of it"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_exhausted_memory(error):
    @tool
    def fail(image: Image) -> str:
        """Fail.

        Args:
            image: Any.
        """
        raise error

    result = fail.run({"image": image()})
    assert result.error is not None
    assert "ran out of memory" not in result.error.message


def told(validate, arguments):
    try:
        return repr(validate(arguments))
    except ToolError as error:
        return str(error)


class Study(BaseModel):
    name: str
    images: list[Image]


def make(source):
    scope = {
        "tool": tool,
        "Image": Image,
        "Box": Box,
        "Annotated": Annotated,
        "Callable": Callable,
        "Field": Field,
        "Study": Study,
    }
    exec(source, scope)


def test_a_type_that_many_fields_are_of_is_looked_into_once() -> None:
    """From the outermost of these types 2 ** 40 ways lead to the image."""
    kind: type = Image
    for _ in range(40):
        kind = make_dataclass("Pair", [("left", kind), ("right", kind)])

    def look(pair: object) -> str:
        """Look.

        Args:
            pair: Two of a kind.
        """
        return str(pair)

    look.__annotations__["pair"] = kind
    with pytest.raises(ToolDefinitionError, match="pair of the tool look holds images in another way"):
        tool(look)


F = '@tool\ndef t({}):\n    """T.\n\n    Args:\n        f: F.\n    """'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@tool\ndef f(image: Image): pass", "docstring"),
        ('@tool\ndef f(image: Image):\n    """F."""', "image of the tool f is not described"),
        ('@tool\ndef f(image):\n    """F.\n\n    Args:\n        image: I.\n    """', "type annotation"),
        ('@tool\ndef f(*images: Image):\n    """F."""', "without \\* or /"),
        ('@tool\ndef F1(image: Image):\n    """F.\n\n    Args:\n        image: I.\n        other: O.\n    """', "describes other"),  # noqa: E501
        ('@tool(name="Not-A-Name")\ndef f():\n    """F."""', "tool name"),
        ('@tool\nclass F:\n    """F."""', "method run"),
        ('@tool\ndef f(x: "Missing"):\n    """F."""', "cannot be resolved"),
        ('@tool\ndef f(x: object):\n    """F.\n\n    Args:\n        x: X.\n    """\n@tool\ndef g(x: type(lambda: 0)):\n    """G.\n\n    Args:\n        x: X.\n    """', "JSON form"),  # noqa: E501
        (F.format("f: Callable[[int], int]"), "type without JSON form: .*Callable"),
        (F.format("f: tuple[Image, Image]"), "f of the tool t holds images in another way than as Image or list"),
        (F.format("f: dict[str, Image] | None = None"), "f of the tool t holds images in another way"),
        (F.format("f: int = 'seven'"), "default of the argument f of the tool t .* valid integer, and it is 'seven'"),
        (F.format("f: Annotated[int, Field(ge=1)] = 0"), "greater than or equal to 1, and it is 0"),
        (F.format("f: list[int] = ['a']"), "default of the argument f"),
        (F.format("f: Box = (0, 0, 0, 9)"), "a box is"),
        (F.format("f: float = float('inf')"), "a finite number, and it is inf"),
        (F.format("f: Annotated[list[Image], Field(min_length=1)] = []"), "at least 1 item"),
        (F.format("f: dict[str, int] = {'a': 'b'}"), "default of the argument f"),
        (F.format("f: Annotated[int, Field(min_length=1)]"), "f of the tool t has the bound min_length, which does not fit"),
        (F.format("f: Annotated[list[Image], Field(ge=1)]"), "f of the tool t has the bound ge, which does not fit"),
        (F.format("f: Study"), "f of the tool t holds images in another way"),
        ('@tool\nclass F:\n    """F."""\n    def run(): pass', "run of the tool f needs self as its first argument"),
        (F.format("f: int = Field(3, ge=2)"), "write f: Annotated\\[..., Field\\(...\\)\\] = DEFAULT"),
        (F.format("f: int").replace("def", "async def"), "define it with def"),
        (F.format("f: int").replace("@tool", "@tool(timeout_s='5')"), "above 0, or None for no limit, not '5'"),
        (F.format("f: int").replace("@tool", "@tool(timeout_s=-1)"), "above 0, or None for no limit, not -1"),
        (F.format("f: int").replace("@tool", "@tool(modalities='CT')"), "must be a list, such as \\['CT'\\]"),
    ],
)  # fmt: skip
def test_definition_errors_say_what_to_mend(source, said):
    with pytest.raises(ToolDefinitionError, match=said):
        make(source)


def test_a_tool_survives_pickling_with_its_identity():
    there = pickle.loads(pickle.dumps(shade.with_metadata(plugin="p", version="3")))
    assert (there.id, there.spec.version) == ("p:shade", "3")
    assert there.run({"image": image(), "width": 80}).ok


def test_result_is_ok_unless_it_has_an_error():
    assert ToolResult(text="x").ok
    assert not ToolResult(error=ToolError("timeout", "late")).ok


@pytest.mark.parametrize(
    "argument",
    [
        "f: int = None", "f: float = 3", "f: Annotated[list[int], Field(max_length=2)] = (1, 2)", "f: list[Image] = []",
        "f: Box = Box(0, 0, 9, 9)", "f: dict[str, float] = {'a': 1}", "f: set[int] = {1}",
        "f: Annotated[str, Field(pattern='^a')] = 'ab'", "f: Annotated[int, Field(multiple_of=2)] = 4",
    ],
)  # fmt: skip
def test_a_default_may_be_whatever_a_call_may_say(argument):
    make(F.format(argument))


def test_defaults_of_numpy_are_told():
    both = np.arange(2)

    @tool
    def scale(factor: float = np.float32(0.5), steps: int = np.int64(3), ends: list[int] = both) -> str:
        """Scale.

        Args:
            factor: Any.
            steps: Any.
            ends: Any.
        """
        return f"{factor} {steps} {ends}"

    plain = {"factor": 0.5, "steps": 3, "ends": [0, 1]}
    assert {name: told["default"] for name, told in scale.spec.parameters["properties"].items()} == plain
    assert scale.validate({}) == plain


def test_a_list_of_images_may_be_bounded():
    @tool
    def compare(images: Annotated[list[Image], Field(min_length=2)] | None = None) -> str:
        """Compare images.

        Args:
            images: Two or more.
        """
        return "alike"

    assert compare.spec.parameters["properties"]["images"]["minItems"] == 2
    with pytest.raises(ToolError, match="images should have at least 2 items"):
        compare.validate({"images": [0]})
    assert compare.validate({"images": [0, 1]}) == {"images": [0, 1]}
    assert compare.validate({}) == {"images": None}


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_the_method_run_may_need_no_instance(kind):
    def run(number: int) -> str:
        return str(number)

    def run_of_class(cls: type, number: int) -> str:
        return str(number)

    method = kind(run if kind is staticmethod else run_of_class)
    tell = tool(type("Tell", (), {"run": method, "__doc__": "Tell.\n\nArgs:\n    number: Any."}))
    assert list(tell.spec.parameters["properties"]) == ["number"]
    assert tell.run({"number": 3}).text == "3"


def test_an_argument_may_be_called_self():
    @tool
    def echo(self: int) -> str:
        """Echo.

        Args:
            self: A number.
        """
        return str(self)

    assert echo.run({"self": 3}).text == "3"
