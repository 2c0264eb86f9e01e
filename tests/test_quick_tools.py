"""Quick tools run where they are called, and are watched."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, ToolCall, tool
from medvistagym_core.execution import Watchdog


def call(name, **arguments):
    return ToolCall(name=name, arguments=arguments)


def image(value=0):
    return Image(pixels=np.full((4, 4), value, np.int16), unit="HU")


@pytest.fixture
def quick():
    """A registry with one quick tool that may be told to misbehave, and the names of the threads it ran in."""
    threads = []
    over = threading.Event()  # a thread that was given up on would spin beside all later tests

    @tool(deterministic=False, timeout_s=0.3)
    def quickly(image: Image, how: str = "well") -> str:
        """Be quick.

        Args:
            image: Any.
            how: In what way.
        """
        threads.append(threading.current_thread().name)
        if how == "sleep":
            time.sleep(60)
        if how == "spin":
            while not over.is_set():
                pass
        if how == "stubborn":
            try:
                time.sleep(60)
            except BaseException:  # noqa: BLE001 what a tool should not do
                time.sleep(60)
        if how == "leave":
            sys.exit(4)
        return how

    registry = Registry()
    registry.add_tool(quickly)
    yield registry, threads
    over.set()


def ask(executor, *ways):
    jobs = [(ImageStore([image()]), [call("quickly", image=0, how=how)]) for how in ways]
    return [row[0] for row in executor.run(jobs)]


def test_a_tool_that_has_shown_itself_quick_runs_in_the_calling_thread(quick):
    registry, threads = quick
    with LocalExecutor(registry.toolbox()) as ex:
        for _ in range(4):
            ask(ex, *["well"] * 64)
    assert threads[0] != threading.current_thread().name
    assert threading.current_thread().name in threads


@pytest.mark.parametrize("how", ["sleep", "spin", "stubborn"])
@pytest.mark.parametrize("where", ["main thread", "another thread"])
def test_a_quick_tool_that_hangs_all_of_a_sudden_costs_one_timeout(quick, how, where):
    registry, _ = quick
    outcome = []

    def play():
        with LocalExecutor(registry.toolbox()) as ex:
            for _ in range(4):
                ask(ex, *["well"] * 64)
            begin = time.monotonic()
            outcome.append(ask(ex, "a", how, "b"))
            outcome.append(time.monotonic() - begin)
            outcome.append(ask(ex, "c"))

    if where == "main thread":
        play()
    else:
        thread = threading.Thread(target=play)
        thread.start()
        thread.join()
    (a, hung, b), seconds, (c,) = outcome
    assert [r.text for r in (a, b, c)] == ["a", "b", "c"]
    assert hung.error.code == "timeout"
    assert seconds < 10


def test_a_tool_that_hangs_after_a_rest_costs_one_timeout(quick):
    registry, _ = quick
    with LocalExecutor(registry.toolbox()) as ex:
        for _ in range(4):
            ask(ex, *["well"] * 64)
        for _ in range(3):
            time.sleep(0.06)  # nobody watches any more
            assert [r.text for r in ask(ex, *["well"] * 8)] == ["well"] * 8
        begin = time.monotonic()
        a, hung, b = ask(ex, "a", "sleep", "b")
    assert time.monotonic() - begin < 10
    assert (a.text, hung.error.code, b.text) == ("a", "timeout", "b")


def test_a_tool_quicker_than_the_cache_is_as_correct_as_others():
    @tool
    def swift(number: int, image: Image | None = None) -> Image | int:
        """Double a number, or an image where there is one.

        Args:
            number: Any; one below 0 gives an image of it.
            image: Any.
        """
        if number < 0:
            return Image(pixels=np.full((2, 2), number, np.int16))
        if number == 99:
            raise ValueError("99 is too much")
        return 2 * number if image is None else 2 * int(image.pixels.max())

    registry = Registry()
    registry.add_tool(swift)
    store = ImageStore([image(3)])
    with LocalExecutor(registry.toolbox()) as ex:

        def one(**arguments):
            return ex.run([(store, [call("swift", **arguments)])])[0][0]

        for k in range(60):
            found = one(number=k)
            assert (found.text, found.data, found.ok) == (str(2 * k), {"value": 2 * k}, True)
        assert [one(number=7).text for _ in range(3)] == ["14"] * 3
        assert one(number=1, image=0).text == "6"
        assert one(number=1, image=4).error.message == "swift: there is no image 4; the only image is 0."
        assert one(number=1.0).error.code == "bad_arguments"
        assert one(number=1, size=2).error.code == "bad_arguments"
        assert one(number=99).error.code == "bad_value"
        made = one(number=-5)
        assert made.handles == (1,)
        assert store[1].pixels.max() == -5
        assert one(number=1, image=1).text == "-10"


def test_a_quick_tool_that_leaves_costs_one_error(quick):
    registry, _ = quick
    with LocalExecutor(registry.toolbox()) as ex:
        for _ in range(4):
            ask(ex, *["well"] * 64)
        results = ask(ex, "a", "leave", "b")
    assert [r.ok for r in results] == [True, False, True]
    assert results[1].error.message == "quickly failed with SystemExit."


def test_a_quick_tool_that_is_cancelled_costs_one_error():
    @tool(deterministic=False)
    def cancel(image: Image, now: bool = False) -> str:
        """Be cancelled.

        Args:
            image: Any.
            now: Whether.
        """
        if now:
            raise asyncio.CancelledError
        return "not yet"

    registry = Registry()
    registry.add_tool(cancel)
    with LocalExecutor(registry.toolbox()) as ex:
        for _ in range(4):
            ex.run([(ImageStore([image()]), [call("cancel", image=0)]) for _ in range(64)])
        ((result,),) = ex.run([(ImageStore([image()]), [call("cancel", image=0, now=True)])])
    assert result.error.message == "cancel failed with CancelledError."


def test_a_program_that_uses_the_signal_itself_keeps_it():
    before = signal.signal(signal.SIGURG, signal.SIG_IGN)
    try:
        assert not Watchdog().is_available()
        assert signal.getsignal(signal.SIGURG) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGURG, before)


def test_a_tool_may_run_tools_itself(quick):
    inner = LocalExecutor(quick[0].toolbox())

    @tool(deterministic=False)
    def outer(image: Image) -> str:
        """Ask a quick tool.

        Args:
            image: Any.
        """
        return ask(inner, "well")[0].text

    registry = Registry()
    registry.add_tool(outer)
    with inner, LocalExecutor(registry.toolbox()) as ex:
        for _ in range(4):
            rows = ex.run([(ImageStore([image()]), [call("outer", image=0)]) for _ in range(16)])
            assert [row[0].text for row in rows] == ["well"] * 16


@pytest.mark.skipif(not hasattr(signal, "SIGURG"), reason="this system has no SIGURG")
def test_a_program_that_takes_the_signal_for_itself_loses_no_time_limit():
    code = """
import signal, time
from medvistagym_core import Registry, tool
from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core import ToolCall

@tool(timeout_s=0.3, deterministic=False)
def wait(seconds: float) -> str:
    '''Wait.

    Args:
        seconds: How long.
    '''
    if seconds:
        time.sleep(seconds)
    return "done"

def ask(seconds):
    return executor.run([(ImageStore(), [ToolCall(name="wait", arguments={"seconds": seconds})])])[0][0]

registry = Registry()
registry.add_tool(wait)
executor = LocalExecutor(registry.toolbox())
for _ in range(64):
    assert ask(0).ok
heard = []
signal.signal(signal.SIGURG, lambda *_: heard.append(1))
for _ in range(20):
    assert ask(0).ok
    time.sleep(0.005)
assert ask(30).error.code == "timeout"
assert not heard
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_that_leaves_its_executor_open_ends_without_a_word():
    code = """
from medvistagym_core import LocalExecutor, Registry
from medvistagym_core.imaging import pooled_empty
executor = LocalExecutor(Registry().toolbox())
kept = pooled_empty((1024, 1024), 'float32')
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (0, "")
