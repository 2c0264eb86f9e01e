"""What the server keeps of each client: its images by handle, what they weigh, and how often it calls.

Sessions share nothing but the images given at start. A session that runs into a limit is told so by a
`budget_exhausted` error; its images stay as they were.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from medvistagym_core.execution import Executor, ImageStore
from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolCall, ToolError, ToolResult

if TYPE_CHECKING:
    import numpy as np

_LEAST_BYTES: Final = 4096
_MINUTE_S: Final = 60.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a client may ask of the server.

    Attributes:
        side: Longer side in pixels of the pictures sent; larger images are sent reduced, and kept whole.
        file_bytes: Size of a file, or of the files of a folder, that is read.
        pixels: Width times height of a picture file that is read.
        session_bytes: Memory of a session's images.
        calls: Calls of a session within any minute.
        sessions: Sessions open at a time.
        idle_s: Seconds without a request after which a session ends.
        text: Characters of a result's text.
    """

    side: int = 1024
    file_bytes: int = 512 * 2**20
    pixels: int = 80_000_000
    session_bytes: int = 512 * 2**20
    calls: int = 600
    sessions: int = 32
    idle_s: float = 3600.0
    text: int = 20_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"the limit {field.name} must be above 0, not {getattr(self, field.name)}")


class Session:
    """One client's images and its share of the limits. Its calls are run one after another, each while it holds `turn`.

    Args:
        executor: Runs the tools; shared by all sessions, so it must allow `run` from several threads.
        images: Handles 0, 1, ... from the start; they do not count as the session's memory.
        limits: What is allowed.
        clock: Seconds from a monotonic clock.
    """

    def __init__(
        self, executor: Executor, images: Sequence[Image], limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = ImageStore(images)
        self.limits = limits
        self.used = clock()
        self.turn = asyncio.Lock()
        self._executor = executor
        self._clock = clock
        self._recent: deque[float] = deque()
        self._known = {key for image in images for key in _buffers(image)}
        self._bytes = 0
        self._busy = threading.Lock()

    def admit(self) -> ToolError | None:
        """Count a call; an error when there were too many within a minute."""
        now = self.used = self._clock()
        while self._recent and now - self._recent[0] >= _MINUTE_S:
            self._recent.popleft()
        if len(self._recent) >= self.limits.calls:
            wait = _MINUTE_S - (now - self._recent[0])
            said = f"At most {self.limits.calls} calls a minute are allowed; try again in {wait:.0f} s."
            return ToolError("budget_exhausted", said)
        self._recent.append(now)
        return None

    def call(self, call: ToolCall) -> ToolResult:
        """Run a call; its images get the next handles if the session has room for them. Never raises for a tool's fault."""
        if not self._busy.acquire(blocking=False):
            said = "An earlier call of this session that was given up is still running; try again later."
            return ToolResult(error=ToolError("budget_exhausted", said))
        try:
            trial = ImageStore([stored.image for stored in self.store])
            ((result,),) = self._executor.run([(trial, [call])])
            new = list(trial)[len(self.store) :]
            weights = {key: weight for stored in new for key, weight in _buffers(stored.image).items()}
            fresh = {key: weight for key, weight in weights.items() if key not in self._known}
            size = sum(fresh.values()) + _LEAST_BYTES * len(new)
            if new and self._bytes + size > self.limits.session_bytes:
                return ToolResult(error=self._full(size))
            for stored in new:
                self.store.add(stored.image, stored.parent, stored.call)
            self._known |= fresh.keys()
            self._bytes += size
            return result
        finally:
            self.used = self._clock()
            self._busy.release()

    def _full(self, size: int) -> ToolError:
        held, most = self._bytes / 2**20, self.limits.session_bytes / 2**20
        return ToolError(
            "budget_exhausted",
            f"The result takes {size / 2**20:.1f} MiB; this session holds {held:.1f} MiB of images, and may hold {most:.1f}. "
            "Open a new session to go on.",
        )


class Sessions:
    """The open sessions by key; those idle for too long are ended."""

    def __init__(
        self, executor: Executor, images: Sequence[Image], limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self._make: Callable[[], Session] = partial(Session, executor, images, limits, clock)
        self._clock = clock
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        self._end_idle()
        return len(self._open)

    def full(self) -> bool:
        """Whether no further session can be opened now."""
        return len(self) >= self.limits.sessions

    def open(self, key: str) -> Session:
        """Begin a session."""
        self._open[key] = session = self._make()
        return session

    def find(self, key: str) -> Session | None:
        """The session, counted as used now; None when it ended or never was."""
        self._end_idle()
        session = self._open.get(key)
        if session is not None:
            session.used = self._clock()
        return session

    def close(self, key: str) -> None:
        """End a session."""
        self._open.pop(key, None)

    def _end_idle(self) -> None:
        now = self._clock()
        for key in [key for key, session in self._open.items() if now - session.used > self.limits.idle_s]:
            del self._open[key]


def _buffers(image: Image) -> dict[int, int]:
    """Bytes of the memory blocks that an image keeps alive, by identity; a crop keeps the whole of what it was cut from."""
    found: dict[int, int] = {}
    part: Image | None = image
    while part is not None:
        for array in (part.pixels, part.overlay):
            if array is not None:
                owner = _owner(array)
                found[id(owner)] = owner.nbytes
        part = part.detail
    return found


def _owner(array: np.ndarray) -> np.ndarray:
    import numpy as np

    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
