"""How long a training step takes on 8, 64 and 512 GPUs whose trainers share tool workers: a simulation by discrete events.

`python benchmarks/simulate_cluster.py [--check]` measures on this machine what calls cost, and prints the step's time, what is
busiest, and how many tool workers are enough. `--check` plays the same calls in 1, 2 and 4 real workers, takes real steps of
GRPO whose tool runs in as many (`training_step.py`), and prints predicted and measured times.

What no machine without a GPU can measure is published by others or yours to give. `--generation` is tokens a second of a GPU:
one of the rates of `PUBLISHED`, which were measured by others on text; a number; or a run folder, whose `metrics.jsonl` says it
of your own model and engine, and says `--learning-s` too. `--learning-s`, `--tool-s` and `--network-gbit-s` are assumptions
that were measured nowhere; the last table says what becomes of the step in the range of each (`ASSUMED`).

The model: each trainer (a GPU) generates a turn of all its rollouts, prepares their calls in one thread (`call_s` each; new
images are written at `bytes_per_s`), asks the pool's one store of shared results (`lookup_s` a call), and sends batches, two at
a time to each worker. Batches wait at the network of the worker's node, then at the worker. After the last turn with calls, one
more gives the answer. A step ends when all trainers have played, and all learn. Turns take a log-normal time, so that some
trainers are late.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import heapq
import json
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

WINDOW, PART_S = 2, 0.1  # as the executor sends: batches that a worker holds of a trainer's, and the work in one


@dataclasses.dataclass(frozen=True)
class Published:
    """A rate of generation that others measured with vLLM: of one GPU, many requests at once, text alone."""

    tokens_per_s: float
    what: str
    source: str


PUBLISHED = {
    "a10g": Published(
        491, "Llama-2-7B, 256 tokens read and 128 written: 3.84 prompts/s",
        "github.com/neuralmagic/nm-vllm, benchmark of commit 0f82868",
    ),
    "a100": Published(
        2299, "Qwen1.5-7B, 1,000 tokens read and 1,000 written; who asks there reached about 1,000",
        "github.com/QwenLM/Qwen3, issue 244, of the model's makers",
    ),
    "h100": Published(
        6220, "Llama-3-8B, 256 tokens read and 256 written: 24.3 requests/s", "github.com/vllm-project/vllm, pull request 7117",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Assumption:
    """A default that was measured nowhere, and the range in which it is thought to lie."""

    option: str
    unit: str
    values: tuple[float, ...]  # the default is the one in the middle
    why: str

    def describe(self) -> str:
        low, default, high = self.values[0], self.values[len(self.values) // 2], self.values[-1]
        return (
            f"an assumption, measured nowhere: {default:g} {self.unit}, in a range of {low:g} to {high:g} ({self.why})"
        )

    def of(self, load: Load, value: float) -> Load:
        """The load with another value."""
        if self.option == "learning_s":
            return dataclasses.replace(load, learning_s=value)
        if self.option == "tool_s":
            return dataclasses.replace(load, tool_s=value)
        return dataclasses.replace(load, network_bytes_per_s=value * 1e9 / 8)


ASSUMED = (
    Assumption(
        "learning_s", "s", (5.0, 20.0, 60.0), "whole steps of 25 to 30 s on 8 A100 are published, generation included"
    ),
    Assumption("tool_s", "s a call", (0.015, 0.03, 0.06, 0.12, 0.24), "a segmenter on part of a GPU"),
    Assumption("network_gbit_s", "Gbit/s", (10.0, 25.0, 100.0), "common network cards"),
)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What was measured on this machine."""

    call_s: float  # the trainer's time for a call: checking, sending, receiving
    batch_s: float  # from sending a batch to its answer, besides the work
    bytes_per_s: float  # images written into the object store
    lookup_s: float  # the shared results' time for a call


