"""Stored values as streams: plain, or inflated no further than they are read."""

from __future__ import annotations

import bz2
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
_MAX_REST: Final = 2**26
_GZIP: Final = b"\x1f\x8b"
_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "zlib": zlib.MAX_WBITS}


@contextmanager
def open_values(
    path: Path, offset: int, encoding: Encoding, skip: int = 0, *, to_end: bool = True
) -> Iterator[tuple[IO[bytes], int]]:
    """The stored values of a volume: a stream at their beginning, and the size of the file.

    Args:
        path: The file that holds them.
        offset: Where they begin in the file.
        encoding: How they are compressed.
        skip: Inflated bytes before them.
        to_end: Whether all values are read. Then what is compressed behind them is inflated too, if it is little, since the
            checksum of all stands at its end.

    Raises:
        ValueError: The file ends before, or has another checksum than its values.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(offset)
        stream: IO[bytes] = file
        if encoding == "bzip2":
            stream = cast("IO[bytes]", bz2.BZ2File(file))
        elif encoding != "raw":
            stream = cast("IO[bytes]", io.BufferedReader(_Inflated(file, _WINDOW_BITS[encoding])))
        while skip > 0:
            skip -= len(read_exactly(stream, min(skip, _SKIP)))
        yield stream, size
        rest = _MAX_REST if to_end and encoding != "raw" else 0
        while rest > 0 and (content := _read(stream, _SKIP)):
            rest -= len(content)


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """The next bytes of a stream.

    Raises:
        ValueError: There are fewer, or they are not compressed as they should be.
    """
    content = _read(stream, count)
    while len(content) < count and (more := _read(stream, count - len(content))):
        content += more
    if len(content) < count:
        raise ValueError("it ends before all values that its header promises")
    return content


def _read(stream: IO[bytes], count: int) -> bytes:
    try:
        return stream.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"its compressed values are damaged ({error})") from error


class _Inflated(io.RawIOBase):
    """A stream of gzip (RFC 1952) or zlib (RFC 1950), inflated as it is read; zlib compares the checksum at its end.

    Of gzip it goes on with a further member, and what else lies behind the last one is left alone, as gzip itself does.
    """

    def __init__(self, file: IO[bytes], window_bits: int) -> None:
        self._file, self._window_bits = file, window_bits
        self._inflate, self._rest = zlib.decompressobj(window_bits), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            if self._inflate.eof:
                self._rest += self._file.read(_CHUNK) if len(self._rest) < len(_GZIP) else b""
                if self._window_bits != _WINDOW_BITS["gzip"] or not self._rest.startswith(_GZIP):
                    return 0
                self._inflate = zlib.decompressobj(self._window_bits)
            self._rest = self._rest or self._file.read(_CHUNK)
            if not self._rest:
                raise EOFError("they are cut off")
            inflated = self._inflate.decompress(self._rest, len(view))
            self._rest = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if inflated:
                view[: len(inflated)] = inflated
                return len(inflated)
