"""How a tool runs is declared: light ones in the calling thread, instances of a class one call at a time."""

import asyncio
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, ToolCall, ToolResult, tool


def image(value=0):
    return Image(pixels=np.full((4, 4), value, np.int16), unit="HU")


def call(name, **arguments):
    return ToolCall(name=name, arguments=arguments)


def executor(*tools):
    registry = Registry()
    for one in tools:
        registry.add_tool(one)
    return LocalExecutor(registry.toolbox())


def run(executor, name, *each):
    requests = [(ImageStore([image()]), [call(name, **arguments)]) for arguments in each]
    return [row[0] for row in executor.run(requests)]


@tool(light=True, deterministic=False)
def where(how: str = "well") -> str:
    """Say in which thread it runs.

    Args:
        how: In what way.
    """
    if how == "leave":
        sys.exit(4)
    if how == "cancel":
        raise asyncio.CancelledError
    if how == "interrupt":
        raise KeyboardInterrupt
    return threading.current_thread().name


@tool(deterministic=False)
def elsewhere(how: str = "well") -> str:
    """Say in which thread it runs.

    Args:
        how: In what way.
    """
    return where.run({"how": how}).text


def test_a_light_tool_runs_in_the_calling_thread_and_others_do_not():
    here = threading.current_thread().name
    with executor(where, elsewhere) as ex:
        assert [result.text for result in run(ex, "where", {}, {})] == [here, here]
        assert here not in [result.text for result in run(ex, "elsewhere", {}, {})]


@pytest.mark.parametrize(
    ("how", "said"),
    [("leave", "where failed with SystemExit."), ("cancel", "where failed with CancelledError.")],
)
def test_a_light_tool_that_leaves_or_is_cancelled_costs_one_error(how, said):
    with executor(where) as ex:
        results = run(ex, "where", {}, {"how": how}, {})
    assert [result.ok for result in results] == [True, False, True]
    assert results[1].error.message == said


def test_an_interrupt_while_a_light_tool_runs_ends_the_run():
    with executor(where) as ex:
        with pytest.raises(KeyboardInterrupt):
            run(ex, "where", {"how": "interrupt"})
        assert run(ex, "where", {})[0].ok


def test_a_light_batched_tool_runs_its_kernel_in_the_calling_thread():
    threads = []

    @tool(light=True)
    def scale(image: Image, by: int) -> Image:
        """Multiply.

        Args:
            image: Any.
            by: A factor.
        """
        return image.with_pixels(image.pixels * by)

    @scale.batch
    def kernel(calls):
        threads.append((threading.current_thread().name, len(calls)))
        return [one["image"].with_pixels(one["image"].pixels * one["by"]) for one in calls]

    with executor(scale) as ex:
        results = run(ex, "scale", *[{"image": 0, "by": k} for k in range(5)])
    assert all(result.ok for result in results)
    assert threads == [(threading.current_thread().name, 5)]


class Counting:
    """Count how many calls are in it at once.

    Args:
        seconds: How long a call takes.
    """

    def setup(self, device):
        self.inside, self.most = 0, 0

    def run(self, seconds: float) -> int:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(seconds)
        self.inside -= 1
        return self.most


def counting(**options):
    return tool(name="counting", deterministic=False, **options)(Counting)


def test_an_instance_is_called_by_one_thread_at_a_time():
    with executor(counting()) as ex:
        results = run(ex, "counting", *[{"seconds": 0.01}] * 8)
    assert {result.text for result in results} == {"1"}


def test_threads_that_share_an_instance_through_executors_of_their_own_wait_for_each_other():
    shared = counting()
    results = []

    def play():
        with executor(shared) as ex:
            results.extend(run(ex, "counting", *[{"seconds": 0.01}] * 4))

    threads = [threading.Thread(target=play) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.text for result in results] == ["1"] * 16


def test_a_concurrent_instance_is_called_by_several():
    with executor(counting(concurrent=True)) as ex:
        results = run(ex, "counting", *[{"seconds": 0.2}] * 4)
    assert max(int(result.text) for result in results) > 1


def test_an_instance_that_hangs_costs_a_timeout_and_what_waits_behind_it_one_error_each():
    over = threading.Event()

    class Stuck:
        """Hang when told to.

        Args:
            hang: Whether.
        """

        def run(self, hang: bool) -> str:
            if hang:
                over.wait(20)
            return "done"

    with executor(tool(name="stuck", timeout_s=0.2, deterministic=False)(Stuck)) as ex:
        results = run(ex, "stuck", {"hang": False}, {"hang": True}, {"hang": False})
        over.set()
    assert [result.error and result.error.code for result in results] == [None, "timeout", "tool_failed"]
    assert results[2].error.message == "stuck did not run: an earlier call of it has not come back."


def test_a_tool_may_run_tools_itself():
    inner = executor(where)

    @tool(deterministic=False)
    def outer(how: str = "well") -> str:
        """Ask another tool.

        Args:
            how: In what way.
        """
        return run(inner, "where", {"how": how})[0].text

    with inner, executor(outer) as ex:
        assert all(result.ok for result in run(ex, "outer", *[{}] * 16))


def test_a_program_whose_tool_never_returns_ends_all_the_same():
    code = """
import time
from medvistagym_core import ImageStore, LocalExecutor, Registry, ToolCall, tool
from medvistagym_core.imaging import pooled_empty

@tool(timeout_s=0.2)
def hang(seconds: float) -> str:
    '''Hang.

    Args:
        seconds: How long.
    '''
    time.sleep(seconds)
    return "late"

registry = Registry()
registry.add_tool(hang)
executor = LocalExecutor(registry.toolbox())
kept = pooled_empty((1024, 1024), "float32")
print(executor.run([(ImageStore(), [ToolCall(name="hang", arguments={"seconds": 600})])])[0][0].error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("timeout: hang took longer than 0.2 s")


def test_what_a_tool_returns_is_made_fit_for_files_and_policies():
    returned = {
        "text": ToolResult(text=None),
        "error": ToolResult(error="broken"),
        "images": ToolResult(images=[image()]),
        "keys": {1: 2},
        "object": {"a": object()},
        "vast": Image(pixels=np.broadcast_to(np.uint8(0), (100_000, 100_000))),
        "surrogate": "\ud800 here",
        "handles": ToolResult(text="fine", handles=(7,)),
        "numbers": {"nan": float("nan"), "np": np.float32(1.5), "list": np.arange(2)},
    }

    @tool
    def give(what: str) -> ToolResult:
        """Return something.

        Args:
            what: Which.
        """
        return returned[what]

    with executor(give) as ex:
        results = dict(zip(returned, run(ex, "give", *[{"what": name} for name in returned]), strict=True))
    reasons = {
        "text": "text is NoneType",
        "error": "error is str",
        "images": "images is list",
        "keys": "a key is int",
        "object": "a value is object",
        "vast": "10000000000 pixels",
    }
    for name, reason in reasons.items():
        assert results[name].error.code == "tool_failed"
        assert reason in results[name].error.message
    assert results["surrogate"].text == "? here"
    assert (results["handles"].text, results["handles"].handles) == ("fine", ())
    assert results["numbers"].data == {"nan": None, "np": 1.5, "list": [0, 1]}
