"""docs/python.md, docs/shell.md and the notebooks run as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pydicom.data
import pytest

from medvistagym_core.imaging import Image, Window, write_image
from medvistagym_core.plugins import Registry

DOCS = Path(__file__).parents[2] / "docs"


class Model(BaseHTTPRequestHandler):
    """An endpoint with one model, which zooms once and then answers."""

    def do_GET(self):
        self.answer({"data": [{"id": "toy"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": "<think>I see.</think><answer>yes</answer>"}
        if not any(one["role"] == "tool" for one in body["messages"]):
            function = {"name": "zoom", "arguments": '{"image": 0, "box": [0, 0, 500, 500]}'}
            message = {
                "role": "assistant",
                "content": "I look closer.",
                "tool_calls": [{"id": "x", "type": "function", "function": function}],
            }
        self.answer({"choices": [{"message": message}]})

    def answer(self, value):
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "study").mkdir()
    for name, series in (
        ("CT_small.dcm", "study/1.dcm"),
        ("MR_small.dcm", "study/2.dcm"),
        ("CT_small.dcm", "scan.dcm"),
    ):
        shutil.copy(pydicom.data.get_testdata_file(name), folder / series)
    pixels = np.full((12, 64, 64), -800, np.int16)
    pixels[:, 16:48, 16:48] = 40
    pixels[4:7, 24:32, 24:32] = 300
    about = {"direction": "1 0 0 0 1 0 0 0 1", "position_mm": "0 0 0"}
    writers = Registry.discover().writers
    for name, values, unit in (("ct", pixels, "HU"), ("lesion", pixels == 300, "mask")):
        window = Window(40, 400) if unit == "HU" else None
        image = Image(pixels=values, unit=unit, modality="CT", spacing=(3, 0.8, 0.8), window=window, attributes=about)
        write_image(image, folder / f"{name}.nii.gz", writers)
    return folder


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def program_folder(tmp_path: Path) -> Path:
    """A folder with the program as a script, so that the pages' commands start this source tree."""
    program = tmp_path / "bin" / "medvistagym"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m medvistagym_core.cli "$@"\n')
    program.chmod(0o755)
    return program.parent


def test_python(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks("python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert (files / "corner.png").is_file()
    printed = capsys.readouterr().out
    assert printed.startswith("CT HU (")
    assert "bad_arguments zoom: box should have at least 4 items" in printed
    assert names["from_sitk"].unit == "HU"


def run_shell_blocks(page, files, endpoint, tmp_path):
    """Run the shell commands of a page in a copy of the files; the folder, and what they printed."""
    text = "\n".join(blocks(page, "sh")).replace("http://127.0.0.1:8000/v1", endpoint)
    folder = tmp_path / "work"
    shutil.copytree(files, folder)
    environment = {**os.environ, "PATH": f"{program_folder(tmp_path)}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    script = f"set -euo pipefail\n{text}"
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    return folder, ran


@pytest.mark.slow
def test_shell(files, endpoint, tmp_path):
    folder, ran = run_shell_blocks("shell.md", files, endpoint, tmp_path)
    for name in ("corner.png", "lung.png", "ct.nrrd", "ct.dcm", "part.png", "sheet.png", "marked.png"):
        assert (folder / name).is_file()
    assert "zoom(image=0, box=[0, 0, 500, 500]): image 1" in ran.stderr
    assert "\nyes\n" in ran.stdout
    assert '"answer": "yes"' in ran.stdout
    assert (folder / "asked" / "first" / "trajectories.jsonl").is_file()
    assert "Not for clinical use" in pydicom.dcmread(folder / "ct.dcm").ImageComments


@pytest.mark.slow
def test_tutorials(files, endpoint, tmp_path):
    folder, ran = run_shell_blocks("tutorials.md", files, endpoint, tmp_path)
    assert "\nyes\n" in ran.stdout
    assert all("zoom" in (folder / name).read_text("utf-8") for name in ("answer.html", "mine.html"))
    with PIL.Image.open(folder / "first-look.png") as picture:
        assert picture.getextrema() != (0, 0)


def test_the_entry_of_a_desktop_client_starts_a_server(files, tmp_path):
    (entry,) = blocks("tutorials.md", "json")
    (server,) = json.loads(entry)["mcpServers"].values()
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    said = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) + "\n"
    command = [str(program_folder(tmp_path) / server["command"]), *server["args"]]
    ran = subprocess.run(command, cwd=files, input=said, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(ran.stdout.splitlines()[0])["result"]["serverInfo"]["name"]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted(path.name for path in (DOCS / "notebooks").glob("*.ipynb")))
def test_notebook(notebook, files, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    shutil.copytree(files, tmp_path / "work")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    book = nbformat.read(DOCS / "notebooks" / notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "clear the outputs: they are made when it is run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the client's event loop and sockets
        client = nbclient.NotebookClient(
            book, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path / "work")}}
        )
        client.execute()
    shown = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert any("text/html" in output.get("data", {}) for output in shown)
