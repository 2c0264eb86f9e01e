"""Tools and episodes in Ray workers on this machine: what sending costs, and how it grows.

`python benchmarks/workers.py [BENCH ...]` starts a Ray of its own, runs the benches, and writes medians and the median of the
paired ratios into benchmarks/results.json. Images are 512 x 512 int16, and new in every round; no result is cached.

- `ray.batched`: four turns of 256 rollouts in groups of 8 that share an image, each with a cheap call of its own, through the
  executor; beside one Ray call a tool call, as a loop over rollouts makes them, and beside the same calls sent at once. Tool
  calls a second.
- `ray.images`: a turn whose calls each bring an image that no worker has, to 2 workers, in an object store of 512 MiB all of
  which was written before; "limit" is what was asked for. Images a second.
- `ray.actors`: a tool that sleeps 50 ms, over 1, 2 and 4 workers, beside as many times 20 calls. Tool calls a second.
- `ray.overhead`: the first of these turns in a worker, beside the local executor. ms a turn.
- `ray.memory`: 10,000 episodes of the scripted expert in two processes: memory of this process and the workers at the end,
  beside that after 7,000. MiB.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import Toolbox, ToolCall, tool

SIDE = 512
ROLLOUTS, GROUP, TURNS = 256, 8, 4
NAP_S = 0.05
STORE_MIB = 512
MEMORY = (7_000, 10_000)  # a process has loaded all studies of the task, and filled its cache, before


@tool(deterministic=False)
class PatchMean:
    """The mean of a part of an image."""

    def run(self, image: Image, box: Box) -> dict[str, float]:
        """The mean of a part of an image.

        Args:
            image: The image.
            box: The part.
        """
        x0, y0, x1, y1 = image.box_to_pixels(box)
        return {"mean": float(image.pixels[y0:y1, x0:x1].mean())}


@tool(deterministic=False)
class Nap:
    """Takes 50 ms."""

    def run(self, number: int) -> int:
        """Take 50 ms.

        Args:
            number: Of the call.
        """
        time.sleep(NAP_S)
        return number


TOOLBOX = Toolbox({one.name: one for one in (PatchMean, Nap)})
_rng = np.random.default_rng(0)


def new_images(count: int) -> list[Image]:
    return [Image(pixels=_rng.integers(-1000, 2000, (SIDE, SIDE), np.int16)) for _ in range(count)]


def touch_store() -> None:
    """Write to all of the object store: the system hands out its memory when it is first written, which takes long."""
    import ray

    held = [ray.put(np.ones(1 << 23, np.uint8)) for _ in range(int(STORE_MIB * 0.9) // 8)]
    held.clear()
    time.sleep(1.0)


def executor(placement: str) -> Any:
    from medvistagym_ray import make_executor

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(placement)
        file.flush()
        made = make_executor(TOOLBOX, f"?placement={file.name}")
    made.start()
    return made


Turn = list[tuple[ImageStore, list[ToolCall]]]


def turns(rollouts: int, group: int, count: int) -> list[Turn]:
    """So many turns of rollouts that look at the images of their groups; each call asks for a box of its own."""
    images = new_images(rollouts // group)
    return [
        [
            (
                ImageStore([images[k // group]]),
                [ToolCall(name="patch_mean", arguments={"image": 0, "box": [0, number, 64 + k, 64 + number]})],
            )
            for k in range(rollouts)
        ]
        for number in range(count)
    ]


def turn(rollouts: int, group: int) -> Turn:
    return turns(rollouts, group, 1)[0]


def seconds(runs: Any, requests: Sequence[Any]) -> float:
    began = time.perf_counter()
    results = runs.run(requests)
    took = time.perf_counter() - began
    failed = [result.error for one in results for result in one if result.error is not None]
    if failed:
        raise RuntimeError(str(failed[0]))
    return took


def batched(rounds: int) -> list[dict[str, Any]]:
    import ray
    from rows import compare

    @ray.remote
    class OneByOne:
        def run(self, pixels: Any, box: Sequence[int]) -> float:
            x0, y0, x1, y1 = (edge * SIDE // 1000 for edge in box)
            return float(pixels[y0:y1, x0:x1].mean())

    with executor("patch_mean: {max_batch: 256}") as runs:
        peer = OneByOne.remote()

        def ours() -> float:
            return ROLLOUTS * TURNS / sum([seconds(runs, one) for one in turns(ROLLOUTS, GROUP, TURNS)])

        def arguments() -> list[tuple[Any, Any]]:
            return [
                (store[0].pixels, calls[0].arguments["box"])
                for one in turns(ROLLOUTS, GROUP, TURNS)
                for store, calls in one
            ]

        def one_after_another() -> float:
            calls = arguments()
            began = time.perf_counter()
            for pixels, box in calls:
                ray.get(peer.run.remote(pixels, box))
            return len(calls) / (time.perf_counter() - began)

        def at_once() -> float:
            calls = arguments()
            began = time.perf_counter()
            ray.get([peer.run.remote(pixels, box) for pixels, box in calls])
            return len(calls) / (time.perf_counter() - began)

        peers = {"a Ray call a tool call": one_after_another, "the same, sent at once": at_once}
        return compare("ray.batched", ROLLOUTS, "1/s", ours, peers, rounds)


def images(rounds: int) -> list[dict[str, Any]]:
    from rows import compare

    with executor("patch_mean: {replicas: 2, max_batch: 64}") as runs:
        count = 256
        return compare(
            "ray.images", count, "1/s", lambda: count / seconds(runs, turn(count, 1)), {"limit": lambda: 3000.0}, rounds
        )


def actors(rounds: int) -> list[dict[str, Any]]:
    from rows import compare

    rows = []
    for replicas in (1, 2, 4):
        with executor(f"nap: {{replicas: {replicas}}}") as runs:
            rows += compare(
                "ray.actors", replicas, "1/s",
                lambda runs=runs, replicas=replicas: naps(runs, 40 * replicas),  # type: ignore[misc]
                {"linear": lambda replicas=replicas: replicas / NAP_S},  # type: ignore[misc]
                rounds,
            )  # fmt: skip
    return rows


def naps(runs: Any, count: int) -> float:
    requests = [(ImageStore(), [ToolCall(name="nap", arguments={"number": k})]) for k in range(count)]
    return count / seconds(runs, requests)


def overhead(rounds: int) -> list[dict[str, Any]]:
    from rows import compare

    with executor("patch_mean: {max_batch: 256}") as runs, LocalExecutor(TOOLBOX, cache_bytes=0) as local:
        return compare(
            "ray.overhead", ROLLOUTS, "ms",
            lambda: seconds(runs, turn(ROLLOUTS, GROUP)) * 1e3,
            {"local executor": lambda: seconds(local, turn(ROLLOUTS, GROUP)) * 1e3},
            rounds,
        )  # fmt: skip


def memory(rounds: int) -> list[dict[str, Any]]:
    import argparse
    from functools import partial

    import psutil

    from medvistagym_core import Registry
    from medvistagym_core.cli import build_parser
    from medvistagym_core.cli._players import open_players
    from medvistagym_core.trajectories import TrajectoryWriter
    from medvistagym_ray.cluster import RayTarget
    from medvistagym_ray.rollouts import EpisodeWorkers

    options: argparse.Namespace = build_parser("sample").parse_args(
        ["--task", "scoutvqa", "--policy", "expert", "--out", "unused"]
    )
    registry = Registry.discover()
    tools = ",".join(registry.task("scoutvqa").tools)
    used = {}

    def resident() -> float:
        """MiB of this process and of the workers that play, without what they share."""
        own = psutil.Process()
        playing = [one for one in own.children(recursive=True) if "EpisodeWorker" in " ".join(one.cmdline())]
        return sum(one.memory_full_info().uss for one in [own, *playing]) / 2**20

    with (
        tempfile.TemporaryDirectory() as folder,
        TrajectoryWriter(Path(folder) / "trajectories.jsonl", registry.toolbox(tools)) as writer,
        EpisodeWorkers(partial(open_players, options, 0, tools, Path.cwd()), 2, RayTarget()) as workers,
    ):
        played = workers.rollout("train", range(max(MEMORY)), batch=64, log=writer)
        for number, _ in enumerate(played, 1):
            if number in MEMORY:
                used[number] = resident()
    first, last = (used[number] for number in MEMORY)
    row = {"bench": "ray.memory", "peer": f"after {MEMORY[0]:,} episodes", "batch": MEMORY[1], "unit": "MiB"}
    return [{**row, "ours": round(last), "theirs": round(first), "ratio": round(first / last, 3)}]


BENCHES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "batched": batched,
    "images": images,
    "actors": actors,
    "overhead": overhead,
    "memory": memory,
}


def main() -> None:
    from rows import merge

    from medvistagym_ray.cluster import Connection

    connection = Connection(object_store_mib=STORE_MIB)
    try:
        touch_store()
        for name in sys.argv[1:] or BENCHES:
            merge(BENCHES[name](7))
    finally:
        connection.close()


if __name__ == "__main__":
    main()
