"""The executor on a cluster: the same results as in this process, wherever tools run and whatever dies."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from medvistagym_core.execution import CallRequest, ImageStore, LocalExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, Toolbox, ToolCall, ToolError, ToolResult
from medvistagym_ray.cluster import ObjectStoreFullError, PlacementError, WorkersStoppedError
from medvistagym_ray.workers import pool_status, stop_pool

pytestmark = pytest.mark.e2e

KILLS = int(os.environ.get("MEDVISTAGYM_RAY_KILLS", "3"))
"""How often something is killed in each of the tests that kill at random moments."""


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def scan(seed: int, side: int = 64) -> Image:
    return Image(pixels=np.random.default_rng(seed).normal(100, 30, (side, side)).astype(np.float32))


def requests_of(calls: Sequence[ToolCall], count: int, first: int = 0, side: int = 64) -> list[CallRequest]:
    return [(ImageStore([scan(first + k, side)]), calls) for k in range(count)]


def plain(results: Sequence[Sequence[ToolResult]]) -> list[Any]:
    """All of the results that a policy or a program sees."""
    return [
        [(r.text, r.data, str(r.error), r.handles, [(i.digest, i.pixels.strides) for i in r.images]) for r in turn]
        for turn in results
    ]


CHAIN = (
    call("crop", image=0, box=[100, 200, 700, 900]),
    call("mean", image=1),
    call("invert", image=1),
    call("total", image=2),
    call("mean", image=7),
    call("crop", image=0, box=[5, 5, 1, 1]),
    call("nothing", image=0),
    call("trouble", how="raise"),
    call("mean", image=0),
)
EVERYWHERE = """
mean: {replicas: 2, num_gpus: 0.5, device: cpu}
total: {num_gpus: 0.5, device: cpu, labels: {site: b}}
"*": {pool: cpu}
pools:
  cpu: {replicas: 2}
