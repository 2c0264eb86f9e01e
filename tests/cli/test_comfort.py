"""What makes the shell comfortable: questions to a model, pipes, contact sheets, completion, `tools show`, `doctor`."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import GROUPS, main
from medvistagym_core.cli._completion import SCRIPTS, complete_words
from medvistagym_core.cli._console import ProgressBar, colored, elapsed_time
from medvistagym_core.cli._tool_description import example_arguments, example_command
from medvistagym_core.imaging import Image, Window, write_image
from medvistagym_core.plugins import Registry
from medvistagym_core.trajectories import TrajectoryReader


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    def run(*arguments: object) -> Said:
        code = main([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def ct(tmp_path) -> Path:
    """A CT of 9 slices as NRRD, with a bright lesion in three of them, and its mask beside it."""
    pixels = np.full((9, 24, 32), -50, np.int16)
    pixels[3:6, 8:14, 10:18] = 60
    attributes = {"direction": "1 0 0 0 1 0 0 0 1", "position_mm": "0 0 0"}
    image = Image(
        pixels=pixels, unit="HU", modality="CT", spacing=(3, 0.5, 0.5), window=Window(40, 400), attributes=attributes
    )
    writers = Registry.discover().writers
    write_image(image, tmp_path / "ct.nrrd", writers)
    mask = Image(pixels=pixels > 0, unit="mask", spacing=(3, 0.5, 0.5), attributes=attributes)
    write_image(mask, tmp_path / "mask.nrrd", writers)
    return tmp_path / "ct.nrrd"


# -- images


def test_images_list(run, ct):
    said = run("images", "list", ct)
    assert said.code == 0
    assert "32 x 24 x 9" in said.out
    assert "0.5 x 0.5 x 3 mm" in said.out
    (row,) = json.loads(run("images", "list", ct, "--json").out)
    assert (row["unit"], row["frames"], row["spacing_mm"]) == ("HU", 9, [3, 0.5, 0.5])


def test_images_convert_keeps_values_unit_and_place(run, ct, tmp_path):
    for ending in (".nii.gz", ".mha", ".npy", ".tif"):
        assert run("images", "convert", ct, "--out", tmp_path / f"out{ending}").code == 0
        (row,) = json.loads(run("images", "list", tmp_path / f"out{ending}", "--json").out)
        assert (row["unit"], row["frames"], row["spacing_mm"]) == ("HU", 9, [3, 0.5, 0.5])


def test_no_command_writes_over_what_it_reads(run, ct, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    own = study / "own.dcm"
    assert run("images", "convert", ct, "--out", own).code == 0
    before = own.read_bytes()
    box = ("--box", "0,0,500,500")
    for command in (
        ("images", "convert", own, "--out", study / ".." / "study" / "own.dcm"),
        ("images", "convert", study, "--out", own),
        ("tools", "call", "zoom", own, *box, "--out", own),
        ("eval", "--task", "scoutvqa", "--policy", "random", "--cases", "1", "--out", own),
        ("sample", "--task", "scoutvqa", "--policy", "random", "--cases", "1", "--out", own),
        ("ask", own, QUESTION, "--policy", "random", "--out", own),
    ):
        said = run(*command)
        assert (said.code, own.read_bytes()) == (2, before), said.err
    assert "is a file; name a folder" in said.err
    said = run("tools", "call", "zoom", own, *box, "--out", study / "new.dcm")
    assert (said.code, (study / "new.dcm").exists()) == (0, True), said.err


def test_images_sheet_draws_slices_and_the_outline_of_a_mask(run, ct, tmp_path):
    said = run("images", "sheet", ct, "--count", "4", "--columns", "2", "--side", "64", "--out", tmp_path / "sheet.png")
    assert said.code == 0, said.err
    sheet = np.asarray(PIL.Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (48 + 4) + 4, 2 * (64 + 4) + 4, 3)
    assert not (sheet == (255, 214, 0)).all(-1).any()
    said = run(
        "images", "sheet", ct, "--mask", ct.with_name("mask.nrrd"), "--side", "64", "--out", tmp_path / "sheet.png"
    )
    assert said.code == 0, said.err
    sheet = np.asarray(PIL.Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 3 * (64 + 4) + 4  # the three slices that the mask marks
    assert (sheet == (255, 214, 0)).all(-1).any()


def test_sheet_refuses_what_it_cannot_draw(run, ct, tmp_path):
    assert run("images", "sheet", ct, "--out", tmp_path / "x.nrrd").code == 2
    assert run("images", "sheet", ct, "--count", "0", "--out", tmp_path / "x.png").code == 2
    other = tmp_path / "other.npy"
    write_image(Image(pixels=np.ones((2, 8, 8), bool), unit="mask"), other)
    said = run("images", "sheet", ct, "--mask", other, "--out", tmp_path / "x.png")
    assert (said.code, (tmp_path / "x.png").exists()) == (1, False)
    said = run("images", "sheet", ct, other, "--out", tmp_path / "x.png")
    assert said.code == 2
    assert "choose it with --image-index\n  0  CT · 32 × 24 × 9" in said.err


def test_a_folder_of_pictures_is_told_from_a_series(run, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    PIL.Image.new("L", (8, 8)).save(pictures / "first.png")
    (pictures / "notes.txt").write_text("none")
    said = run("images", "list", pictures)
    assert said.code != 0
    assert said.err.rstrip().endswith(f"pictures are named one by one, such as {pictures / 'first.png'}")
    assert run("images", "list", pictures / "first.png").code == 0


def test_images_are_listed_before_one_must_be_chosen(run, ct, tmp_path):
    said = run(
        "tools", "call", "zoom", ct, ct.with_name("mask.nrrd"), "--box", "0,0,500,500", "--out", tmp_path / "x.png"
    )
    assert said.code == 2
    assert "zoom takes 1 image, and the files given hold 2" in said.err
    assert "  1  32 × 24 × 9 · mask" in said.err
    said = run("images", "list", ct, "--image-index", "4")
    assert said.code == 2
    assert "  0  CT · 32 × 24 × 9 · HU" in said.err


# -- pipes


def test_a_result_goes_through_a_pipe_with_its_values(run, ct, tmp_path):
    program = [sys.executable, "-m", "medvistagym_core.cli"]
    denoise = [*program, "tools", "call", "denoise", str(ct), "--out", "-"]
    zoom = [*program, "tools", "call", "zoom", "-", "--box", "0,0,1000,500", "--out", str(tmp_path / "half.nrrd")]
    first = subprocess.run(denoise, capture_output=True, check=True)
    assert first.stdout[:2] in (b"II", b"MM")
    assert b"written to stdout" not in first.stdout
    subprocess.run(zoom, input=first.stdout, capture_output=True, check=True)
    (row,) = json.loads(run("images", "list", tmp_path / "half.nrrd", "--json").out)
    assert (row["unit"], row["modality"]) == ("HU", "CT")


def test_every_kind_of_file_is_read_from_stdin(run, ct, tmp_path, monkeypatch):
    for ending in (".nii.gz", ".nrrd", ".mha", ".tif", ".png", ".npy"):
        run("images", "convert", ct, "--out", tmp_path / f"x{ending}")
        data = (tmp_path / f"x{ending}").read_bytes()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        said = run("images", "list", "-", "--json")
        assert said.code == 0, (ending, said.err)
        assert json.loads(said.out)[0]["width"] == 32


def test_pipes_that_carry_no_image_are_said(run, ct, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    said = run("images", "list", "-")
    assert (said.code, "stdin is empty" in said.err) == (2, True)
    assert "not both" not in said.err
    said = run("serve", "--image", "-")
    assert (said.code, "a server's stdin is its client's" in said.err) == (2, True)
    said = run("tools", "call", "zoom", ct, "--box", "0,0,500,500", "--out", "-", "--json")
    assert (said.code, "stdout holds one of them" in said.err) == (2, True)


# -- tools show


def test_tools_show_tells_choices_ranges_defaults_and_an_example(run):
    said = run("tools", "show", "denoise")
    assert "one of median, bilateral, gaussian; default median" in said.out
    assert "a whole number from 1 to 2; default 1" in said.out
    assert "medvistagym tools call denoise scan.dcm --out out.png" in said.out
    assert "--box 250,250,750,750 --out out.png" in run("tools", "show", "zoom").out


def test_the_example_of_every_tool_is_a_call_that_is_valid():
    for tool in Registry.discover().tools.values():
        handles = {
            name: [0] if tool.spec.parameters["properties"][name].get("type") == "array" else 0
            for name in tool.image_arguments
            if name in tool.spec.parameters.get("required", ())
        }
        tool.validate({**handles, **example_arguments(tool.spec)})
        assert example_command(tool.spec).startswith(f"medvistagym tools call {tool.name}")


OUTLINE = '''
from pydantic import BaseModel

from medvistagym_core import Image, tool


class Point(BaseModel):
    x: int
    label: str


@tool
def outline(image: Image, points: list[Point], pair: tuple[int, str], weights: dict[str, float]) -> str:
    """Say what is outlined.

    Args:
        image: The image.
        points: The corners.
        pair: A number and a word.
        weights: A weight for each word.
    """
    return f"{points[0].x} {pair[0]} {list(weights)}"
'''


def test_the_example_of_a_tool_that_takes_objects_can_be_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("outline.py").write_text(OUTLINE, "utf-8")
    PIL.Image.new("L", (8, 8)).save("scan.png")
    said = run("tools", "show", "outline", "--tools-from", "outline.py")
    assert "weights (--weights; required; a JSON object)" in said.out
    (example,) = (line for line in said.out.splitlines() if line.strip().startswith("medvistagym "))
    done = run(*shlex.split(example.replace("scan.dcm", "scan.png"))[1:], "--tools-from", "outline.py")
    assert (done.code, done.out) == (0, "40 40 ['NAME']\n"), done.err


# -- completion


@pytest.mark.parametrize(
    ("words", "fitting"),
    [
        (["to"], ["tools"]),
        (["tools", ""], ["list", "show", "call"]),
        (["tools", "call", "denoi"], ["denoise"]),
        (["tools", "call", "denoise", "x.png", "--met"], ["--method"]),
        (["tools", "call", "denoise", "--method", "b"], ["bilateral"]),
        (["prompt", "--tools", "zoom,denoi"], ["zoom,denoise"]),
        (["sample", "--keep", ""], ["all", "correct"]),
        (["sample", "--task", "scoutvqa_"], ["scoutvqa_chain"]),
        (["tools", "call", "denoise", "--out", ""], []),
        (["nonsense", ""], []),
        (["tools", "nonsense", ""], []),
    ],
)
def test_words_are_completed(words, fitting):
    assert complete_words(words) == fitting


def test_every_command_is_completed(run):
    assert complete_words([""]) == list(GROUPS)
    assert run("completion", "words", "--", "tools", "call", "denoi").out == "denoise\n"
    for shell, script in SCRIPTS.items():
        assert run("completion", shell).out == script


def test_bash_completes(tmp_path):
    program = tmp_path / "medvistagym"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m medvistagym_core.cli "$@"\n')
    program.chmod(0o755)
    ask = """
