"""What stands on the command line and what a tool gets: numbers below zero, points, and lists of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import main

TOOLS = '''
from typing import Annotated

from pydantic import Field

from medvistagym_core import Image, tool

Point = Annotated[list[Annotated[int, Field(ge=0, le=1000)]], Field(min_length=2, max_length=2)]


@tool
def repeat(
    image: Image,
    above: float | None = None,
    steps: list[float] | None = None,
    start: Point | None = None,
    points: Annotated[list[Point], Field(min_length=3, max_length=5)] | None = None,
    loud: bool = False,
    marks: list[dict[str, int]] | None = None,
) -> str:
    """Say what was given.

    Args:
        image: The image.
        above: A number.
        steps: Several numbers.
        start: A point.
        points: Corners.
        loud: Whether to shout.
        marks: Objects.
    """
    return repr([above, steps, start, points, loud]) if marks is None else repr(marks)


@tool
def count(first: Image, others: list[Image]) -> str:
    """Count images.

    Args:
        first: An image.
        others: Images.
    """
    return str(1 + len(others))
'''
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    (tmp_path / "my_tools.py").write_text(TOOLS, "utf-8")
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "-3.png")
    files = ["--image", str(tmp_path / "-3.png"), "--tools-from", str(tmp_path / "my_tools.py")]

    def command(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(["tools", "call", "repeat", *argv, *files]), *capsys.readouterr()

    return command


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3.0), ("-300.5", -300.5), ("-3e2", -300.0), ("-3E+2", -300.0), ("-3.5e-2", -0.035), ("-.5", -0.5),
        ("-.5e1", -5.0), ("-0", -0.0), ("3e2", 300.0), ("+3e2", 300.0), ("1e-3", 0.001),
    ],
)  # fmt: skip
def test_a_negative_number_is_a_value_however_it_is_written(call: Call, text: str, value: float) -> None:
    for argv in (["--above", text], [f"--above={text}"]):
        assert call(*argv)[:2] == (0, f"{[value, None, None, None, False]!r}\n")


def test_lists_may_begin_with_a_negative_number(call: Call) -> None:
    assert call("--steps", "-1e1,2,-3")[1] == f"{[None, [-10.0, 2.0, -3.0], None, None, False]!r}\n"


def test_the_flag_of_a_list_may_be_given_again(call: Call) -> None:
    assert call("--steps", "1", "2", "--steps=3,4")[1] == f"{[None, [1.0, 2.0, 3.0, 4.0], None, None, False]!r}\n"
    corners = ["--points", "0,10", "--points", "900,0", "--points", "[[5, 5]]"]
    assert call(*corners)[1] == f"{[None, None, None, [[0, 10], [900, 0], [5, 5]], False]!r}\n"
    assert call("--marks", '{"x": 1, "y": 2}', "--marks", '{"x": 3}')[1] == "[{'x': 1, 'y': 2}, {'x': 3}]\n"
    code, _, err = call("--start", "1,2", "--start", "3,4")
    assert code == 2
    assert "repeat: start should have at most 2 items" in err
    assert "steps.0 must be a valid number" in call("--steps", "x", "--steps", "1")[2]


def test_the_flag_of_an_image_may_be_given_again(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = str(tmp_path / "-3.png")
    argv = ["tools", "call", "count", "--tools-from", str(tmp_path / "my_tools.py"), "--first", picture]
    assert main([*argv, "--others", picture, picture, "--others", picture]) == 0
    assert capsys.readouterr().out == "4\n"
    assert main([*argv, "--first", picture, "--others", picture]) == 2
    assert "first of count is one image, and its files hold 2" in capsys.readouterr().err


def test_what_is_no_number_is_an_option_still(call: Call) -> None:
    for argv, said in (
        (["--above", "--loud"], "argument --above: expected one argument"),
        (["--above", "-x"], "argument --above: expected one argument"),
        (["--nosuch", "-3e2"], "unrecognized arguments: --nosuch=-3e2"),
    ):
        code, _, err = call(*argv)
        assert code == 2
        assert said in err
    code, _, err = call("--above", "-inf")
    assert code == 2
    assert "repeat: above must be a" in err
    assert call("--loud", "--above", "-2e0")[1] == f"{[-2.0, None, None, None, True]!r}\n"


def test_numbers_of_the_commands_own_options_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["sample", "--task", "scoutvqa", "--policy", "random", "--out", str(tmp_path / "run")]
    assert main([*argv, "--first", "-3"]) == 2
    assert "--first must be at least 0, not -3" in capsys.readouterr().err
    assert main([*argv, "--temperature", "-1e0"]) == 2
    assert "--temperature is for a model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "[[0, 10], [900, 0], [5, 5]]",
        "0,10 900,0 5,5",
        "0,10;900,0;5,5",
        " 0,  10 ; 900 , 0 ; 5, 5 ;",
        "0, 10 900, 0 5, 5",
    ],
)
def test_corners_are_written_as_json_or_as_pairs(call: Call, text: str) -> None:
    assert call("--points", text)[:2] == (0, f"{[None, None, None, [[0, 10], [900, 0], [5, 5]], False]!r}\n")


@pytest.mark.parametrize(
    "text", ["0,0", "0,0,5,5,9,9", "x", "0,0 5,5", "[[0, 0], [5, 5], [5]]", "[1, 2]", "", "0,0 5,5 9"]
)
def test_other_corners_are_refused_with_what_to_write(call: Call, text: str) -> None:
    code, out, err = call(f"--points={text}")
    assert (code, out) == (2, "")
    assert err.startswith("medvistagym: repeat: points")
    assert err.endswith(" Give [x, y] pairs, such as --points '100,100 900,100 500,900'.\n")
    assert call("--points", err.split("'")[-2])[0] == 0


def test_another_point_is_refused_with_what_to_write(call: Call) -> None:
    assert call("--start", "100,900")[0] == 0
    for text in ("3", "1,2,3", "x,y", "1001,0"):
        code, _, err = call("--start", text)
        assert code == 2
        assert err.endswith(" Give [x, y], such as --start 100,900.\n")
    assert "such as" not in call("--loud", "perhaps")[2]


def test_the_flags_say_how_points_are_written(call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    call()
    code = main(["tools", "call", "repeat", "--help", "--tools-from", str(tmp_path / "my_tools.py")])
    said = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "--points 'X,Y X,Y ...'" in said
    assert "--start X,Y " in said
    assert "--steps VALUE,..." in said


def test_json_arguments_are_complained_of_in_the_same_words(call: Call) -> None:
    code, out, err = call("--json", "--arguments", '{"points": [[1, 2]]}')
    assert code == 2
    assert "Give [x, y] pairs" in err
    assert json.loads(out)["error"]["code"] == "bad_arguments"