"""


def assert_same_results(executor: Any, toolbox: Toolbox) -> None:
    with LocalExecutor(toolbox) as local:
        for first in (0, 6, 0):  # the last time from the cache
            expected = plain(local.run(requests_of(CHAIN, 6, first)))
            for turn, wanted in zip(plain(executor.run(requests_of(CHAIN, 6, first))), expected, strict=True):
                for asked, result, same in zip(CHAIN, turn, wanted, strict=True):
                    assert result == same, asked


def test_results_are_those_of_this_process_bit_for_bit(place: Callable[..., Any], toolbox: Toolbox) -> None:
    executor = place('"*": {pool: cpu}\npools: {cpu: {replicas: 2}}')
    assert_same_results(executor, toolbox)
    assert set(executor.placements().values()) == {"2 workers of cpu"}


@pytest.mark.slow
@pytest.mark.usefixtures("machines")
def test_results_are_those_of_this_process_on_whatever_node(place: Callable[..., Any], toolbox: Toolbox) -> None:
    executor = place(EVERYWHERE)
    assert_same_results(executor, toolbox)
    assert executor.placements()["mean"] == "2 workers of local.mean"
    assert executor.placements()["invert"] == "2 workers of cpu"


@pytest.mark.slow
def test_workers_get_the_gpus_labels_and_numbers_that_the_placement_says(
    place: Callable[..., Any], machines: Any
) -> None:
    executor = place(EVERYWHERE)
    executor.start()
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    workers = [one for one in pool_status(machines.address).workers if one.identity.pool == executor.pool.name]
    where = {(one.identity.group, one.identity.replica): nodes[one.node] for one in workers}
    assert sorted(where) == [("cpu", 0), ("cpu", 1), ("local.mean", 0), ("local.mean", 1), ("local.total", 0)]
    assert where["local.total", 0]["Labels"]["site"] == "b"
    assert all("GPU" in node["Resources"] for (group, _), node in where.items() if group == "local.mean")
    assert ray.available_resources()["GPU"] == pytest.approx(0.5)  # of 2: three workers hold a half each


def test_results_that_are_changed_on_purpose_are_those_of_this_process(
    place: Callable[..., Any], toolbox: Toolbox
) -> None:
    def drop_some(tool: Tool, arguments: Mapping[str, Any], result: ToolResult) -> ToolResult:
        if tool.name != "mean" or (result.data or {"mean": 0})["mean"] < 100:
            return result
        return ToolResult(error=ToolError("tool_failed", "no mean"), perturbation="dropped")

    executor = place("mean: {replicas: 2}\ninvert: {pool: local}", "mean", "invert", result_filter=drop_some)
    calls = [call("invert", image=0), call("mean", image=0), call("mean", image=1)]
    with LocalExecutor(toolbox, result_filter=drop_some) as local:
        expected = local.run(requests_of(calls, 6))
        results = executor.run(requests_of(calls, 6))
    assert plain(results) == plain(expected)
    kinds = [[result.perturbation for result in turn] for turn in results]
    assert kinds == [[result.perturbation for result in turn] for turn in expected]
    assert {kind for turn in kinds for kind in turn} == {None, "dropped"}


def test_a_turn_is_one_batch_for_a_tool_and_an_image_crosses_once(place: Callable[..., Any]) -> None:
    executor = place(
        "together: {}\ninvert: {pool: cpu}\npools: {cpu: {replicas: 1}}", "together", "invert", cache_bytes=0
    )
    calls = [call("together", image=0), call("invert", image=0), call("together", image=1)]
    for _ in range(2):
        turn = executor.run(requests_of(calls, 8))
        assert {results[0].data["value"] for results in turn} == {8}
        assert all(results[2].ok for results in turn)  # in as many batches as inverted images came in
    assert executor.pool.images.placed == 8  # the scans alone, though they came as new objects the second time


def test_max_batch_bounds_what_a_worker_is_handed(place: Callable[..., Any]) -> None:
    executor = place("together: {max_batch: 3}", "together")
    turn = executor.run(requests_of([call("together", image=0)], 8))
    assert sorted(result.data["value"] for (result,) in turn) == [2, 2, 3, 3, 3, 3, 3, 3]


@pytest.mark.slow
def test_a_slow_tool_holds_up_its_callers_alone_and_takes_bounded_memory(place: Callable[..., Any]) -> None:
    executor = place("where: {}\nnap: {max_batch: 1}\nmean: {}", "where", "nap", "mean")
    executor.start()
    slow = requests_of([call("nap", image=0)], 24)
    quick = [(ImageStore([scan(99)]), [call("mean", image=0), call("where")])]
    placed: list[int] = []

    def watch() -> None:
        while not done.wait(0.01):
            placed.append(executor.pool.images.placed)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.time()
    results = executor.run([*slow, *quick])
    took = time.time() - began
    done.set()
    watcher.join()
    assert all(result.ok for turn in results for result in turn)
    assert results[-1][1].data["ended"] - began < took / 2  # while the naps went on
    at_half = placed[len(placed) // 2]
    assert at_half < 20, f"{at_half} of 25 images were sent while the first half of them was worked on"


@pytest.mark.slow
def test_a_call_over_its_limit_is_stopped_though_it_holds_the_interpreter(place: Callable[..., Any]) -> None:
    executor = place("trouble: {}", "trouble")
    turns = [[call("trouble", how=how)] for how in ("fine", "hang", "well", "exit")]
    results = executor.run([(ImageStore(), calls) for calls in turns])
    said = [str(turn[0].error) if turn[0].error else turn[0].text for turn in results]
    assert said == [
        "fine",
        "timeout: trouble took longer than 1 s and was given up.",
        "well",
        "tool_failed: trouble failed with SystemExit.",
    ]


@pytest.mark.slow
def test_a_call_that_ends_its_worker_is_tried_once_more_and_costs_no_other(
    place: Callable[..., Any], tmp_path: Path
) -> None:
    executor = place("trouble: {}", "trouble")
    log = str(tmp_path / "tries")
    hows = ("a", "die", "b", "die once", "c")
    results = executor.run([(ImageStore(), [call("trouble", how=how, log=log)]) for how in hows])
    said = [str(turn[0].error) if turn[0].error else turn[0].text for turn in results]
    assert said == ["a", "tool_failed: trouble ended its worker each time it was tried.", "b", "die once", "c"]
    assert Path(log).read_text("utf-8").splitlines().count("die") == 2


def _pids(executor: Any) -> list[int]:
    refs = [worker.status.remote() for group in executor.pool.groups() for worker in group.workers]
    return [one.pid for one in ray.get(refs)]


PATIENT = """
mean: {replicas: 2, retries: 9}
total: {retries: 9, labels: {site: b}}
"*": {pool: cpu}
pools:
  cpu: {replicas: 1, retries: 9}
