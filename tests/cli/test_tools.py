"""`medvistagym plugins` and `medvistagym tools`: what is listed, shown and called, and how mistakes are answered."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pydicom.data
import pytest

from medvistagym_core.cli import main
from medvistagym_core.plugins import Environment

TOOLS = '''
from typing import Annotated, Literal

from pydantic import Field

from medvistagym_core import Box, Image, tool


@tool
def shade(
    image: Image,
    box: Box,
    gain: Annotated[float, Field(gt=0)] = 1.0,
    preset: Literal["bone", "lung"] = "bone",
    flip: bool = False,
    out: int = 3,
    note_text: str | None = None,
) -> tuple[Image, str]:
    """Cut a box out of an image.

    Args:
        image: The image.
        box: Where to cut.
        gain: By how many % to brighten.
        preset: A named choice.
        flip: Whether to turn it round.
        out: Has the name of a flag of the command itself.
        note_text: Something to say.
    """
    return image.crop(*image.box_to_pixels(box)), f"{gain} {preset} {flip} {out} {note_text}"


@tool
def compare(first: Image, others: list[Image]) -> str:
    """Say how many images there are.

    Args:
        first: One image.
        others: All the rest.
    """
    return f"1 and {len(others)}"


@tool
def burst(image: Image) -> str:
    """Always fail.

    Args:
        image: The image.
    """
    raise RuntimeError("no luck")
'''


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*argv: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(part) for part in argv])
        return Said(code, *capsys.readouterr())

    return command


@pytest.fixture
def tools_file(tmp_path: Path) -> Path:
    file = tmp_path / "my_tools.py"
    file.write_text(TOOLS, "utf-8")
    return file


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    PIL.Image.fromarray(np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)).save(file)
    return file


@pytest.fixture
def call(run: Run, tools_file: Path) -> Run:
    return lambda *argv: run("tools", "call", *argv, "--tools-from", tools_file)


# -- what is printed


def test_what_a_tool_prints_is_not_what_the_command_prints(run: Run, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "talks.py").write_text(TALKS, "utf-8")
    said = run("tools", "call", "talks", picture, "--tools-from", tmp_path / "talks.py", "--json")
    assert said.json["text"] == "done"
    assert "loading weights" in said.err


TALKS = """
from medvistagym_core import Image, tool


@tool
def talks(image: Image) -> str:
    \"\"\"Say something.

    Args:
        image: Any.
    \"\"\"
    print("loading weights")
    return "done"
"""

HOSTILE = """
from medvistagym_core import Image, tool

WORDS = "a\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\rb\\u202ec"


@tool
def says(image: Image) -> tuple[str, dict]:
    \"\"\"Say something.

    Args:
        image: Any.
    \"\"\"
    return WORDS, {"words": WORDS}


@tool
def fails(image: Image) -> str:
    \"\"\"Fail.

    Args:
        image: Any.
    \"\"\"
    raise ValueError(WORDS)
