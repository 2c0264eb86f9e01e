"""Sessions: what they keep, how much, and for how long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from medvistagym_core import LocalExecutor, Toolbox, ToolCall, ToolResult, tool
from medvistagym_mcp.server import Session, SessionLimits, Sessions

from .parts import TOOLBOX, grey


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(TOOLBOX, cache_bytes=0) as local:
        yield local


def call(session: Session, name: str, **arguments: Any) -> ToolResult:
    return session.call(ToolCall(name=name, arguments=arguments))


def test_a_session_weighs_what_its_images_keep_in_memory(executor: LocalExecutor) -> None:
    session = Session(executor, [grey()], SessionLimits(session_bytes=64_000))
    for _ in range(3):
        assert call(session, "cut", image=0, box=[0, 0, 500, 500]).ok  # a view of what is there already
    assert call(session, "noise", image=0, seed=1).handles == (4,)
    assert call(session, "noise", image=0, seed=2).handles == (5,)
    refused = [call(session, "noise", image=0, seed=seed) for seed in range(3, 9)]
    errors = [result.error for result in refused if result.error is not None]
    assert errors
    assert errors[0].code == "budget_exhausted"
    assert "MiB" in errors[0].message
    assert len(session.store) == 6 + sum(result.ok for result in refused)
    assert call(session, "leak", image=5).error is not None  # still usable


def test_calls_a_minute_are_counted_over_any_minute(executor: LocalExecutor) -> None:
    clock = Clock()
    session = Session(executor, [], SessionLimits(calls=3), clock)
    for _ in range(3):
        assert session.check_rate() is None
        clock.now += 15
    refused = session.check_rate()
    assert refused is not None
    assert refused.code == "budget_exhausted"
    assert "try again in 15 s" in refused.message
    clock.now += 15.1
    assert session.check_rate() is None
    assert session.check_rate() is not None


def test_sessions_share_nothing_and_end_when_idle(executor: LocalExecutor) -> None:
    clock = Clock()
    sessions = Sessions(executor, [grey()], SessionLimits(idle_s=60), clock)
    first, second = sessions.open("first"), sessions.open("second")
    call(first, "noise", image=0)
    assert (len(first.store), len(second.store)) == (2, 1)
    clock.now += 50
    assert sessions.find("first") is first
    clock.now += 50
    assert sessions.find("second") is None
    assert sessions.find("first") is first
    sessions.close("first")
    assert len(sessions) == 0


def test_a_session_does_not_end_during_a_request(executor: LocalExecutor) -> None:
    clock = Clock()
    sessions = Sessions(executor, [], SessionLimits(idle_s=60), clock)
    sessions.open("busy")
    with sessions.in_use("busy") as session:
        clock.now += 1000
        assert sessions.find("busy") is session
    clock.now += 61
    with sessions.in_use("busy") as session:
        assert session is None


def test_calls_that_wait_are_limited() -> None:
    end = threading.Event()

    @tool(timeout_s=None)
    def wait() -> str:
        """Wait."""
        end.wait(20)
        return "done"

    async def ask(session: Session) -> ToolResult:
        refused = session.check_rate()
        return ToolResult(error=refused) if refused else await session.run_in_turn(partial(call, session, "wait"))

    async def run() -> list[ToolResult]:
        with LocalExecutor(Toolbox({"wait": wait}), cache_bytes=0) as executor:
            session = Session(executor, [], SessionLimits())
            asked = [asyncio.create_task(ask(session)) for _ in range(70)]
            await asyncio.sleep(0.1)
            end.set()
            return await asyncio.gather(*asked)

    results = asyncio.run(run())
    refused = [str(result.error) for result in results if result.error is not None]
    assert len(refused) == 6
    assert all("64 calls of this session wait already" in said for said in refused)


def test_a_call_that_was_given_up_does_not_run_beside_the_next() -> None:
    going, end = threading.Event(), threading.Event()

    @tool(timeout_s=None)
    def wait() -> str:
        """Wait."""
        going.set()
        end.wait(20)
        return "done"

    with LocalExecutor(Toolbox({"wait": wait}), cache_bytes=0) as executor:
        session = Session(executor, [], SessionLimits())
        first = threading.Thread(target=call, args=(session, "wait"))
        first.start()
        going.wait(20)
        error = call(session, "wait").error
        end.set()
        first.join(20)
        assert error is not None
        assert "is still running" in error.message
        assert call(session, "wait").text == "done"


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="side must be above 0"):
        SessionLimits(side=0)
    with pytest.raises(ValueError, match="1 to 100, not 101"):
        SessionLimits(quality=101)
