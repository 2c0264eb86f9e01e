"""Where the bytes of an object come from: a file, or a deflated part of one, inflated only as far as it is read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import stat
import zlib
from pathlib import Path
from typing import Final, Protocol

from medvistagym_dicom.reading._errors import DicomError

# What compressed or deflated data may grow to: this much, and as many bytes for each of their own. Real images shrink to a
# thirtieth at most; masks, which shrink more, fit into the allowance.
GROWTH_ALLOWANCE: Final = 1 << 28
GROWTH_FACTOR: Final = 32
_HEADER_ALLOWANCE: Final = 1 << 20
_CHUNK: Final = 1 << 18
_WINDOW: Final = 1 << 16


def max_growth(encoded_bytes: int) -> int:
    """Most bytes of memory that decoding this many compressed bytes may take."""
    return GROWTH_ALLOWANCE + GROWTH_FACTOR * encoded_bytes


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that holds an object.

    Attributes:
        path: The file.
        name: Its name, for errors.
        size: Its length in bytes.
        max_bytes: Most bytes of pixels that may be decoded.
        deflated_at: Where its deflated data set begins; None when it is not deflated (PS3.5 A.5).
    """

    path: Path
    name: str
    size: int
    max_bytes: int
    deflated_at: int | None = None

    @classmethod
    def from_path(cls, path: Path, max_bytes: int) -> Source:
        """The file at a path.

        Raises:
            DicomError: It does not exist, is no regular file, is empty, or is much larger than the pixels that may be decoded.
        """
        name = path.name
        try:
            status = path.stat()
        except FileNotFoundError:
            raise DicomError("not_found", f"{name}: no such file or folder") from None
        if not stat.S_ISREG(status.st_mode):
            raise DicomError("not_an_image", f"{name}: it is not a regular file")
        if status.st_size == 0:
            raise DicomError("empty", f"{name}: the file is empty")
        if status.st_size > max_bytes + (64 << 20):
            sizes = f"{status.st_size / 2**20:.0f} MiB is above the limit of {max_bytes / 2**20:.0f} MiB"
            raise DicomError("too_large", f"{name}: {sizes}")
        return cls(path, name, status.st_size, max_bytes)

    def open(self) -> Stream:
        """The object's bytes as a stream."""
        file = self.path.open("rb", buffering=0)
        if self.deflated_at is None:
            return FileStream(file, self.size)
        limit = min(max_growth(self.size), self.max_bytes + _HEADER_ALLOWANCE)
        return InflatedStream(file, self.deflated_at, limit, self.name)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the object; fewer where it ends before."""
        with contextlib.closing(self.open()) as stream:
            stream.seek(offset)
            return stream.read(length)


class Stream(Protocol):
    """What pydicom's reader needs of a file, and whether it is as long as an element says."""

    def read(self, size: int) -> bytes: ...
    def seek(self, offset: int) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...
    def holds(self, end: int) -> bool:
        """Whether the stream is at least this long."""
        ...


class FileStream:
    """A file read through a window, in which pydicom's many small reads cost no system calls."""

    def __init__(self, file: io.RawIOBase, size: int) -> None:
        self._file, self._size = file, size
        self._window, self._window_at, self._at = b"", 0, 0

    def read(self, size: int) -> bytes:
        start = self._at - self._window_at
        if start < 0 or start + size > len(self._window):
            self._file.seek(self._at)
            self._window, self._window_at, start = self._read_fully(max(size, _WINDOW)), self._at, 0
        data = self._window[start : start + size]
        self._at += len(data)
        return data

    def _read_fully(self, size: int) -> bytes:
        data = self._file.read(min(size, max(0, self._size - self._at))) or b""
        while len(data) < size and (
            more := self._file.read(size - len(data))
        ):  # a read may return less than was asked for
            data += more
        return data

    def seek(self, offset: int) -> int:
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()

    def holds(self, end: int) -> bool:
        return end <= self._size


class InflatedStream:
    """A deflated data set as a stream, inflated only as far as it is asked for; what lies well behind is dropped.

    Reading raises DicomError where the data are damaged or cut off, or where more than `limit` bytes are asked for.
    """

    def __init__(self, file: io.RawIOBase, start: int, limit: int, name: str) -> None:
        self._file, self._limit, self._name = file, limit, name
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._window, self._window_at, self._at = bytearray(), 0, 0
        file.seek(start)

    def holds(self, end: int) -> bool:
        return self._inflate(end, keep_from=self._at)

    def _inflate(self, end: int, keep_from: int) -> bool:
        """Inflate up to `end`, and keep what lies behind `keep_from`; whether there is as much."""
        while self._window_at + len(self._window) < end and not self._inflater.eof:
            if end > self._limit:
                sizes = f"the limit of {self._limit / 2**20:.0f} MiB"
                raise DicomError("too_large", f"{self._name}: its deflated data set is larger than {sizes}")
            data = self._inflater.unconsumed_tail or self._file.read(_CHUNK) or b""
            try:
                inflated = self._inflater.decompress(data, _CHUNK)
            except zlib.error:
                raise DicomError("corrupt", f"{self._name}: its deflated data set is damaged") from None
            if not data and not inflated and not self._inflater.eof:
                raise DicomError("truncated", f"{self._name}: its deflated data set is cut off")
            self._window += inflated
            if (surplus := min(keep_from, self._window_at + len(self._window)) - self._window_at - _WINDOW) > _CHUNK:
                del self._window[:surplus]
                self._window_at += surplus
        return self._window_at + len(self._window) >= end

    def read(self, size: int) -> bytes:
        self._inflate(self._at + size, keep_from=self._at)
        start = self._at - self._window_at
        assert start >= 0, "a deflated data set is read from its beginning to its end"
        data = bytes(memoryview(self._window)[start : start + size])
        self._at += len(data)
        return data

    def seek(self, offset: int) -> int:
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()