"""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("name", ["says", "fails"])
def test_a_terminal_obeys_nothing_that_a_tool_says(
    run: Run, tmp_path: Path, picture: Path, name: str, more: list[str]
) -> None:
    file = tmp_path / "hostile_tools.py"
    file.write_text(HOSTILE, "utf-8")
    said = run("tools", "call", name, "--tools-from", file, "--image", picture, *more)
    assert "title" in said.out + said.err
    assert CONTROLS.search(said.out + said.err) is None
    if more and said.out:
        json.loads(said.out)


def test_a_terminal_obeys_no_name_of_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[2Jb.png"
    file.write_bytes(b"no picture")
    said = run("tools", "call", "measure", "--image", file)
    assert said.code != 0
    assert "\\x1b[2J" in said.err
    assert CONTROLS.search(said.out + said.err) is None


# -- plugins


def test_plugins_list_names_every_first_party_plugin(run: Run) -> None:
    said = run("plugins", "list", "--json")
    assert said.code == 0
    states = {report["distribution"]: report["state"] for report in said.json}
    assert (
        states.items()
        >= dict.fromkeys(["medvistagym-dicom", "medvistagym-scoutvqa", "medvistagym-trl"], "loaded").items()
    )
    assert "medvistagym-dicom" in run("plugins", "list").out


def test_the_allow_list_keeps_a_plugin_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    by_flag = run("plugins", "list", "--json", "--plugins", "dicom").json
    monkeypatch.setenv("MEDVISTAGYM_PLUGINS", "dicom")
    by_variable = run("plugins", "list", "--json").json
    assert by_flag == by_variable
    assert {report["name"] for report in by_flag if report["state"] == "loaded"} == {"dicom"}
    assert {report["plugin"] for report in run("tools", "list", "--json").json} == {"dicom"}


def test_plugins_search_prints_what_to_install(run: Run) -> None:
    said = run("plugins", "search", "window", "--modality", "CT")
    assert said.code == 0
    assert said.out.startswith("medvistagym-dicom: ")
    assert run("plugins", "search", "window", "--json").json[0]["install"] == "pip install medvistagym-dicom"
    assert run("plugins", "search", "no such thing").out == ""


# -- tools list and show


def test_tools_list_is_ordered_by_id(run: Run, tools_file: Path) -> None:
    specs = run("tools", "list", "--tools-from", tools_file, "--json").json
    ids = [f"{spec['plugin']}:{spec['name']}" for spec in specs]
    assert ids == sorted(ids)
    assert {"dicom:measure", "dicom:window", "dicom:zoom", "local:burst", "local:shade"} <= set(ids)
    assert "local:shade" in run("tools", "list", "--tools-from", tools_file).out


@pytest.mark.parametrize("dialect", ["huggingface", "openai", "anthropic", "mcp", "text"])
def test_tools_show_carries_the_same_parameters_in_every_dialect(run: Run, dialect: str) -> None:
    spec = run("tools", "show", "window", "--json").json
    shown = run("tools", "show", "window", "--format", dialect).json
    body = shown.get("function", shown)
    parameters = next(body[key] for key in ("parameters", "input_schema", "inputSchema") if key in body)
    assert parameters == spec["parameters"]
    assert body["description"] == spec["description"]


def test_tools_show_tells_a_person_the_flags(run: Run, tools_file: Path) -> None:
    said = run("tools", "show", "shade", "--tools-from", tools_file)
    assert "--note-text" in said.out
    assert "--arg-out" in said.out


# -- tools call


def test_every_argument_is_a_flag(call: Run, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut.png"
    said = call(
        "shade", "--image", picture, "--box", "0,0,500,500", "--gain", "2", "--preset", "lung", "--flip",
        "--arg-out", "7", "--note-text", "hello", "--out", target,
    )  # fmt: skip
    assert said == Said(0, "2.0 lung True 7 hello\n", said.err)
    with PIL.Image.open(target) as cut:
        assert cut.size == (32, 24)


def test_defaults_apply_to_flags_left_out(call: Run, picture: Path) -> None:
    said = call("shade", "--image", picture, "--box", "[0, 0, 500, 500]", "--json")
    assert said.json["text"] == "1.0 bone False 3 None"
    assert said.json["images"][0]["file"] is None
    assert said.json["error"] is None


def test_arguments_may_be_json(call: Run, picture: Path) -> None:
    body = json.dumps({"box": [0, 0, 10, 10], "gain": 3})
    assert call("shade", "--image", picture, "--arguments", body).out.startswith("3.0 bone")


def test_images_go_to_image_arguments_in_order(call: Run, picture: Path) -> None:
    assert call("compare", "--image", picture, picture, picture).out == "1 and 2\n"


def test_images_go_to_image_arguments_by_name(call: Run, picture: Path) -> None:
    assert call("compare", "--others", picture, picture, "--first", picture).out == "1 and 2\n"
    assert call("compare", "--first", picture, "--image", picture, picture, picture).out == "1 and 3\n"
    assert call("compare", picture, "--others", picture).out == "1 and 1\n"
    assert "others is missing" in call("compare", "--first", picture).err


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["shade", "--box", "0,0,500"], 2, "box"),
        (["shade", "--box", "0,0,500,many"], 2, "box"),
        (["shade", "--box", "500,0,0,500"], 2, "x0 < x1"),
        (["shade", "--box", "0,0,500,5000"], 2, "1000"),
        (["shade", "--box", "0,0,9,9", "--preset", "lang"], 2, "did you mean lung"),
        (["shade", "--box", "0,0,9,9", "--gain", "-1"], 2, "gain"),
        (["shade", "--box", "0,0,9,9", "--gain", "nan"], 2, "gain"),
        (["shade"], 2, "box is missing"),
        (["shade", "--arguments", "{"], 2, "not JSON"),
        (["shade", "--arguments", "[1]"], 2, "JSON object"),
        (["shade", "--box", "0,0,9,9", "--arguments", '{"bax": 1}'], 2, "did you mean box"),
        (["shade", "--no-such-flag", "1"], 2, "unrecognized arguments"),
        (["shade", "--out", "cut.xyz"], 2, "ends in one of"),
        (["shade", "--out", "no/such/folder/cut.png"], 2, "does not exist"),
        (["compare", "--out", "cut.png"], 2, "gives no image"),
        (["shad"], 2, "did you mean shade"),
        (["compare", "--frist", "a.png"], 2, "did you mean --first"),
        (["*"], 2, "must name one tool"),
        (["burst"], 1, "no luck"),
    ],
)
def test_mistakes_are_one_sentence(call: Run, picture: Path, argv: list[str], code: int, said: str) -> None:
    answer = call(*argv, *([] if argv == ["*"] else ["--image", picture]))
    assert answer.code == code
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_too_many_images_are_refused(call: Run, picture: Path) -> None:
    answer = call("shade", "--image", picture, picture, "--box", "0,0,9,9")
    assert (answer.code, "takes 1 image" in answer.err) == (2, True)


def test_a_failure_is_json_too(call: Run, picture: Path) -> None:
    assert call("burst", "--image", picture, "--json").json["error"]["code"] == "tool_failed"


@pytest.mark.parametrize("name", ["missing.png", "broken.png", "text.txt"])
def test_a_bad_file_is_named(call: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    (tmp_path / "text.txt").write_text("no image", "utf-8")
    answer = call("burst", "--image", tmp_path / name)
    assert answer.code == (2 if name == "missing.png" else 1)
    assert name in answer.err
    assert "Traceback" not in answer.err


def test_tools_from_must_define_tools(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n", "utf-8")
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module_anywhere\n", "utf-8")
    for file, said in [
        (empty, "defines no tool"),
        (broken, "no_such_module_anywhere"),
        (tmp_path, "Python file"),
        (tmp_path / "no.py", "there is no such file"),
    ]:
        answer = run("tools", "list", "--tools-from", file)
        assert answer.code == 2
        assert said in answer.err


# -- tools call on DICOM


@pytest.fixture
def scan() -> Path:
    return Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))


def test_the_first_party_tools_run_on_a_real_dicom(run: Run, scan: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.png"
    said = run("tools", "call", "window", "--image", scan, "--center", "40", "--width", "400", "--out", seen)
    assert said.code == 0, said.err
    with PIL.Image.open(seen) as view:
        assert view.mode == "L"
    corner = run("tools", "call", "zoom", "--image", scan, "--box", "0,0,500,500", "--out", seen)
    assert corner.code == 0, corner.err
    assert run("tools", "call", "measure", "--image", scan, "--box", "250,250,750,750", "--json").json["data"]


def test_a_picture_is_read_by_its_content_whatever_its_name(run: Run, picture: Path, tmp_path: Path) -> None:
    misnamed = picture.rename(tmp_path / "picture.dcm")
    said = run("tools", "call", "measure", "--image", misnamed, "--box", "0,0,1000,1000")
    assert (said.code, "max 255" in said.out) == (0, True), said


def test_what_is_no_file_is_refused_without_waiting_for_it(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, sentence in {
        "pipe.png": "it is neither a file nor a folder",
        "loop.png": "it cannot be found: Too many levels of symbolic links",
        "a" * 300 + ".png": "it cannot be found: File name too long",
    }.items():
        said = run("tools", "call", "measure", "--image", tmp_path / name, "--box", "0,0,9,9")
        assert (said.code != 0, sentence in said.err, "--debug" in said.err) == (True, True, False), said.err


def test_a_file_that_only_claims_to_be_dicom_is_not_blamed_on_a_missing_plugin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.dcm").write_text("not an image", "utf-8")
    said = run("tools", "call", "measure", "--image", tmp_path / "note.dcm", "--box", "0,0,9,9")
    assert said.code == 1
    assert "note.dcm: no loaded plugin can read it" in said.err
    assert "pip install" not in said.err


def test_without_a_reader_the_plugin_to_install_is_named(call: Run, scan: Path) -> None:
    answer = call("burst", "--image", scan, "--plugins", "trl")
    assert answer.code == 2
    assert "pip install medvistagym-dicom" in answer.err


def test_a_known_tool_that_is_not_installed_names_its_distribution(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Environment((), (), (), frozenset())
    monkeypatch.setattr("medvistagym_core.plugins._discovery.scan_environment", lambda: nothing)
    answer = run("tools", "show", "zoom")
    assert answer.code == 2
    assert "pip install medvistagym-dicom" in answer.err


# -- the command line as such


def test_every_command_has_help_with_an_example(run: Run) -> None:
    for argv in (["plugins", "list"], ["plugins", "search"], ["tools", "list"], ["tools", "show"], ["tools", "call"]):
        said = run(*argv, "--help")
        assert said.code == 0
        assert "example:\n  medvistagym " + " ".join(argv) in said.out


def test_an_unknown_command_suggests_one(run: Run) -> None:
    answer = run("tols")
    assert (answer.code, "did you mean 'tools'" in answer.err) == (2, True)
    assert run().code == 2
    assert run("--help").code == 0
    assert run("--version").out.startswith("medvistagym ")


def test_debug_shows_the_traceback_before_the_sentence(run: Run) -> None:
    said = run("tools", "show", "no_such_tool", "--debug")
    assert said.code == 2
    assert "Traceback (most recent call last)" in said.err
    assert said.err.splitlines()[-1].startswith("medvistagym: no tool matches 'no_such_tool'")


def test_debug_shows_where_a_tool_failed(call: Run, picture: Path, tools_file: Path) -> None:
    said = call("burst", picture, "--debug")
    assert said.code == 1
    assert f'File "{tools_file}", line' in said.err
    assert said.err.splitlines()[-1] == "medvistagym: burst failed with RuntimeError: no luck."
    assert "Traceback" not in call("burst", picture).err


def test_listing_tools_imports_nothing_heavy() -> None:
    program = (
        "import sys; from medvistagym_core.cli import main; main(['tools', 'list']);"
        "print([m for m in ('torch', 'transformers', 'SimpleITK', 'numpy', 'PIL', 'gymnasium', 'pydicom', 'trl')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- what was probably meant


CLASHING = '''
from medvistagym_core import Image, tool


@tool(modalities=["MG"])
def clash(
    image: Image, device: str = "d", executor: str = "e", out: str = "o", arg_out: str = "a", files: str = "f", name: str = "n"
) -> str:
    """Say what was given.

    Args:
        image: The image.
        device: A word.
        executor: A word.
        out: A word.
        arg_out: A word.
        files: A word.
        name: A word.
    """
    return f"{device} {executor} {out} {arg_out} {files} {name}"
'''


def test_arguments_named_like_the_commands_own_flags(run: Run, tmp_path: Path, picture: Path) -> None:
    file = tmp_path / "clash.py"
    file.write_text(CLASHING)
    said = run(
        "tools", "call", "clash", picture, "--tools-from", file, "--arg-device", "1", "--arg-executor", "2",
        "--device", "cpu", "--executor", "local", "--arg-arg-out", "3", "--arg-out", "4", "--files", "5", "--name", "6",
    )  # fmt: skip
    assert said.out == "1 2 3 4 5 6\n", said.err
    shown = run("tools", "call", "clash", "--help", "--tools-from", file).out
    assert "--arg-device TEXT" in shown
    assert "--device DEVICE" in shown


@pytest.mark.parametrize("name", ["device", "executor"])
def test_a_value_for_an_argument_that_the_command_takes_names_the_flag_of_the_argument(
    name: str, run: Run, tmp_path: Path, picture: Path
) -> None:
    file = tmp_path / "clash.py"
    file.write_text(CLASHING)
    said = run("tools", "call", "clash", picture, "--tools-from", file, f"--{name}", "probe")
    assert said.code == 2
    assert said.err.endswith(f". The argument {name!r} of clash is --arg-{name}\n")


OUTLINES = '''
from medvistagym_core import Box, Image, tool


@tool
def outline(image: Image, box: Box, points: list[tuple[int, int]] = [], words: list[str] = []) -> str:
    """Say what was given.

    Args:
        image: The image.
        box: A part.
        points: Corners.
        words: Words.
    """
    return f"{box.x0} {box.y0} {box.x1} {box.y1} {[list(point) for point in points]} {words}"
'''


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{0}", "--box", "0", "0", "500", "600"], "0 0 500 600 [] []"),
        (["--box", "0", "0", "500", "600", "{0}"], "0 0 500 600 [] []"),
        (["--box", "0,", "0,", "500,", "600", "--image", "{0}"], "0 0 500 600 [] []"),
        (["{0}", "--box", "0 0 500 600"], "0 0 500 600 [] []"),
        (["{0}", "--box", "0,0,9,9", "--points", "1,2", "3,4", "5,6"], "0 0 9 9 [[1, 2], [3, 4], [5, 6]] []"),
        (["{0}", "--box", "0,0,9,9", "--words", "a b,c"], "0 0 9 9 [] ['a b', 'c']"),
    ],
)
def test_numbers_of_a_list_may_stand_apart(argv: list[str], said: str, run: Run, tmp_path: Path, picture: Path) -> None:
    file = tmp_path / "outline.py"
    file.write_text(OUTLINES)
    answer = run(
        "tools", "call", "outline", "--tools-from", file, "--plugins", "none", *(part.format(picture) for part in argv)
    )
    assert answer.out == f"{said}\n", answer.err


def test_every_flag_of_the_command_is_reserved() -> None:
    from medvistagym_core.cli import build_parser
    from medvistagym_core.cli._reference import _commands
    from medvistagym_core.cli._schema_flags import RESERVED

    (call,) = (command for command in _commands(build_parser("tools")) if command.prog.endswith("call"))
    flags = {flag.removeprefix("--") for action in call._actions for flag in action.option_strings if flag[1] == "-"}
    assert flags == RESERVED


@pytest.mark.parametrize(
    "argv",
    [
        ["{0}", "{1}", "{2}"],
        ["--image", "{0}", "--image", "{1}", "{2}"],
        ["--image={0}", "--image={1}", "--image={2}"],
        ["{0}", "--json", "{1}", "--executor", "local", "{2}"],
        ["{0}", "--image", "{1}", "{2}"],
    ],
)
def test_files_may_stand_anywhere_and_flags_may_be_given_again(call: Run, picture: Path, argv: list[str]) -> None:
    files = [picture.with_name(f"{k}.png") for k in range(3)]
    for file in files:
        file.write_bytes(picture.read_bytes())
    said = call("compare", *(part.format(*files) for part in argv))
    assert said.code == 0, said.err
    assert "1 and 2" in said.out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["tools", "call", "zoom", "--bocks", "0,0,5,5"],
            "unrecognized arguments: --bocks 0,0,5,5; did you mean --box?",
        ),
        (["tools", "call", "window", "--centre=4"], "--centre=4; did you mean --center?"),
        (["tools", "list", "--plugin", "dicom"], "did you mean --plugins?"),
        (["eval", "--task", "scoutvqa", "--policy", "expert", "--temprature", "0"], "did you mean --temperature?"),
        (["tools", "call", "of_a_file", "--tool-from", "x.py"], "--tool-from is no flag, did you mean --tools-from?"),
        (["tools", "call", "of_a_plugin", "a.png", "--plugin", "x"], "--plugin is no flag, did you mean --plugins?"),
        (["tools", "show", "of_a_file", "--tool-from", "x.py"], "did you mean --tools-from?"),
        (["train", "--tool-from", "x.py"], "did you mean --tools-from?"),
        (["serve", "--imges", "a.png"], "did you mean --image?"),
        (["view", "run", "--prot", "8000"], "did you mean --port?"),
        (["score", "run", "--protcol", "strict"], "did you mean --protocol?"),
        (["eval", "--polcy", "random"], "--polcy is none of its flags, did you mean --policy?"),
        (["images", "convert", "a.png", "--ot", "b.png"], "--ot is none of its flags, did you mean --out?"),
        (["plugins", "lst"], "did you mean list?"),
        (["tools", "list", "--plugins", "dicomm"], "--plugins: there is no plugin 'dicomm'; did you mean dicom?"),
        (["plugins", "list", "--plugins", "dicom,medvistagym-trll"], "did you mean medvistagym-trl?"),
        (["tools", "list", "--plugins", "xyzzy"], "there are: dicom, files, kornia"),
    ],
)
def test_a_mistyped_flag_command_or_plugin_gets_the_nearest(run: Run, argv: list[str], said: str) -> None:
    answer = run(*argv)
    assert answer.code == 2
    assert said in answer.err


def test_help_may_stand_before_the_tool(run: Run) -> None:
    said = run("tools", "call", "--help", "window")
    assert said == run("tools", "call", "window", "--help")
    assert "--preset" in said.out


def test_images_are_no_run(run: Run, scan: Path) -> None:
    said = run("view", scan)
    assert said.code == 2
    assert f"{scan} is no trajectory file: its lines" in said.err


def test_a_plugin_that_the_variable_names_and_nobody_has_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDVISTAGYM_PLUGINS", "dicom,dicomm")
    said = run("tools", "list")
    assert said.code == 0
    assert "MEDVISTAGYM_PLUGINS names 'dicomm', and there is no such plugin; did you mean dicom?" in said.err
    assert run("tools", "list", "--plugins", "none") == Said(
        0, "", "No plugin offers a tool; `medvistagym plugins search` shows plugins that would.\n"
    )


# -- tools from files


ONE = '''
from medvistagym_core import Image, tool

@tool
def {name}(image: Image) -> str:
    """Say a word about an image.

    Args:
        image: The image.
    """
    return "{word}"
'''


@pytest.mark.parametrize("executor", ["local", "process"])
def test_two_files_of_one_name_do_not_take_each_others_place(
    run: Run, tmp_path: Path, picture: Path, executor: str
) -> None:
    files = [tmp_path / "a" / "my-tools.py", tmp_path / "b" / "my-tools.py"]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(ONE.format(name=f"word_{number}", word=number))
    argv = ["--tools-from", files[0], "--tools-from", files[1], "--tools-from", files[0]]
    for number in range(2):
        said = run("tools", "call", f"word_{number}", picture, *argv, "--executor", executor)
        assert said.out == f"{number}\n", said.err
    files[1].write_text(ONE.format(name="word_0", word="other"))
    said = run("tools", "list", *argv)
    assert said.code == 2
    assert f"{files[0]} and {files[1]} both offer a tool named word_0; rename one" in said.err


def test_a_file_that_cannot_be_imported_names_the_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text("x = 1\nimport sys\nsys.exit(3)\n")
    said = run("tools", "list", "--tools-from", file)
    assert said.code == 2
    assert f"{file}, line 3, cannot be imported: SystemExit: 3" in said.err


# -- modalities and angles


def test_tools_are_listed_for_a_modality(run: Run, tmp_path: Path, picture: Path) -> None:
    file = tmp_path / "clash.py"
    file.write_text(CLASHING)

    def names(*argv: str) -> set[str]:
        return {spec["name"] for spec in run("tools", "list", "--tools-from", file, "--json", *argv).json}

    assert "clash" in names("--modality", "mg")
    assert "clash" not in names("--modality", "CT")
    assert names("--modality", "CT") >= {"window", "zoom"}
    scan = pydicom.data.get_testdata_file("CT_small.dcm")
    said = run("tools", "call", "clash", "--tools-from", file, scan)
    assert said.code == 0
    assert "clash is made for MG; this is CT" in said.err
    assert "is made for" not in run("tools", "call", "clash", "--tools-from", file, picture).err


@pytest.mark.parametrize("angle", ["-90", "270", "-90°", "270deg", "270 degrees", "\N{MINUS SIGN}90", "-9e1"])
def test_angles_are_taken_as_people_write_them(run: Run, picture: Path, tmp_path: Path, angle: str) -> None:
    for name, argv in (("right", ["--turn", "right"]), ("angle", ["--angle", angle])):
        said = run("tools", "call", "orient", picture, *argv, "--out", tmp_path / f"{name}.png")
        assert said.code == 0, said.err
    with PIL.Image.open(tmp_path / "right.png") as right, PIL.Image.open(tmp_path / "angle.png") as turned:
        assert np.array_equal(np.asarray(right), np.asarray(turned))
