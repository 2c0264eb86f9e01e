"""A target is whole or as it was, whatever ends its writer, and however many write it at once."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from medvistagym_core.storage import remove_stale_parts, write_atomically, write_folder_atomically


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("before")
    with write_atomically(path) as part:
        part.write_text("after")
        assert path.read_text() == "before"
        assert list(tmp_path.glob("*.txt")) == [path]
        assert part.parent == tmp_path
        assert part.suffix == ".part"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_the_part_keeps_the_ending_where_the_format_hangs_on_it(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 240 + ".nii.gz")
    with write_atomically(path, keep_suffix=True) as part:
        part.write_bytes(b"\x1f\x8b")
        assert part.name.endswith(".nii.gz")
    assert path.read_bytes() == b"\x1f\x8b"


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError, SystemExit])
def test_whatever_ends_the_writing_leaves_all_as_it_was(tmp_path: Path, fault: type[BaseException]) -> None:
    path, folder = tmp_path / "a.json", tmp_path / "run"
    path.write_text("before")

    def begin(file: Path) -> None:
        file.write_text("half")
        raise fault

    with pytest.raises(fault), write_atomically(path) as part:
        begin(part)
    with pytest.raises(fault), write_folder_atomically(folder) as part:
        begin(part / "half.txt")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_at_once_do_not_tread_on_each_other(tmp_path: Path) -> None:
    path, size = tmp_path / "shared.bin", 2**16
    contents = {bytes([number]) * size for number in range(8)}
    both_write = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        with write_atomically(path) as part:
            both_write.wait(10)
            part.write_bytes(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError, match=r"missing/a\.txt'$"), write_atomically(path) as part:
        part.write_text("no folder")
    full = tmp_path / "a.txt"
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'$"), write_atomically(full):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"^cannot write mode F as PNG$"), write_atomically(full):
        raise OSError("cannot write mode F as PNG")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()  # an empty one gives way
    with write_folder_atomically(folder) as part:
        (part / "a.txt").write_text("a")
        assert list(folder.iterdir()) == []
    assert [file.name for file in folder.iterdir()] == ["a.txt"]
    with pytest.raises(OSError, match="not empty"), write_folder_atomically(folder) as part:
        (part / "b.txt").write_text("b")
    assert [file.name for file in folder.iterdir()] == ["a.txt"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_killed_writers_left_is_removed_and_what_is_being_written_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale = [tmp_path / f".part-{ended.pid}-0123abcd-{name}" for name in ("run", "other", "a.png.part")]
    ours = tmp_path / f".part-{os.getpid()}-0123abcd-run"  # of an earlier process that had this one's number
    others = [tmp_path / name for name in (".part-1-0123abcd-run", ".part-notes", "a.part")]
    for folder in (*stale[:2], ours):
        folder.mkdir()
        (folder / "weights").write_bytes(b"half")
    for file in (stale[2], *others):
        file.write_bytes(b"")
    with write_atomically(tmp_path / "b.png") as part:
        part.write_bytes(b"b")
        with write_folder_atomically(tmp_path / "run"):
            assert not stale[0].exists()
            assert not ours.exists()
            assert stale[1].exists()
        remove_stale_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "b.png", tmp_path / "run"])
