"""Pictures of questions that crash, hang or fill whatever decodes them: each costs its question, and the next one is read."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
import pytest

from medvistagym_core import Image
from medvistagym_core.environment.questions import PictureFolder, open_source, read_table
from medvistagym_core.environment.questions._picture_process import PICTURE_PROCESS
from medvistagym_core.environment.questions._plain_pictures import is_plain_picture
from medvistagym_core.plugins import PluginWarning
from medvistagym_core.plugins._guarded_reader import GuardedReader

READERS = '''
import os, signal, time
from medvistagym_core import Image

def read(path):
    """By the first word of a file."""
    word = path.read_bytes()[:16].split(b" ")[0].decode("latin-1")
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "exit":
        os._exit(3)
    elif word == "hang":
        time.sleep(600)
    elif word == "fill":
        return [Image(pixels=[[len(bytearray(2**33))]])]
    elif word == "break":
        raise KeyError("no such key")
    elif word == "process":
        return [Image(pixels=__import__("numpy").full((2, 2), os.getpid() % 251, "uint8"))]
    return None
'''


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "strange_reader.py").write_text(READERS)
    monkeypatch.syspath_prepend(str(folder))
    PICTURE_PROCESS.close()  # the next one finds the module
    import strange_reader

    yield strange_reader.read
    PICTURE_PROCESS.close()


def picture(kind: str, side: int = 6, mode: str = "L", **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)
    PIL.Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("crash", r"its reader crashed \(SIGSEGV\) while it was read"),
        ("exit", "its reader ended while it was read"),
        ("hang", "its reader took more than 1 s while it was read"),
        ("fill", "it takes more than 3 GiB to read"),
    ],
)
def test_a_picture_costs_its_question(
    reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, says: str
) -> None:
    (tmp_path / "bad.dat").write_bytes(f"{word} now".encode())
    (tmp_path / "good.tif").write_bytes(picture("TIFF"))
    (tmp_path / "q.csv").write_text("question,answer,image\nWhat?,yes,bad.dat\nWhere?,no,good.tif\n")
    source, folder = open_source(tmp_path / "q.csv")
    assert folder is not None
    table = read_table(source, pictures=PictureFolder([folder]))
    first, second = table.splits["test"]
    assert len(table.open_pictures(second, [reader])) == 1  # the child is there
    table._recent._cache.clear()
    with monkeypatch.context() as patch:
        if word == "hang":
            patch.setattr("medvistagym_core.environment.questions._picture_process.MAX_SECONDS", 1.0)
        with pytest.raises(ValueError, match=rf"q\.csv, line 2: bad\.dat: {says}"):
            table.open_pictures(first, [reader])
    assert table.open_pictures(second, [reader])[0].shape == (6, 6)


def test_nothing_is_left_of_a_picture_whose_decoder_crashed(
    reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="crashed"):
        PICTURE_PROCESS.decode(b"crash now", [reader], "a.dat")
    assert not list(tmp_path.glob("medvistagym-*"))


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "GIF", "WEBP", "PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_is_the_same_from_another_process(kind: str, mode: str, tmp_path: Path) -> None:
    data = picture(kind, mode=mode)
    (tmp_path / "a").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", data)
    here = Image.open(data)
    for image, *others in (
        PICTURE_PROCESS.decode(data, (), "the picture"),
        PictureFolder([tmp_path]).open("a", ()),
        PictureFolder([tmp_path / "all.zip"]).open("a", ()),
    ):
        assert not others
        assert image.digest == here.digest


def test_only_what_is_not_plain_takes_a_process() -> None:
    PICTURE_PROCESS.close()
    before = set(psutil.Process().children())
    for data in (picture("PNG"), picture("JPEG", mode="RGB"), picture("PNG", mode="RGBA")):
        PICTURE_PROCESS.decode(data, (), "a picture")
    assert set(psutil.Process().children()) == before
    PICTURE_PROCESS.decode(picture("TIFF"), (), "a picture")
    assert len(set(psutil.Process().children()) - before) == 1
    PICTURE_PROCESS.close()
    assert set(psutil.Process().children()) == before


def sized(data: bytes, width: int, height: int) -> bytes:
    return data[:16] + struct.pack(">II", width, height) + data[24:]


PNG, JPEG = picture("PNG"), picture("JPEG", mode="RGB")


@pytest.mark.parametrize(
    ("data", "name", "plain"),
    [
        (PNG, "a.png", True),
        (PNG, "a", True),
        (PNG, "A.PNG", True),
        (JPEG, "a.jpg", True),
        (picture("JPEG", exif=b"Exif\0\0" + bytes(60_000)), "a.jpeg", True),
        (sized(PNG, 2048, 2048), "a.png", True),
        (sized(PNG, 2049, 2048), "a.png", False),
        (sized(PNG, 0, 7), "a.png", False),
        (picture("JPEG", 300, progressive=True), "a.jpg", False),
        (picture("JPEG", mode="CMYK"), "a.jpg", False),
        (picture("PNG", save_all=True, append_images=[PIL.Image.new("L", (6, 6), 9)]), "a.png", False),
        (picture("MPO", save_all=True, append_images=[PIL.Image.new("L", (6, 6), 9)]), "a.jpg", False),
        (picture("TIFF"), "a.tif", False),
        (picture("TIFF"), "a.png", False),
        (PNG, "a.nii", False),
        (PNG, "a.dcm", False),
        (PNG[:128].ljust(128, b"\0") + b"DICM", "a.png", False),
        (PNG[:20], "a.png", False),
        (JPEG[:20], "a.jpg", False),
        (b"", "a.png", False),
    ],
)
def test_what_is_plain(data: bytes, name: str, plain: bool) -> None:
    assert is_plain_picture(data, name) is plain


def test_a_reader_that_another_process_cannot_import_reads_here() -> None:
    def read(path: Path) -> list[Image] | None:
        return [Image(pixels=np.full((1, 1), 7, np.uint8))]

    assert PICTURE_PROCESS.decode(b"anything", [read], "a.dat")[0].pixels.tolist() == [[7]]


def test_a_readers_warning_is_heard(reader: Any) -> None:
    guarded = GuardedReader(reader, "strange")
    assert PICTURE_PROCESS.decode(picture("BMP"), [guarded], "a.bmp")[0].shape == (6, 6)
    with (
        pytest.warns(PluginWarning, match="the reader read of the plugin strange failed with KeyError"),
        pytest.raises(ValueError, match=r"a\.dat: "),
    ):
        PICTURE_PROCESS.decode(b"break it", [guarded], "a.dat")


def test_an_ended_process_is_replaced(reader: Any) -> None:
    numbers = set()
    for _ in range(2):
        numbers.add(int(PICTURE_PROCESS.decode(b"process", [reader], "a.dat")[0].pixels[0, 0]))
        child = psutil.Process(
            next(c.pid for c in psutil.Process().children() if "_picture_process" in " ".join(c.cmdline()))
        )
        child.kill()
        psutil.wait_procs([child], timeout=60)
    assert PICTURE_PROCESS.decode(picture("BMP"), [reader], "a.bmp")


def test_a_forked_process_has_its_own(reader: Any) -> None:
    PICTURE_PROCESS.decode(picture("BMP"), [reader], "a.bmp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        forked = os.fork()
    if not forked:
        try:
            code = 0 if PICTURE_PROCESS.decode(picture("TIFF"), [reader], "a.tif")[0].shape == (6, 6) else 1
        except BaseException:  # noqa: BLE001 - told by the exit code
            code = 2
        PICTURE_PROCESS.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    assert PICTURE_PROCESS.decode(picture("TIFF"), [reader], "a.tif")[0].shape == (6, 6)


def damaged_archive(path: Path, packing: int, change: Any) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("a.bmp", picture("BMP", 64))
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))
    return path


def flip(data: bytearray) -> None:
    for at in range(45, 70):
        data[at] ^= 0xA5


def encrypt(data: bytearray) -> None:
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1


def unknown_packing(data: bytearray) -> None:
    for at in (8, data.index(b"PK\x01\x02") + 10):
        data[at : at + 2] = struct.pack("<H", 97)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("change", [flip, encrypt, unknown_packing, lambda data: data.__delitem__(slice(50, 60))])
def test_a_damaged_archive_is_a_sentence(tmp_path: Path, packing: int, change: Any) -> None:
    path = damaged_archive(tmp_path / "all.zip", packing, change)
    with pytest.raises(ValueError, match=r"all\.zip"):
        PictureFolder([path]).open("a.bmp", ())


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "endless.png"):
        with pytest.raises(ValueError, match=f"the picture '{name}' is neither a file nor a folder"):
            PictureFolder([tmp_path]).open(name, ())
