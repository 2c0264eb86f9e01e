"""The folder that is served: what opens, what does not, and that no message says where things are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Toolbox, ToolCall
from medvistagym_mcp.server import SessionLimits, folder_tools
from medvistagym_mcp.server._results import redact_paths

from .parts import grey


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.png").write_bytes(b"")
    PIL.Image.fromarray(grey().pixels).save(tmp_path / "secret.png")
    root = tmp_path / "root"
    (root / "study" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("scan.png", "study/one.png", "study/deep/two.png", ".hidden/three.png"):
        PIL.Image.fromarray(grey().pixels).save(root / name)
    (root / "notes.txt").write_text("no picture")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "in.png").symlink_to(root / "study" / "one.png")
    (root / "broken").mkdir()
    (root / "broken" / "away.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "pipe")
    return root


def opener(root: Path, **limits: Any) -> Callable[[str], str | int]:
    """What `open_image` says of a path: its sentence, or the number of images."""

    def read(path: Path) -> list[Image]:
        if path.is_dir():
            return [Image.open(file) for file in sorted(path.rglob("*.png"))]
        return [Image.open(path)]

    tools = {t.name: t for t in folder_tools(root, read, SessionLimits(**limits))}

    def told(path: str) -> str | int:
        with LocalExecutor(Toolbox(tools), cache_bytes=0) as executor:
            ((result,),) = executor.run([(ImageStore(), [ToolCall(name="open_image", arguments={"path": path})])])
        return len(result.images) if result.error is None else result.error.message

    return told


@pytest.mark.parametrize(
    ("path", "count"),
    [("scan.png", 1), ("study/one.png", 1), ("./study//deep/two.png", 1), ("in.png", 1), ("study", 2)],
)
def test_images_inside_the_folder_open(root: Path, path: str, count: int) -> None:
    assert opener(root)(path) == count


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png", "study/../../secret.png", "/etc/passwd", "C:\\x", "C:/x", "..", "study\\one.png", "a\0b", "out.png",
        "up/secret.png", "up", "loop", "broken", "broken/away.png", ".hidden/three.png", ".hidden", "pipe", "nothing.png",
        "~/x", "", "x" * 5000, "/".join("a" * 3000), "file:///etc/passwd", "notes.txt",
    ],
)  # fmt: skip
def test_nothing_else_opens_and_no_message_says_where_things_are(root: Path, path: str) -> None:
    said = opener(root)(path)
    assert isinstance(said, str)
    assert str(root.parent) not in said
    assert len(said) < 400
    if path in ("out.png", "up/secret.png", "broken/away.png"):  # as if it did not exist
        assert said.replace(path, "nothing.png").startswith("open_image: there is nothing to open at 'nothing.png'")


def test_the_nearest_name_is_given(root: Path) -> None:
    assert "but there is 'study/one.png'" in str(opener(root)("study/one.pn"))


def test_what_is_too_large_is_not_read(root: Path) -> None:
    assert "larger than the 0 MiB" in str(opener(root, file_bytes=50)("scan.png"))
    assert "larger than" in str(opener(root, file_bytes=50)("study"))


def test_the_listing_shows_what_can_be_opened(root: Path) -> None:
    (listing,) = [t for t in folder_tools(root, lambda path: [], SessionLimits()) if t.name == "list_folder"]
    assert listing.run({"path": "."}).data == {
        "folders": ["broken/", "study/"], "files": ["in.png", "notes.txt", "scan.png"],
    }  # fmt: skip
    assert listing.run({"path": "broken"}).data == {"folders": [], "files": []}
    assert not listing.run({"path": "up"}).ok


def test_a_name_that_no_client_could_write_is_counted_and_not_listed(root: Path) -> None:
    Path(os.fsdecode(bytes(root / "study") + b"/\xff.png")).write_bytes(b"")
    (listing,) = [t for t in folder_tools(root, lambda path: [], SessionLimits()) if t.name == "list_folder"]
    assert listing.run({"path": "study"}).data == {"folders": ["deep/"], "files": ["one.png"], "left_out": 1}


def test_a_reader_that_fails_names_no_place(root: Path) -> None:
    def read(path: Path) -> list[Image]:
        raise RuntimeError(f"{path}: see {root}/study and /usr/lib/thing")

    (opening,) = [t for t in folder_tools(root, read, SessionLimits()) if t.name == "open_image"]
    error = opening.run({"path": "scan.png"}).error
    assert error is not None
    assert str(root.parent) not in error.message
    assert "/usr" not in error.message


def test_paths_are_masked_and_nothing_else() -> None:
    assert redact_paths("at /opt/a/b.pt, file:///x/y.z or C:\\Users\\me\\f.txt") == "at b.pt, y.z or f.txt"
    for plain in ("3/4 of 12 mm/s", "a / b", "</tool> and <a/>", "http://host/path", "study/one.png"):
        assert redact_paths(plain) == plain
