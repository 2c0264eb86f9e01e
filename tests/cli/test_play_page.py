"""`medvistagym play`: what it refuses, what it serves, and the commands that it writes."""

import http.client
import json
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from medvistagym_core import cli
from medvistagym_core.cli._play import shell_script
from medvistagym_core.imaging import Image
from medvistagym_core.play import OpenedImage, PlayServer, ScriptCall


@pytest.fixture
def scan(tmp_path):
    Image(pixels=np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_the_command_serves_until_it_is_stopped(scan, capsys, monkeypatch):
    seen = []

    def stop(page):
        url = urlsplit(page.url)
        connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=10)
        connection.request("GET", f"{url.path}start")
        seen.append((page.url, json.loads(connection.getresponse().read())))
        connection.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(PlayServer, "wait", stop)
    assert cli.main(["play", str(scan)]) == 0
    ((url, start),) = seen
    assert capsys.readouterr().out.strip() == url
    assert [source["name"] for source in start["sources"]] == ["scan.png"]
    assert start["session"]["policy"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}/nowhere"], "there is no such file or folder"),
        (["{}/scan.png", "--port", "70000"], "--port is a number from 0 to 65535"),
        (["{}/scan.png", "--out", "{}/scan.png"], "a folder is needed"),
        (["{}/scan.png", "--endpoint", "http://127.0.0.1:1/v1"], "it cannot be reached"),
        (["{}/scan.png", "--endpoint-model", "it"], "--endpoint-model goes with --endpoint"),
        (["{}/scan.png", "--model", "{}/none"], "there is no such run or checkpoint"),
        (["{}/scan.png", "--tools", "windo"], "windo"),
    ],
)
def test_what_cannot_be_is_a_sentence(scan, capsys, arguments, said):
    assert cli.main(["play", *(word.replace("{}", str(scan.parent)) for word in arguments)]) == 2
    assert said in capsys.readouterr().err


def test_an_endpoint_takes_part(scan, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(PlayServer, "wait", lambda page: seen.append(page.session.policy.name))
    assert cli.main(["play", str(scan), "--endpoint", "http://127.0.0.1:1/v1", "--endpoint-model", "it"]) == 0
    assert seen == ["it"]


def test_the_commands_that_are_copied_run(scan, toolbox, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dicom = pytest.importorskip("medvistagym_dicom", reason="the DICOM plugin is not installed")
    tools = {"zoom": dicom.zoom, "auto_window": dicom.auto_window}
    calls = [
        ScriptCall("zoom", {"image": 0, "box": [0, 0, 500, 500]}, {"image": 0}, (1,)),
        ScriptCall("auto_window", {"image": 1, "low": 5.5}, {"image": 1}),
    ]
    script = shell_script(tools, {0: OpenedImage(Path("scan.png"), 0, 1)}, calls)
    for line in script.splitlines():
        words = shlex.split(line)
        assert words[0] == "medvistagym"
        assert cli.main(words[1:]) == 0, capsys.readouterr().err
    assert (tmp_path / "auto_window.png").is_file()


def test_an_image_among_several_of_a_folder_is_named_by_its_place(toolbox):
    opened = {0: OpenedImage(Path("a b"), 1, 3), 1: OpenedImage(Path("one.png"), 0, 1), 2: OpenedImage(Path("c"), 2, 4)}
    crop = ScriptCall("crop", {"image": 0, "box": [0, 0, 500, 500]}, {"image": 0})
    assert shell_script(toolbox, opened, [crop]) == (
        "medvistagym tools call crop 'a b' --image-index 1 --box 0,0,500,500 --out crop.png\n"
    )
    both = ScriptCall("crop", {"image": [0, 1, 2]}, {"image": [0, 1, 2]})
    assert "call crop 'a b' one.png c --image-index 1 3 6 --out" in shell_script(toolbox, opened, [both])
