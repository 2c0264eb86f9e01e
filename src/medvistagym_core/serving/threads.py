"""Work that blocks, run aside from the event loop on threads that never keep the process alive."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """The value of `work()`. When the wait is cancelled the thread goes on, and its value is dropped."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(error: BaseException | None, *value: T) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value[0])

    def run() -> None:
        # The loop may be gone by then: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            try:
                value = work()
            except Exception as error:  # noqa: BLE001 raised where it is awaited
                loop.call_soon_threadsafe(settle, error)
            else:
                loop.call_soon_threadsafe(settle, None, value)

    threading.Thread(target=run, daemon=True, name="medvistagym-serve").start()
    return await done
