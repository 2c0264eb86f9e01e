"""Files that nobody vouches for: whatever they make their decoder do costs one error."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core import ImageStore, LocalExecutor, Toolbox, ToolCall, ToolError
from medvistagym_mcp.server import FileReader, SessionLimits, folder_tools

from .parts import grey

READER = """
import os, signal, time
import numpy as np
from medvistagym_core import Image, hookimpl


def read(path):
    what = path.suffix
    if what == ".crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == ".exit":
        os._exit(3)
    if what == ".hang":
        while True:
            time.sleep(1)
    if what == ".memory":
        return [Image(pixels=np.ones((300_000, 1000)))]
    if what == ".wide":
        return [Image(pixels=np.broadcast_to(np.uint8(1), (100_000, 100_000)))]
    if what == ".raise":
        raise RuntimeError(f"no luck with {path}")
    if what == ".nonsense":
        return ["an image"]
    if what == ".pid":
        return [Image(pixels=np.full((2, 2), os.getpid()))]
    return None


@hookimpl
def medvistagym_readers():
    return [read]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bad files, and an installed plugin that reads them badly."""
    site, root = tmp_path / "site", tmp_path / "root"
    facts = site / "medvistagym_careless-1.dist-info"
    facts.mkdir(parents=True)
    root.mkdir()
    (site / "medvistagym_careless.py").write_text(textwrap.dedent(READER))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: medvistagym-careless\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[medvistagym]\ncareless = medvistagym_careless\n")
    monkeypatch.syspath_prepend(site)
    for what in ("crash", "exit", "hang", "memory", "wide", "raise", "nonsense", "pid"):
        (root / f"file.{what}").write_bytes(b"")
    (root / "file.dcm").write_bytes(bytes(128) + b"DICM")
    (root / "folder").mkdir()
    PIL.Image.fromarray(grey().pixels).save(root / "scan.png")
    return root


@pytest.fixture
def reader(root: Path) -> Iterator[FileReader]:
    with FileReader("careless", SessionLimits(read_s=2, session_bytes=64 * 2**20, pixels=10_000)) as reader:
        yield reader


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("file.crash", "tool_failed", "crashed its process (SIGSEGV)"),
        ("file.exit", "tool_failed", "ended its process (exit code 3)"),
        ("file.hang", "timeout", "its reader took longer than 2"),
        ("file.memory", "tool_failed", "ran out of memory"),
        ("file.wide", "bad_value", "its images take 9537 MiB, more than the 64 MiB that a session may hold"),
        ("file.raise", "bad_value", "no luck with"),
        ("file.dcm", "bad_value", "it is DICOM, and no plugin that is loaded reads that"),
        ("folder", "bad_value", "no plugin that is loaded reads this folder"),
        ("file.nonsense", "bad_value", "careless gave str among its images"),
    ],
)
def test_a_file_costs_one_error_and_the_next_is_read(
    reader: FileReader, root: Path, name: str, code: str, sentence: str
) -> None:
    with pytest.raises(ToolError) as caught:
        reader(root / name)
    assert caught.value.code == code
    assert sentence in caught.value.message
    assert "read_image_file" not in caught.value.message
    (image,) = reader(root / "scan.png")
    np.testing.assert_array_equal(image.pixels, grey().pixels)


def test_files_are_read_in_another_process_which_ends_with_the_reader(root: Path) -> None:
    with FileReader("careless", SessionLimits()) as reader:
        process = int(reader(root / "file.pid")[0].pixels[0, 0])
        assert process != os.getpid()
        assert Path(f"/proc/{process}").exists()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


def test_a_picture_with_too_many_pixels_is_not_read(reader: FileReader, root: Path) -> None:
    PIL.Image.new("L", (200, 200)).save(root / "large.png")
    with pytest.raises(ToolError, match=r"200 x 200 pixels, more than the 0\.01 million"):
        reader(root / "large.png")


def test_a_client_reads_of_it_without_our_paths(reader: FileReader, root: Path) -> None:
    tools: Any = {tool.name: tool for tool in folder_tools(root, reader, SessionLimits())}
    with LocalExecutor(Toolbox(tools), cache_bytes=0) as executor:
        told = []
        for name in ("file.raise", "file.crash", "scan.png"):
            call = ToolCall(name="open_image", arguments={"path": name})
            ((result,),) = executor.run([(ImageStore(), [call])])
            told.append("" if result.error is None else str(result.error))
    assert told == [
        (
            "bad_value: open_image: 'file.raise' cannot be read: the reader read of the plugin careless failed with "
            "RuntimeError: no luck with file.raise for file.raise, and was left out; file.raise: the file is empty."
        ),
        "tool_failed: open_image: 'file.crash' cannot be read: its reader crashed its process (SIGSEGV).",
        "",
    ]
