"""Running the calls of many episodes at once."""

import sys
import threading
import time

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, ToolCall, tool


def call(name, **arguments):
    return ToolCall(name=name, arguments=arguments)


def image(value=0):
    return Image(pixels=np.full((4, 4), value, np.int16), unit="HU")


@pytest.fixture
def bench():
    """A registry with counting tools, and the list of what ran."""
    ran = []

    @tool
    def add(image: Image, amount: int = 1) -> Image:
        """Add.

        Args:
            image: Any.
            amount: How much.
        """
        ran.append(("add", amount))
        return image.with_pixels(image.pixels + amount)

    @tool(deterministic=False)
    def roll(image: Image) -> str:
        """Roll.

        Args:
            image: Any.
        """
        ran.append(("roll",))
        return "6"

    @tool
    def mean(images: list[Image]) -> float:
        """Mean.

        Args:
            images: Some.
        """
        return float(np.mean([i.pixels.mean() for i in images]))

    @tool(timeout_s=0.1)
    def hang(image: Image) -> str:
        """Hang.

        Args:
            image: Any.
        """
        time.sleep(3)
        return "late"

    @tool
    def leave(image: Image) -> str:
        """Leave.

        Args:
            image: Any.
        """
        sys.exit(4)

    @tool
    def wait(image: Image, seconds: float) -> str:
        """Wait.

        Args:
            image: Any.
            seconds: How long.
        """
        time.sleep(seconds)
        return "done"

    registry = Registry()
    for t in (add, roll, mean, hang, leave, wait):
        registry.register(t)
    return registry, ran


def executor(bench, **options):
    return LocalExecutor(bench[0].toolbox("*"), **options)


def test_results_come_back_in_the_order_of_the_calls_with_handles(bench):
    stores = [ImageStore([image(k)]) for k in range(3)]
    jobs = [(s, [call("add", image=0, amount=k + 1), call("add", image=0, amount=10)]) for k, s in enumerate(stores)]
    with executor(bench) as ex:
        results = ex.run(jobs)
    assert [[r.handles for r in row] for row in results] == [[(1,), (2,)]] * 3
    assert [int(s[1].pixels[0, 0]) for s in stores] == [1, 3, 5]
    assert [(made.parent, made.call and made.call.name) for made in stores[0]] == [(None, None), (0, "add"), (0, "add")]


def test_a_call_may_name_an_image_made_earlier_in_its_message(bench):
    store = ImageStore([image(0)])
    calls = [call("add", image=0), call("add", image=1), call("mean", images=[0, 1, 2]), call("add", image=9)]
    with executor(bench) as ex:
        [results] = ex.run([(store, calls)])
    assert results[2].text == "1"
    assert results[3].error is not None
    assert results[3].error.message == "add: there is no image 9; the images are 0 to 2."


def test_equal_calls_run_once_even_on_equal_images_of_other_episodes(bench):
    stores = [ImageStore([image(7)]) for _ in range(8)]
    with executor(bench) as ex:
        first = ex.run([(s, [call("add", image=0)]) for s in stores])
        ex.run([(ImageStore([image(7)]), [call("add", image=0)])])
        ex.run([(ImageStore([image(8)]), [call("add", image=0)])])
    assert len(bench[1]) == 2
    assert [row[0].cached for row in first] == [False] + [True] * 7


def test_without_a_cache_equal_calls_on_one_image_still_run_once(bench):
    shared = image(7)
    with executor(bench, cache_bytes=0) as ex:
        for _ in range(2):
            ex.run([(ImageStore([shared]), [call("add", image=0)]) for _ in range(4)])
    assert len(bench[1]) == 2


def test_the_cache_keeps_to_its_bytes(bench):
    with executor(bench, cache_bytes=8192) as ex:
        for k in range(20):
            ex.run([(ImageStore([image(k)]), [call("add", image=0)])])
        ex.run([(ImageStore([image(19)]), [call("add", image=0)])])
        assert len(bench[1]) == 20
        ex.run([(ImageStore([image(0)]), [call("add", image=0)])])
        assert len(bench[1]) == 21


def test_random_tools_run_every_time(bench):
    store = ImageStore([image()])
    with executor(bench) as ex:
        ex.run([(store, [call("roll", image=0), call("roll", image=0)])])
    assert bench[1] == [("roll",)] * 2


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (call("ad", image=0), "unknown_tool", "did you mean add?"),
        (call("add"), "bad_arguments", "image is missing"),
        (call("add", image=3), "bad_value", "the only image is 0"),
        (call("hang", image=0), "timeout", "0.1 s"),
        (call("leave", image=0), "tool_failed", "SystemExit"),
    ],
)
def test_faults_are_typed_results_and_hurt_nobody_else(bench, asked, code, said):
    other = ImageStore([image()])
    with executor(bench) as ex:
        [[bad], [good]] = ex.run([(ImageStore([image()]), [asked]), (other, [call("add", image=0)])])
    assert bad.error is not None
    assert bad.error.code == code
    assert said in bad.error.message
    assert good.ok


def test_a_hanging_tool_does_not_hold_up_what_waits_behind_it(bench):
    start = time.monotonic()
    with executor(bench, workers=1) as ex:
        rows = ex.run([(ImageStore([image(k)]), [call("hang", image=0)]) for k in range(3)])
    assert [row[0].error.code for row in rows] == ["timeout"] * 3
    assert time.monotonic() - start < 2.5


def test_slow_calls_overlap(bench):
    start = time.monotonic()
    with executor(bench) as ex:
        rows = ex.run([(ImageStore([image(k)]), [call("wait", image=0, seconds=0.2)]) for k in range(32)])
    assert all(row[0].text == "done" for row in rows)
    assert time.monotonic() - start < 32 * 0.2 / 4


def test_threads_end_when_closed(bench):
    before = threading.active_count()
    for _ in range(20):
        with executor(bench) as ex:
            ex.run([(ImageStore([image(k)]), [call("add", image=0, amount=k)]) for k in range(4)])
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_batched_kernel_gets_all_distinct_calls_at_once():
    sizes = []

    @tool
    def double(image: Image, by: int = 2) -> Image:
        """Double.

        Args:
            image: Any.
            by: By.
        """
        return image.with_pixels(image.pixels * by)

    @double.batch
    def kernel(calls):
        sizes.append(len(calls))
        return [c["image"].with_pixels(c["image"].pixels * c["by"]) for c in calls]

    registry = Registry()
    registry.register(double)
    stores = [ImageStore([image(k % 3)]) for k in range(9)]
    with LocalExecutor(registry.toolbox()) as ex:
        ex.run([(s, [call("double", image=0)]) for s in stores])
    assert sizes == [3]
    assert [int(s[1].pixels[0, 0]) for s in stores] == [0, 2, 4] * 3