eval "$("$1" completion bash)"
COMP_WORDS=("$1" tools call denoise --method b); COMP_CWORD=5
_medvistagym
printf '%s\\n' "${COMPREPLY[@]}"
"""
    bash = shutil.which("bash")
    assert bash is not None
    ran = subprocess.run([bash, "-c", ask, "bash", str(program)], capture_output=True, text=True, check=True)
    assert ran.stdout == "bilateral\n"


# -- ask


QUESTION = "Is there a lesion?"


def test_ask_answers_and_writes_an_episode(run, ct, tmp_path):
    ask = ("ask", ct, QUESTION, "--policy", "random", "--tools", "zoom,window", "--option", "yes", "--option", "no")
    said = run(*ask, "--out", tmp_path / "asked", "--json", "--seed", "1")
    answer: dict[str, Any] = json.loads(said.out)
    assert said.code == (0 if answer["answer"] else 1)
    (episode,) = TrajectoryReader(tmp_path / "asked" / "trajectories.jsonl")
    assert episode.task == "ask"
    assert "wrong" not in episode._repr_html_()  # nobody has said what is right
    assert QUESTION in "".join(block.text or "" for block in episode.opening)
    assert len(answer["calls"]) == sum(len(turn.calls) for turn in episode.turns)
    assert f"medvistagym view {tmp_path / 'asked'}" in said.err
    said = run(*ask, "--out", tmp_path / "asked")
    assert (said.code, "holds episodes already" in said.err) == (2, True)
    said = run("replay", tmp_path / "asked" / "trajectories.jsonl")
    assert (said.code, "it can be looked at, with `medvistagym view`, and not replayed" in said.err) == (2, True)


@pytest.mark.parametrize(
    "order",
    [
        "{ct} {q} --image-index 0 {policy}",
        "{ct} --image-index 0 {q} {policy}",
        "--image-index 0 {ct} {q} {policy}",
        "{policy} --image-index 0 {ct} {q}",
        "{ct} {policy} {q} --image-index 0",
        "{ct} {policy} --image-index 0 -- {q}",
        "{ct} {ct} --image-index 0 1 {q} {policy}",
    ],
)
def test_files_and_question_stand_anywhere_among_the_options(run, ct, tmp_path, order):
    policy = f"--policy random --tools window --out '{tmp_path / 'asked'}'"
    said = run("ask", *shlex.split(order.format(ct=f"'{ct}'", q=f"'{QUESTION}'", policy=policy)))
    assert said.code in (0, 1), said.err  # 1 where the random policy gives no answer
    (episode,) = TrajectoryReader(tmp_path / "asked" / "trajectories.jsonl")
    assert QUESTION in "".join(block.text or "" for block in episode.opening)
    assert sum(block.type == "image" for block in episode.opening) == order.count("{ct}")


def test_image_index_before_the_files(run, ct, tmp_path):
    said = run(
        "tools",
        "call",
        "window",
        "--image-index",
        0,
        ct,
        "--width",
        80,
        "--center",
        40,
        "--out",
        tmp_path / "three.png",
    )
    assert (said.code, (tmp_path / "three.png").is_file()) == (0, True), said.err
    said = run("images", "list", "--image-index", 0, 0, ct)
    assert said.out.count("CT") == 2
    said = run("images", "list", ct, "--image-index", "first")
    assert (said.code, "invalid int value: 'first'" in said.err) == (2, True)


def test_ask_refuses_what_is_no_question(run, ct, tmp_path):
    said = run("ask", QUESTION, ct, "--policy", "random")
    assert (said.code, "the question comes last" in said.err) == (2, True)
    said = run("ask", ct, QUESTION, "--policy", "expert")
    assert (said.code, "plays tasks that it knows" in said.err) == (2, True)
    said = run("ask", ct, QUESTION, "--endpoint", "http://127.0.0.1:9/v1", "--out", tmp_path / "asked")
    assert (said.code, "--endpoint http://127.0.0.1:9/v1: it cannot be reached" in said.err) == (2, True)
    assert not (tmp_path / "asked").exists()
    assert run("ask", ct, "", "--policy", "random").code == 2
    said = run("ask", tmp_path / "none.png", "long " * 2000, "--policy", "random")
    assert (said.code, "there is no such file" in said.err) == (2, True)
    files = [ct] * 9
    said = run("ask", *files, QUESTION, "--policy", "random")
    assert (said.code, "choose with --image-index\n  0  CT" in said.err) == (2, True)


# -- doctor and the terminal


def test_doctor_says_what_works_and_what_to_do(run, tmp_path):
    said = run("doctor", "--json")
    report = json.loads(said.out)
    assert (said.code == 0) == report["ok"]
    found = {check["what"]: check for check in report["checks"]}
    assert found["plugin dicom"]["state"] == "ok"
    assert found["DICOM files"]["found"] == "read by medvistagym-dicom"
    assert {"tools", "compiled kernels", "PyTorch", "GPU"} <= set(found)
    assert all(check["todo"] for check in report["checks"] if check["state"] == "fault")


def test_doctor_names_what_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("medvistagym_core.cli._doctor._gpu", list)
    said = run("doctor", "--plugins", "none", "--model", tmp_path, "--endpoint", "http://127.0.0.1:9/v1")
    assert said.code == 1
    assert "DICOM files: no loaded plugin reads them\n       to do: pip install" in said.out
    assert "chat template: " in said.out
    assert "endpoint: http://127.0.0.1:9/v1: it cannot be reached" in said.out
    assert "2 faults" in said.out
    assert "\x1b" not in said.out
    assert "names of tools: not kept, since it is turned off\n       to do: unset MEDVISTAGYM_CACHE" in said.out
    monkeypatch.delenv("MEDVISTAGYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "medvistagym" / "listings"
    assert f"names of tools: kept in {folder} while nothing changes" in run("doctor", "--plugins", "none").out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colored("ok", "green") == "\x1b[32mok\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert colored("ok", "green") == "ok"


def test_progress_tells_its_rate(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    now = iter([0.0, 2.0, 102.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    monkeypatch.setenv("COLUMNS", "200")
    bar = ProgressBar("episodes")
    bar.show(0, 10)
    bar.show(4, 10)
    assert "4/10 episodes, 2/s, 3 s left" in sys.stderr.getvalue()
    bar.show(8, 10)
    assert "8/10 episodes, 4.71/min, 26 s left" in sys.stderr.getvalue()


def test_long_work_tells_for_how_long_it_runs(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("medvistagym_core.cli._console._PROGRESS_DELAY_S", 0.01)
    with elapsed_time("reading a\x1b[2Jstudy"):
        while "reading" not in terminal.getvalue():
            pass
    assert "\rreading a\\x1b[2Jstudy: 0 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


# -- what a newcomer tries first


def test_help_and_version_are_words_too(run) -> None:
    assert run("help").out == run("--help").out
    assert run("help", "images", "list").out == run("images", "list", "--help").out
    assert run("version").out == run("--version").out


def test_a_flag_before_the_tool_is_told_its_place(run, ct) -> None:
    said = run("tools", "call", "--box", "0,0,500,500", "zoom", ct)
    assert said.code == 2
    assert "the tool's name comes first, and then its flags: tools call NAME ... --box" in said.err


def test_the_package_is_the_command_where_the_script_is_not_on_the_path() -> None:
    command = [sys.executable, "-m", "medvistagym_core", "version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("medvistagym ")
