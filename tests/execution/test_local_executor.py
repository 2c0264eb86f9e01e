"""Running the calls of many episodes at once."""

import sys
import threading
import time

import numpy as np
import pydantic
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
        registry.add_tool(t)
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


def test_what_an_episode_adds_to_the_images_of_its_case_is_its_own(bench):
    case = image(0), image(5)
    one, other = ImageStore(case), ImageStore(case)
    with executor(bench) as ex:
        ex.run([(one, [call("add", image=1)])])
    assert (len(one), len(other), len(case)) == (3, 2, 2)
    assert one.images == (*case, one[2])
    assert [(made.image, made.parent) for made in one] == [(case[0], None), (case[1], None), (one[2], 1)]
    assert [made.image for made in other] == [*case]


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
    registry.add_tool(double)
    stores = [ImageStore([image(k % 3)]) for k in range(9)]
    with LocalExecutor(registry.toolbox()) as ex:
        ex.run([(s, [call("double", image=0)]) for s in stores])
    assert sizes == [3]
    assert [int(s[1].pixels[0, 0]) for s in stores] == [0, 2, 4] * 3


def test_calls_go_on_without_waiting_for_those_of_other_episodes(bench):
    registry, _ = bench
    done = threading.Event()

    @tool(deterministic=False)
    def last(image: Image) -> str:
        """Be last.

        Args:
            image: Any.
        """
        done.set()
        return "last"

    @tool(deterministic=False)
    def patient(image: Image) -> str:
        """Wait for the last.

        Args:
            image: Any.
        """
        return "in time" if done.wait(20) else "in vain"

    registry.add_tool(last)
    registry.add_tool(patient)
    with executor(bench) as ex:
        rows = ex.run(
            [
                (ImageStore([image()]), [call("patient", image=0)]),
                (ImageStore([image()]), [call("add", image=0), call("add", image=1), call("last", image=2)]),
            ]
        )
    assert [row[-1].text for row in rows] == ["in time", "last"]


def test_an_executor_can_be_used_again_after_it_was_closed(bench):
    ex = executor(bench)
    for _ in range(3):
        [[result]] = ex.run([(ImageStore([image()]), [call("roll", image=0)])])
        assert result.text == "6"
        ex.close()


def test_a_batched_kernel_gets_images_of_one_shape_and_type():
    seen = []

    @tool
    def stacked(image: Image, other: Image | None = None) -> str:
        """Stack.

        Args:
            image: Any.
            other: Any.
        """
        return "1"

    @stacked.batch
    def kernel(calls):
        stack = np.stack([c["image"].pixels for c in calls])
        seen.append((stack.shape, stack.dtype.name, calls[0]["other"] is None))
        return [str(len(calls))] * len(calls)

    registry = Registry()
    registry.add_tool(stacked)
    images = [
        Image(pixels=np.full((side, side), k, dtype))
        for k, (side, dtype) in enumerate([(4, "i2"), (8, "i2"), (4, "f4"), (4, "i2"), (8, "i2"), (4, "i2")])
    ]
    jobs = [(ImageStore([one]), [call("stacked", image=0)]) for one in images]
    jobs.append((ImageStore(images[:1]), [call("stacked", image=0, other=0)]))
    jobs.append((ImageStore(images[3:4]), [call("stacked", image=0, other=0)]))
    with LocalExecutor(registry.toolbox()) as ex:
        rows = ex.run(jobs)
    assert [row[0].text for row in rows] == ["3", "2", "1", "3", "2", "3", "2", "2"]
    assert sorted(seen) == [((2, 4, 4), "int16", False), ((2, 8, 8), "int16", True), ((3, 4, 4), "int16", True)]


def test_calls_that_ran_out_of_memory_beside_others_are_made_again_by_themselves():
    at_work = []

    @tool(deterministic=False)
    def big(image: Image, size: int = 1) -> str:
        """Need memory that only one call at a time can have.

        Args:
            image: Any.
            size: How much.
        """
        at_work.append(size)
        try:
            time.sleep(0.05)
            if sum(at_work) > 3:
                raise MemoryError
        finally:
            at_work.remove(size)
        return "done"

    registry = Registry()
    registry.add_tool(big)
    jobs = [(ImageStore([image()]), [call("big", image=0, size=size)]) for size in (3, 3, 3, 9)]
    with LocalExecutor(registry.toolbox()) as ex:
        rows = ex.run(jobs)
    assert [row[0].text for row in rows[:3]] == ["done"] * 3
    assert "big ran out of memory" in rows[3][0].error.message


def test_several_threads_may_share_an_executor(bench):
    rows = []

    def play(ex, k):
        for n in range(30):
            store = ImageStore([image(n % 5)])
            [results] = ex.run([(store, [call("add", image=0, amount=k), call("add", image=1)])])
            rows.append([int(store[r.handles[0]].pixels[0, 0]) - n % 5 - k for r in results])

    with executor(bench, cache_bytes=8192) as ex:
        threads = [threading.Thread(target=play, args=(ex, k)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert rows == [[0, 1]] * 120


def test_calls_that_only_look_alike_once_they_are_checked_are_two():
    @tool
    def spell(word: pydantic.SecretStr) -> str:
        """Spell a word.

        Args:
            word: The word.
        """
        return word.get_secret_value()

    registry = Registry()
    registry.add_tool(spell)
    with LocalExecutor(registry.toolbox()) as ex:
        results = ex.run([(ImageStore(), [call("spell", word=word)]) for word in ("a", "b", "a")])
        again = ex.run([(ImageStore(), [call("spell", word="b")])])
    assert [row[0].text for row in (*results, *again)] == ["a", "b", "a", "b"]


def test_changing_the_facts_of_a_result_changes_no_other():
    @tool
    def facts(image: Image) -> dict:
        """Tell facts.

        Args:
            image: Any.
        """
        time.sleep(0.001)
        return {"list": [1]}

    registry = Registry()
    registry.add_tool(facts)
    with LocalExecutor(registry.toolbox()) as ex:
        for _ in range(3):
            ((result,),) = ex.run([(ImageStore([image()]), [call("facts", image=0)])])
            assert result.data == {"list": [1]}
            result.data["list"].append(2)
    assert result.cached


def test_what_a_crop_keeps_alive_counts_against_the_cache():
    @tool
    def corner(image: Image, side: int) -> Image:
        """Cut a corner.

        Args:
            image: What is cut.
            side: Its length.
        """
        return image.crop(0, 0, side, side)

    registry = Registry()
    registry.add_tool(corner)
    large = Image(pixels=np.zeros((1024, 1024), np.uint8))
    small = Image(pixels=np.zeros((64, 64), np.uint8))
    with LocalExecutor(registry.toolbox(), cache_bytes=2**21) as ex:

        def cached(source):
            ((result,),) = ex.run([(ImageStore([source]), [call("corner", image=0, side=8)])])
            return result.cached

        assert [cached(large) for _ in range(2)] == [False, False]
        assert [cached(small) for _ in range(2)] == [False, True]