"""
STEPS = (
    call("crop", image=0, box=[100, 200, 700, 900]),
    call("mean", image=1),
    call("total", image=1),
    call("nap", image=1),
)


@pytest.mark.slow
@pytest.mark.usefixtures("machines")
def test_kill_9_of_workers_at_random_moments_changes_no_result(
    place: Callable[..., Any], toolbox: Toolbox, aside: ThreadPoolExecutor
) -> None:
    names = ("crop", "mean", "total", "nap")
    executor = place(PATIENT, *names)
    executor.start()
    rng, kills = random.Random(0), 0
    with LocalExecutor(toolbox) as local:
        first = 0
        while kills < KILLS:
            expected = plain(local.run(requests_of(STEPS, 8, first)))
            runs = aside.submit(executor.run, requests_of(STEPS, 8, first))
            time.sleep(rng.uniform(0.0, 0.4))
            alive = [pid for pid in _pids(executor) if Path(f"/proc/{pid}").exists()]
            os.kill(rng.choice(alive), signal.SIGKILL)
            kills += 1
            assert plain(runs.result(120)) == expected, f"after {kills} kills"
            first += 8


@pytest.mark.slow
def test_a_node_that_goes_and_comes_back_costs_no_call(
    place: Callable[..., Any], toolbox: Toolbox, machines: Any, aside: ThreadPoolExecutor
) -> None:
    names = ("crop", "mean", "total", "nap")
    executor = place(PATIENT, *names)
    executor.start()
    rng = random.Random(1)
    with LocalExecutor(toolbox) as local:
        for first in range(0, 8 * max(1, KILLS // 3), 8):
            expected = plain(local.run(requests_of(STEPS, 8, first)))
            runs = aside.submit(executor.run, requests_of(STEPS, 8, first))
            time.sleep(rng.uniform(0.0, 0.4))
            machines.lose("b")  # the only one that may run `total`
            machines.rejoin("b")
            assert plain(runs.result(180)) == expected


def test_the_users_of_a_named_pool_share_workers_and_results(place: Callable[..., Any], head: Any) -> None:
    first = place("mean: {replicas: 2}", "mean", pool="sharing")
    one = first.run(requests_of([call("mean", image=0)], 4))
    first.close()
    second = place("mean: {replicas: 3}", "mean", pool="sharing")
    two = second.run(requests_of([call("mean", image=0)], 4))
    assert plain(one) == plain(two)
    assert not any(turn[0].cached for turn in one)
    assert all(turn[0].cached for turn in two)
    workers = pool_status(head.address, "sharing").workers
    assert sum(worker.done for worker in workers) == 4
    assert len(workers) == 2  # whoever came first decides
    third = place("mean: {}", "mean")  # workers of a program alone, which nobody else ends
    third.run(requests_of([call("mean", image=0)], 1))
    assert len(stop_pool(head.address)) == 2
    assert third.run(requests_of([call("mean", image=0)], 1, first=60))[0][0].ok


@pytest.mark.slow
def test_who_uses_workers_that_were_stopped_is_told_and_begins_others(place: Callable[..., Any], head: Any) -> None:
    user = place("mean: {replicas: 2}", "mean", pool="stopped")
    user.run(requests_of([call("mean", image=0)], 4, first=40))
    assert len(stop_pool(head.address, "stopped")) == 2
    with pytest.raises(WorkersStoppedError, match="the workers of mean were stopped while they were used"):
        user.run(requests_of([call("mean", image=0)], 4, first=50))
    assert all(turn[0].ok for turn in user.run(requests_of([call("mean", image=0)], 4, first=50)))
    stop_pool(head.address, "stopped")


def test_a_function_runs_where_it_is_faster_and_says_so(place: Callable[..., Any]) -> None:
    executor = place("", "invert")
    executor.run(requests_of([call("invert", image=0)], 2))
    assert executor.placements()["invert"] == "in this process, where it is measured first"
    executor.run(requests_of([call("invert", image=0)], 2, first=50))
    assert executor.placements()["invert"].startswith("in this process: ")
    assert "ms in the pool" in executor.placements()["invert"]


@pytest.mark.slow
@pytest.mark.usefixtures("machines")
@pytest.mark.parametrize(
    ("placement", "sentence"),
    [
        ("mean: {num_gpus: 2}", "local.mean asks for 2 GPU, and no node has room for one; the cluster has 3 nodes"),
        ("mean: {replicas: 5, num_gpus: 0.5}", "5 workers of local.mean ask for 0.5 GPU each, and 4 fit; the cluster"),
        ("mean: {labels: {site: c}}", "local.mean asks for a node labelled site=c, and there is none"),
    ],
)
def test_a_placement_that_cannot_be_met_is_refused(place: Callable[..., Any], placement: str, sentence: str) -> None:
    with pytest.raises(PlacementError) as refused:
        place(placement, "mean")
    assert str(refused.value).startswith(sentence)


def test_a_placement_of_a_tool_that_is_misspelt_is_refused(place: Callable[..., Any]) -> None:
    with pytest.raises(PlacementError, match=r"^no tool matches 'maen'; did you mean mean\?"):
        place("maen: {replicas: 2}", "mean")


@pytest.mark.slow
@pytest.mark.usefixtures("machines")
def test_workers_that_wait_for_what_others_hold_say_so(place: Callable[..., Any]) -> None:
    holder = place("mean: {replicas: 2, num_gpus: 1, device: cpu}", "mean")
    holder.start()
    waiting = place("total: {num_gpus: 1, device: cpu}\nlimits: {start_timeout_s: 0.5}", "total")
    with pytest.raises(PlacementError, match=r"local\.total has waited 0\.5 s for 1 GPU, which others hold"):
        waiting.run(requests_of([call("total", image=0)], 1))


def test_a_tool_that_cannot_be_sent_is_refused_and_told_how_to_stay(
    place: Callable[..., Any], toolbox: Toolbox
) -> None:
    from medvistagym_core.tools import tool
    from medvistagym_ray.workers import RayExecutor

    @tool
    def here() -> str:
        """Say where it is."""
        return "here"

    target = place("here: {pool: cpu}", "mean").target
    sentence = "here is defined inside a function; define it at the top of a module; or keep it in this process"
    with pytest.raises(PlacementError) as refused:
        RayExecutor(Toolbox({"here": here}), target)
    assert str(refused.value).startswith(sentence)
    assert str(refused.value).endswith("by a placement file with the line `here: {pool: local}`")
    with RayExecutor(Toolbox({"here": here}), place("", "mean").target) as executor:
        assert executor.run([(ImageStore(), [call("here")])])[0][0].text == "here"


def test_an_object_store_that_is_full_says_what_to_do(
    place: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = place("mean: {}", "mean")

    def full(value: Any) -> Any:
        raise ray.exceptions.ObjectStoreFullError

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(ObjectStoreFullError) as refused:
        executor.run(requests_of([call("mean", image=0)], 1))
    assert "has no room for the images of a batch" in str(refused.value)
    assert "object_store_mib" in str(refused.value)
