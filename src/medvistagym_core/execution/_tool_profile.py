"""What an executor knows of a tool: its facts, looked up once, and what its runs have shown of its speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter, thread_time
from typing import Any, Final

from medvistagym_core.execution._thread_pool import TIMED_OUT
from medvistagym_core.execution._watchdog import WATCHDOG, DeadlineExceeded
from medvistagym_core.imaging import Image
from medvistagym_core.tools import (
    JSON_SCALARS,
    Tool,
    ToolError,
    ToolResult,
    coerce_result,
    is_plain_list,
    made,
    wrap_exception,
)

FAST_CALL_S: Final = 0.0002
_JITTER_S: Final = 0.02  # what a busy machine may add to a quick run
_FAST_THRESHOLD: Final = 8
_MAX_SCORE: Final = 16
_INTERRUPTED: Final = 4  # what a run that was not so short costs, which may be the system's doing
_SWIFT_S: Final = 5e-6  # what it takes to keep a result under its key, and to find it
_EMA_WEIGHT: Final = 0.25  # weight of the last run in averages


class ToolProfile:
    """A tool, and how it has behaved.

    A tool is trusted to run in the calling thread after eight runs, each within 0.2 ms. A slower one costs it eight, or
    all when it cannot be an interruption by the system.

    One that takes less than its result takes to keep, which is less than 5 us, is run each time, even for equal calls.

    Attributes:
        tool: The tool.
        check: Checks arguments that are plain JSON values (`Tool.plain_check`).
        batched: Whether it has a kernel for several calls.
        images: Its arguments that are images or lists of images.
        image: The one of them, where there is one only.
        prefix: Of the keys of its results; None when it is not deterministic.
        limit: Seconds allowed to a call; None for no limit.
        seconds: Wall time of what one thread ran in one go, lately; 0 before the first.
        busy: Whether that kept the processor busy.
        trusted: Whether it is quick enough to run in the calling thread.
        inline: Whether it is, and there is no kernel that several calls should wait for.
        swift: Whether it is, and takes so little, for no images, that equal calls are not worth noticing.
    """

    __slots__ = (
        "_cpu",
        "_kernel",
        "_score",
        "_streak",
        "batched",
        "busy",
        "cache_prefix",
        "check",
        "fast",
        "image",
        "images",
        "inline",
        "seconds",
        "timeout_s",
        "tool",
        "uncached_inline",
    )  # fmt: skip

    def __init__(self, tool: Tool) -> None:
        spec = tool.spec
        self.tool = tool
        self.check = tool.validate_fast
        self.batched = tool.batched
        self.images = tool.image_arguments
        self.image = self.images[0] if len(self.images) == 1 else None
        self.cache_prefix = f"{spec.id} {spec.version} {tool.device}" if spec.deterministic else None
        self.timeout_s = spec.timeout_s
        self.seconds = 0.0
        self.busy = True
        self.fast = self.inline = self.uncached_inline = False
        self._kernel: Callable[..., Any] = tool
        self._cpu = 0.0
        self._score = self._streak = 0

    def run_inline(self, arguments: dict[str, Any], images: Sequence[Image] | None = None) -> ToolResult | None:
        """What `Tool.run` gives, in the calling thread, for a trusted tool; if it has a limit, `WATCH` must be ready.

        This is most of what a call costs besides its tool, so nothing is left to functions that need not be.

        Args:
            arguments: Checked, with images in place of handles; or as they were sent, for a swift tool with `images`.
            images: Those of the episode. Arguments are then checked here, and where the careful way has to look, the result
                is None.
        """
        if images is not None:
            for value in arguments.values():
                if type(value) not in JSON_SCALARS and not is_plain_list(value):
                    return None
            check, image = self.check, self.image
            assert check is not None
            try:
                arguments = check(arguments)
            except ValueError:
                return None
            if image is not None:
                handle = arguments[image]
                if type(handle) is not int or handle >= len(images):
                    return None
                arguments[image] = images[handle]
        limit = self.timeout_s
        began = perf_counter()
        try:
            try:
                if limit is not None:
                    WATCHDOG.deadline = began + limit
                    if WATCHDOG.asleep:
                        WATCHDOG.wake()
                value = self._kernel(**arguments)
            finally:
                if limit is not None:
                    WATCHDOG.deadline = inf
            seconds = perf_counter() - began
            if limit is not None and seconds > limit:  # it was in C code, and could not be interrupted
                raise DeadlineExceeded
            if type(value) is str:
                result = made((), value, None, None, (), seconds, False)
            else:
                result = coerce_result(self.tool.name, value, seconds)
        except DeadlineExceeded:
            WATCHDOG.deadline = inf
            return self.to_results(TIMED_OUT, 1)[0]
        except Exception as error:  # noqa: BLE001 as in `Tool.run`
            seconds = perf_counter() - began
            result = ToolResult(error=wrap_exception(self.tool.name, error), seconds=seconds)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 a cancellation, a panic, an exit: in a thread it costs one error too
            return self.to_results(error, 1)[0]
        if seconds < _SWIFT_S and not result.images:
            if self._streak < _MAX_SCORE or self._score < _MAX_SCORE:
                self._streak = min(_MAX_SCORE, self._streak + 1)
                self._score = min(_MAX_SCORE, self._score + 1)
                self._update_mode()
        else:
            self._streak = max(0, self._streak - _INTERRUPTED)
            if seconds >= FAST_CALL_S:
                self._record_slow(seconds)
            else:
                self._score = min(_MAX_SCORE, self._score + 1)
                self._update_mode()
        return result

    def record_timing(self, wall: float, cpu: float) -> None:
        """Learn from what a thread ran in one go: its wall time and the processor's."""
        if wall < FAST_CALL_S:
            self._score = min(_MAX_SCORE, self._score + 1)
            self._update_mode()
        else:
            self._record_slow(wall)
        old = 1 - _EMA_WEIGHT if self.seconds else 0.0
        self.seconds = old * self.seconds + (1 - old) * wall
        self._cpu = old * self._cpu + (1 - old) * cpu
        self.busy = self._cpu > 0.5 * self.seconds

    def to_results(self, value: Any, count: int) -> list[ToolResult]:
        """The results of `count` calls, of what `Workers` gave for them."""
        if value is TIMED_OUT:
            assert self.timeout_s is not None
            self._record_slow(self.timeout_s)
            error = ToolError("timeout", f"{self.tool.name} took longer than {self.timeout_s:g} s and was given up.")
        elif isinstance(value, BaseException):
            error = ToolError("tool_failed", f"{self.tool.name} failed with {type(value).__name__}.")
        else:
            return list(value)
        return [ToolResult(error=error) for _ in range(count)]

    def _record_slow(self, seconds: float) -> None:
        if seconds < _JITTER_S:
            self._score = max(0, self._score - _FAST_THRESHOLD)
        else:
            self._score = self._streak = 0
        self._update_mode()

    def _update_mode(self) -> None:
        trusted = self._score >= _FAST_THRESHOLD
        if trusted and not self.fast:
            self._kernel = self.tool.kernel()
        self.fast = trusted
        self.inline = trusted and not self.batched
        plain = self.check is not None and len(self.images) < 2
        self.uncached_inline = self.inline and plain and self._streak >= _FAST_THRESHOLD


class WorkItem:
    """What a thread does in one go: some calls of a tool."""

    __slots__ = ("_arguments", "_known")

    def __init__(self, known: ToolProfile, arguments: Sequence[dict[str, Any]]) -> None:
        self._known = known
        self._arguments = arguments

    def __call__(self) -> list[ToolResult]:
        """The results."""
        began, cpu = perf_counter(), thread_time()
        tool, arguments = self._known.tool, self._arguments
        results = [tool.run(arguments[0])] if len(arguments) == 1 else tool.run_batch(arguments)
        wall = perf_counter() - began
        self._known.record_timing(wall, thread_time() - cpu)
        if len(results) == 1:
            return results
        return [result.with_seconds(wall / len(results)) for result in results]
