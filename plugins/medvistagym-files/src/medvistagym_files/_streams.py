"""Stored values as streams: plain, or inflated no further than they are read."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Encoding = Literal["raw", "gzip", "zlib", "bzip2"]
_CHUNK: Final = 2**16
_SKIP: Final = 2**20


@contextmanager
def open_values(path: Path, offset: int, encoding: Encoding, skip: int = 0) -> Iterator[tuple[IO[bytes], int]]:
    """The stored values of a volume: a stream at their beginning, and the size of the file.

    Args:
        path: The file that holds them.
        offset: Where they begin in the file.
        encoding: How they are compressed.
        skip: Inflated bytes before them.

    Raises:
        ValueError: The file ends before.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(offset)
        stream: IO[bytes] = file
        if encoding == "gzip":
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
        elif encoding == "bzip2":
            stream = cast("IO[bytes]", bz2.BZ2File(file))
        elif encoding == "zlib":
            stream = cast("IO[bytes]", io.BufferedReader(_Inflated(file)))
        while skip > 0:
            skip -= len(read_exactly(stream, min(skip, _SKIP)))
        yield stream, size


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """The next bytes of a stream.

    Raises:
        ValueError: There are fewer, or they are not compressed as they should be.
    """
    try:
        content = stream.read(count)
        while len(content) < count and (more := stream.read(count - len(content))):
            content += more
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"its compressed values are damaged ({error})") from error
    if len(content) < count:
        raise ValueError("it ends before all values that its header promises")
    return content


class _Inflated(io.RawIOBase):
    """A stream of zlib (RFC 1950), inflated as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._inflate.eof:
            content = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            if not content:
                return 0
            inflated = self._inflate.decompress(content, len(view))
            if inflated:
                view[: len(inflated)] = inflated
                return len(inflated)
        return 0
