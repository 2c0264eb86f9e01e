"""What the server keeps of each client: its images by handle, what they weigh, and how often it calls.

Sessions share nothing but the images given at start. A session that runs into a limit is told so by a
`budget_exhausted` error; its images stay as they were.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from anyio import Lock, to_thread

from medvistagym_core.execution import Executor, ImageStore
from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolCall, ToolError, ToolResult

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
PictureFormat = Literal["auto", "png", "jpeg", "webp"]
_MIN_IMAGE_BYTES: Final = 4096  # what an image costs besides its pixels
_MINUTE_S: Final = 60.0
_MAX_WAITING: Final = 64


@dataclasses.dataclass(frozen=True)
class SessionLimits:
    """How much a client may ask of the server.

    Attributes:
        side: Longer side in pixels of the pictures sent; larger images are sent reduced, and kept whole.
        picture_format: How pictures are sent: "auto" is PNG where the result stays within `result_bytes`, else JPEG.
        quality: Of JPEG and WebP pictures, 1 to 100; less where `result_bytes` demands it.
        result_bytes: Size of a result as a JSON message; pictures are made to fit.
        text: Characters of a result's text.
        file_bytes: Size of a file, or of the files of a folder, that is read.
        pixels: Width times height of a picture file that is read.
        read_s: Seconds that reading a file or folder may take.
        session_bytes: Memory of a session's images. A process that reads files may take three times as much.
        calls: Calls of a session within any minute.
        sessions: Sessions open at a time.
        idle_s: Seconds without a request after which a session ends.

    Raises:
        ValueError: A limit is not above 0, or `quality` is above 100.
    """

    side: int = 1024
    picture_format: PictureFormat = "auto"
    quality: int = 90
    result_bytes: int = 1_000_000
    text: int = 20_000
    file_bytes: int = 512 * 2**20
    pixels: int = 80_000_000
    read_s: float = 60.0
    session_bytes: int = 512 * 2**20
    calls: int = 600
    sessions: int = 32
    idle_s: float = 3600.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "picture_format" and value <= 0:
                raise ValueError(f"the limit {field.name} must be above 0, not {value}")
        if self.quality > 100:
            raise ValueError(f"the quality of pictures is 1 to 100, not {self.quality}")


class Session:
    """One client's images and its share of the limits. Its calls are run one after another.

    Args:
        executor: Runs the tools; shared by all sessions, so it must allow `run` from several threads.
        images: Handles 0, 1, ... from the start; they do not count as the session's memory.
        limits: What is allowed.
        clock: Seconds from a monotonic clock.
    """

    def __init__(
        self,
        executor: Executor,
        images: Sequence[Image],
        limits: SessionLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = ImageStore(images)
        self.limits = limits
        self.last_used = clock()
        self.requests = 0
        self._turn = Lock()
        self._waiting = 0
        self._executor = executor
        self._clock = clock
        self._recent: deque[float] = deque()
        self._counted_buffers = {key for image in images for key in _buffers(image)}
        self._bytes = 0
        self._running = threading.Lock()

    def check_rate(self) -> ToolError | None:
        """Count a call; an error when there were too many within a minute, or too many wait for those before them."""
        now = self.last_used = self._clock()
        while self._recent and now - self._recent[0] >= _MINUTE_S:
            self._recent.popleft()
        if len(self._recent) >= self.limits.calls:
            wait = _MINUTE_S - (now - self._recent[0])
            message = f"At most {self.limits.calls} calls a minute are allowed; try again in {wait:.0f} s."
            return ToolError("budget_exhausted", message)
        if self._waiting >= _MAX_WAITING:
            return ToolError(
                "budget_exhausted", f"{_MAX_WAITING} calls of this session wait already; await their results."
            )
        self._recent.append(now)
        return None

    async def run_in_turn(self, work: Callable[[], T]) -> T:
        """The value of `work()`, done in a thread after what was asked for before it.

        When the wait is cancelled the thread goes on by itself.
        """
        self._waiting += 1
        try:
            async with self._turn:
                return await to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            self._waiting -= 1

    def call(self, call: ToolCall) -> ToolResult:
        """Run a call; its images get the next handles if the session has room for them. Never raises for a tool's fault."""
        if not self._running.acquire(blocking=False):
            message = "An earlier call of this session that was given up is still running; try again later."
            return ToolResult(error=ToolError("budget_exhausted", message))
        try:
            trial = ImageStore([stored.image for stored in self.store])
            ((result,),) = self._executor.run([(trial, [call])])
            new = list(trial)[len(self.store) :]
            sizes = {key: size for stored in new for key, size in _buffers(stored.image).items()}
            fresh = {key: size for key, size in sizes.items() if key not in self._counted_buffers}
            size = sum(fresh.values()) + _MIN_IMAGE_BYTES * len(new)
            if new and self._bytes + size > self.limits.session_bytes:
                return ToolResult(error=self._full(size))
            for stored in new:
                self.store.add(stored.image, stored.parent, stored.call)
            self._counted_buffers |= fresh.keys()
            self._bytes += size
            return result
        finally:
            self.last_used = self._clock()
            self._running.release()

    def _full(self, size: int) -> ToolError:
        held, limit = self._bytes / 2**20, self.limits.session_bytes / 2**20
        return ToolError(
            "budget_exhausted",
            f"The result takes {size / 2**20:.1f} MiB; this session holds {held:.1f} MiB of images, and may hold {limit:.1f}. "
            "Open a new session to go on.",
        )


class Sessions:
    """The open sessions by key; those idle for too long are ended.

    Args:
        executor: Runs the calls of all sessions.
        images: What every session has at its start, as handles from 0.
        limits: What a session may ask, and how many there are.
        clock: Seconds from any fixed moment; never goes back.
    """

    def __init__(
        self,
        executor: Executor,
        images: Sequence[Image],
        limits: SessionLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._make: Callable[[], Session] = partial(Session, executor, images, limits, clock)
        self._clock = clock
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        self._end_idle()
        return len(self._open)

    def open(self, key: str) -> Session:
        """Begin a session."""
        self._open[key] = session = self._make()
        return session

    def find(self, key: str) -> Session | None:
        """The session, counted as used now; None when it ended or never was."""
        self._end_idle()
        session = self._open.get(key)
        if session is not None:
            session.last_used = self._clock()
        return session

    @contextlib.contextmanager
    def in_use(self, key: str) -> Iterator[Session | None]:
        """The session as `find` gives it; it does not end while the context lasts."""
        session = self.find(key)
        if session is None:
            yield None
            return
        session.requests += 1
        try:
            yield session
        finally:
            session.requests -= 1
            session.last_used = self._clock()

    def close(self, key: str) -> None:
        """End a session."""
        self._open.pop(key, None)

    def _end_idle(self) -> None:
        earliest = self._clock() - self.limits.idle_s
        for key, session in list(self._open.items()):
            if not session.requests and session.last_used < earliest:
                del self._open[key]


def _buffers(image: Image) -> dict[int, int]:
    """Bytes of the memory blocks that an image keeps alive, by identity; a crop keeps the whole of what it was cut from."""
    buffers: dict[int, int] = {}
    part: Image | None = image
    while part is not None:
        for array in (part.pixels, part.overlay):
            if array is not None:
                owner = _owner(array)
                buffers[id(owner)] = owner.nbytes
        part = part.detail
    return buffers


def _owner(array: np.ndarray) -> np.ndarray:
    import numpy as np

    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