@dataclasses.dataclass(frozen=True)
class Load:
    """A step of training."""

    trainers: int
    workers: int
    rollouts: int = 64
    group: int = 8
    turns: int = 3  # with calls; one more gives the answer
    image_bytes: int = 512 * 512 * 2
    tool_s: float = 0.06
    max_batch: int = 32
    generation_s: float = 4.2  # of a turn
    spread: float = 0.25  # of a turn's time: the standard deviation of its logarithm
    learning_s: float = 20.0
    network_bytes_per_s: float = 25e9 / 8
    workers_per_node: int = 8
    shared_results: bool = True


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step takes, and how busy each part is while rollouts are played (1: always)."""

    seconds: float
    busy: dict[str, float]


class Server:
    """Does one thing after another, in the order in which they come."""

    def __init__(self) -> None:
        self.free_at = self.busy_s = 0.0

    def serve(self, now: float, seconds: float) -> float:
        self.free_at = max(now, self.free_at) + seconds
        self.busy_s += seconds
        return self.free_at


class Simulation:
    """One step."""

    def __init__(self, costs: Costs, load: Load, seed: int = 0) -> None:
        self.costs, self.load = costs, load
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.workers = [Server() for _ in range(load.workers)]
        self.networks = [Server() for _ in range(-(-load.workers // load.workers_per_node))]
        self.threads = [Server() for _ in range(load.trainers)]
        self.results = Server()
        self.played_s = 0.0

    def at(self, moment: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, action))

    def run(self) -> Step:
        for trainer in range(self.load.trainers):
            self.generate(trainer, 0)
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
        parts = {
            "trainers' threads": self.threads,
            "tool workers": self.workers,
            "workers' networks": self.networks,
            "shared results": [self.results],
        }
        busy = {name: max(one.busy_s for one in servers) / self.played_s for name, servers in parts.items()}
        return Step(self.played_s + self.load.learning_s, busy)

    def generate(self, trainer: int, turn: int) -> None:
        takes = self.load.generation_s * math.exp(self.random.gauss(0.0, self.load.spread) - self.load.spread**2 / 2)
        if turn == self.load.turns:  # the answer
            self.played_s = max(self.played_s, self.now + takes)
            return
        self.at(self.now + takes, lambda: self.prepare(trainer, turn))

    def prepare(self, trainer: int, turn: int) -> None:
        new = self.load.rollouts // self.load.group * self.load.image_bytes if turn == 0 else 0
        takes = self.load.rollouts * self.costs.call_s + new / self.costs.bytes_per_s
        self.at(self.threads[trainer].serve(self.now, takes), lambda: self.look_up(trainer, turn))

    def look_up(self, trainer: int, turn: int) -> None:
        takes = self.load.rollouts * self.costs.lookup_s if self.load.shared_results else 0.0
        self.at(self.results.serve(self.now, takes), lambda: Turn(self, trainer, turn).send())


class Turn:
    """The batches of a trainer's turn."""

    def __init__(self, simulation: Simulation, trainer: int, number: int) -> None:
        load = simulation.load
        size = max(1, min(load.max_batch, -(-load.rollouts // load.workers), int(PART_S / load.tool_s)))
        self._simulation, self._trainer, self._number = simulation, trainer, number
        self._waiting = deque(range(first, min(first + size, load.rollouts)) for first in range(0, load.rollouts, size))
        self._sent: set[tuple[int, int]] = set()  # images, and the nodes that have them
        some = min(load.workers, len(self._waiting))
        self._held = dict.fromkeys(simulation.random.sample(range(load.workers), some), 0)
        self._left = len(self._waiting)

    def send(self) -> None:
        while self._waiting:
            worker = min(self._held, key=self._held.__getitem__)
            if self._held[worker] >= WINDOW:
                return
            self._held[worker] += 1
            self._travel(worker, self._waiting.popleft())

    def _travel(self, worker: int, calls: range) -> None:
        simulation, load = self._simulation, self._simulation.load
        node = worker // load.workers_per_node
        needed = {(call // load.group, node) for call in calls} if self._number == 0 else set()
        nbytes = len(needed - self._sent) * load.image_bytes
        self._sent |= needed
        arrives = simulation.networks[node].serve(simulation.now, nbytes / load.network_bytes_per_s)
        simulation.at(arrives + simulation.costs.batch_s / 2, lambda: self._work(worker, len(calls)))

    def _work(self, worker: int, calls: int) -> None:
        simulation = self._simulation
        ends = simulation.workers[worker].serve(simulation.now, calls * simulation.load.tool_s)
        simulation.at(ends + simulation.costs.batch_s / 2, lambda: self._receive(worker))

    def _receive(self, worker: int) -> None:
        self._held[worker] -= 1
        self._left -= 1
        if self._left == 0:
            self._simulation.generate(self._trainer, self._number + 1)
        else:
            self.send()


@functools.cache
def simulate(costs: Costs, load: Load) -> Step:
    """The mean of some steps."""
    seeds = max(1, min(8, 64 // load.trainers))
    steps = [Simulation(costs, load, seed).run() for seed in range(seeds)]
    busy = {name: statistics.fmean(step.busy[name] for step in steps) for name in steps[0].busy}
    return Step(statistics.fmean(step.seconds for step in steps), busy)


def enough_workers(costs: Costs, load: Load, slack: float = 1.25) -> int:
    """How many workers make a step take at most `slack` times what it takes with one a trainer."""
    best = simulate(costs, dataclasses.replace(load, workers=load.trainers)).seconds
    count = max(1, load.trainers // 16)
    while count < load.trainers and simulate(costs, dataclasses.replace(load, workers=count)).seconds > slack * best:
        count *= 2
    return count


def measure() -> Costs:
    """The costs on this machine."""
    import numpy as np
    import ray
    import workers

    from medvistagym_ray.workers._shared_results import SharedResults

    with workers.executor("patch_mean: {max_batch: 256}\nnap: {}") as runs:
        calls, single = [], []
        for _ in range(7):
            one, again = workers.turns(workers.ROLLOUTS, workers.GROUP, 2)
            workers.seconds(runs, one)
            began = time.process_time()
            workers.seconds(runs, again)
            calls.append((time.process_time() - began) / workers.ROLLOUTS)
            single.append(1 / workers.naps(runs, 1))
        tool_s = tool_seconds(runs)
        puts = []
        for _ in range(7):
            began = time.perf_counter()
            ref = ray.put([np.ones((512, 512), np.int16) for _ in range(64)])
            puts.append(64 * 512 * 512 * 2 / (time.perf_counter() - began))
            del ref
        store = SharedResults("job-costs", 1 << 20)
        keys = [number.to_bytes(32, "big") for number in range(1024)]
        looks = []
        for _ in range(7):
            began = time.perf_counter()
            store.look_up(keys)
            looks.append((time.perf_counter() - began) / len(keys))
    median = statistics.median
    return Costs(median(calls), max(0.0, median(single) - tool_s), median(puts), median(looks))


def tool_seconds(runs: Any) -> float:
    """Mean seconds of a nap in the workers of an executor."""
    import ray

    groups = [group for group in runs.pool.groups() if group.name.endswith("nap")]
    return statistics.fmean(ray.get(worker.status.remote()).mean_s for group in groups for worker in group.workers)


def check(costs: Costs) -> None:
    """Predicted and measured times of the same calls in 1, 2 and 4 workers."""
    import workers

    print(f"{'workers':>8} {'calls':>6} {'predicted s':>12} {'measured s':>11} {'difference':>11}")
    for count in (1, 2, 4):
        rollouts = 40 * count
        with workers.executor(f"nap: {{replicas: {count}}}") as runs:
            workers.naps(runs, rollouts)
            measured = statistics.median(rollouts / workers.naps(runs, rollouts) for _ in range(5))
            load = Load(
                1, count, rollouts, 1, 1, 0, tool_seconds(runs), generation_s=0.0, learning_s=0.0, shared_results=False
            )
        predicted = simulate(costs, load).seconds
        print(f"{count:>8} {rollouts:>6} {predicted:>12.3f} {measured:>11.3f} {predicted / measured - 1:>11.1%}")


def read_generation(text: str) -> tuple[float, float | None]:
    """Tokens a second, and seconds of learning where a run says it.

    Args:
        text: A name of `PUBLISHED`, a number, or a run folder.
    """
    if text in PUBLISHED:
        return PUBLISHED[text].tokens_per_s, None
    try:
        return float(text), None
    except ValueError:
        from medvistagym_trl.run import read_rates

        rate = read_rates([text])["generation"]
        lines = map(json.loads, (Path(text) / "metrics.jsonl").read_text("utf-8").splitlines())
        steps = [line for line in lines if "seconds/generation" in line]
        learning = (line["step_time"] - line["seconds/generation"] - line["seconds/tools"] for line in steps)
        return rate, statistics.median(learning)


def report_rates(costs: Costs, load: Load, tokens: int) -> None:
    """What the published rates ask of the tool workers."""
    print(f"{'GPU':>5} {'tokens/s':>9} {'turn s':>7} {'step s at 8, 64, 512 GPUs':>26} {'workers enough':>16}")
    for name, rate in PUBLISHED.items():
        one = dataclasses.replace(load, generation_s=load.rollouts * tokens / rate.tokens_per_s)
        enough = [enough_workers(costs, dataclasses.replace(one, trainers=count)) for count in (8, 64, 512)]
        steps = [
            simulate(costs, dataclasses.replace(one, trainers=count, workers=workers)).seconds
            for count, workers in zip((8, 64, 512), enough, strict=True)
        ]
        print(
            f"{name:>5} {rate.tokens_per_s:>9,.0f} {one.generation_s:>7.1f} {', '.join(f'{step:.0f}' for step in steps):>26} "
            f"{', '.join(map(str, enough)):>16}"
        )


def report(costs: Costs, load: Load) -> None:
    """Step times for some clusters."""
    print(f"{'GPUs':>5} {'workers':>8} {'step s':>8} {'alone s':>8}  busiest")
    for trainers in (1, 8, 64, 512):
        asked = dataclasses.replace(load, trainers=trainers)
        alone = simulate(costs, dataclasses.replace(asked, workers=trainers)).seconds
        enough = enough_workers(costs, asked)
        for workers in sorted({max(1, trainers // 16), max(1, trainers // 4), enough}):
            step = simulate(costs, dataclasses.replace(asked, workers=workers))
            name = max(step.busy, key=step.busy.__getitem__)
            note = ", enough" if workers == enough else ""
            busy = "; ".join(f"{part} {share:.0%}" for part, share in step.busy.items() if share >= 0.1)
            print(f"{trainers:>5} {workers:>8} {step.seconds:>8.1f} {alone:>8.1f}  {name}{note} ({busy})")


def report_assumptions(costs: Costs, load: Load, trainers: int = 64) -> None:
    """What becomes of a step, and of the workers that are enough, in the range of each assumption."""
    load = dataclasses.replace(load, trainers=trainers)
    workers = enough_workers(costs, load)
    print(f"{'assumed':>15} {'value':>8} {f'step s, {workers} workers':>20} {'enough':>7}  {trainers} GPUs")
    for assumption in ASSUMED:
        for value in assumption.values:
            asked = assumption.of(load, value)
            step = simulate(costs, dataclasses.replace(asked, workers=workers))
            name = max(step.busy, key=step.busy.__getitem__)
            print(
                f"{assumption.option:>15} {value:>8g} {step.seconds:>20.0f} {enough_workers(costs, asked):>7}  "
                f"{name} {step.busy[name]:.0%}"
            )


def main() -> None:
    assumed = {assumption.option: assumption.describe() for assumption in ASSUMED}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="play the same calls in 1, 2 and 4 workers")
    parser.add_argument(
        "--generation", default="a100", help=f"{', '.join(PUBLISHED)}, tokens a second, or a run folder"
    )
    parser.add_argument("--tokens", type=int, default=150, help="that a rollout writes in a turn")
    parser.add_argument(
        "--learning-s",
        type=float,
        help=f"from the last answer to the next step; a run says its own, else {assumed['learning_s']}",
    )
    parser.add_argument("--tool-s", type=float, default=Load.tool_s, help=f"seconds of a call: {assumed['tool_s']}")
    parser.add_argument("--image-mib", type=float, default=0.5, help="of a group's image; a CT volume has about 150")
    parser.add_argument(
        "--network-gbit-s", type=float, default=25.0, help=f"of a node with workers: {assumed['network_gbit_s']}"
    )
    options = parser.parse_args()

    import workers

    from medvistagym_ray.cluster import Connection

    connection = Connection(object_store_mib=workers.STORE_MIB)
    try:
        workers.touch_store()
        costs = measure()
        print(
            f"measured: {costs.call_s * 1e6:.0f} us a call in the trainer, {costs.batch_s * 1e3:.1f} ms a batch, "
            f"{costs.bytes_per_s / 1e9:.2f} GB/s into the object store, {costs.lookup_s * 1e6:.1f} us a look-up"
        )
        if options.check:
            check(costs)
            import training_step

            training_step.check(costs)
    finally:
        connection.close()
    rate, learning_s = read_generation(options.generation)
    load = Load(
        1, 1, tool_s=options.tool_s, generation_s=Load.rollouts * options.tokens / rate,
        learning_s=options.learning_s or learning_s or Load.learning_s,
        image_bytes=int(options.image_mib * 2**20), network_bytes_per_s=options.network_gbit_s * 1e9 / 8,
    )  # fmt: skip
    print(
        f"a turn of {Load.rollouts} rollouts x {options.tokens} tokens at {rate:,.0f} tokens/s: {load.generation_s:.1f} s"
    )
    report(costs, load)
    report_rates(costs, load, options.tokens)
    report_assumptions(costs, load)


if __name__ == "__main__":
    main()
