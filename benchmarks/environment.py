"""The environment beside other environments, and a rollout with its log beside one without.

`python benchmarks/environment.py` runs the contestants in turn, round after round, on one thread (OpenMP, OpenCV and torch
too), and puts medians into benchmarks/results.json. Times are processor time.

- `environment.steps`: steps a second of `MedVistaVectorEnv`, with a trivial task and a trivial tool: texts parsed, calls
  validated and run, observations made, answers graded and rewarded, episodes begun anew. Of five steps three are calls, each
  with an argument of its own, one is an answer, and one begins the next episode. Beside it gymnasium's `SyncVectorEnv` around
  `MedVistaEnv`, and the same task written for gem, skyrl-gym and OpenEnv (`benchmarks/peers/environment.py`), each in its own
  interpreter in `build/environment`. Those do less in a step: no schema, no typed errors, no images and no record that a log
  could be written of. OpenEnv talks to its server over a WebSocket, as it always does; openenv-core 0.2.1 is the last that
  installs beside the versions of constraints.txt.
- `environment.logging`: episodes a second of a rollout that writes trajectories and pictures, beside the same one that does
  not; 0.85 is a cost of 15 %. "no log, expert" is ScoutVQA's expert, "no log, mix" a scripted policy that looks at a 512 x 512
  CT slice in four calls (window, segment_crop, zoom, enhance_contrast) before it answers, in pictures of 224 pixels. Such
  policies cost nothing, so these are the dearest cases; a model's own time comes on top of both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from rows import ROOT, Contestant, compare, environment, merge

from medvistagym_core import Answer, Case, Image, Registry, Toolbox, ToolCall, tool
from medvistagym_core.environment import EpisodeConfig, MedVistaEnv, MedVistaVectorEnv
from medvistagym_core.imaging import Window
from medvistagym_core.protocol import system_prompt
from medvistagym_core.rollouts import ExpertPolicy, rollout
from medvistagym_core.trajectories import TrajectoryWriter

PEERS: Final = ("gem-llm==0.1.0", "skyrl-gym==0.4.0", "openenv-core==0.2.1")
SLOW: Final = {"openenv": 10}  # so many times fewer steps


@tool(light=True)
def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


class Doubling:
    """What is twice a number? Deals from a list, as a data set does."""

    name = "doubling"
    description = "Double a number."
    families = ("double",)
    splits = ("train",)
    tools = ("double",)
    abstention = None

    def __init__(self) -> None:
        image = Image(pixels=np.zeros((8, 8), np.uint8))
        self._cases = [
            Case(
                id=f"train-{index}", task=self.name, split="train", index=index, family="double",
                question=f"Twice {index}?", images=(image,), answer=Answer(str(2 * index), kind="number"),
            )
            for index in range(1000)
        ]  # fmt: skip

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        return self._cases[index]

    def vocabulary(self) -> tuple[str, ...]:
        return ()


def turns(count: int, steps: int, rng: random.Random) -> list[tuple[str, ...]]:
    """What the policy writes; made before the clock starts."""

    def turn(step: int) -> str:
        if step % 5 == 4:
            return ""
        if step % 5 == 3:
            return f"<think>So it is.</think><answer>{rng.randrange(2000)}</answer>"
        call = {"name": "double", "arguments": {"number": rng.randrange(10**9)}}
        return f"<think>I double it.</think><tool_call>{json.dumps(call)}</tool_call>"

    return [tuple(turn(step) for _ in range(count)) for step in range(steps)]


def stepping(vector: Any, count: int, steps: int) -> Contestant:
    """Steps a second."""
    seeds = itertools.count()

    def run() -> float:
        seed = next(seeds)
        said = turns(count, steps, random.Random(seed))
        vector.reset(seed=seed)
        gc.collect()
        began = time.process_time()
        for actions in said:
            vector.step(actions)
        return count * steps / (time.process_time() - began)

    return run


def peer(python: Path, name: str, count: int, steps: int, stack: contextlib.ExitStack) -> Contestant:
    """Steps a second of a peer, which waits in a process of its own for its turn."""
    command = [str(python), str(Path(__file__).parent / "peers" / "environment.py"), name, str(count), str(steps)]
    # Its own log lines are no part of the report; what ends it is in its exit.
    process = stack.enter_context(
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT / "build",
        )
    )
    stack.callback(process.kill)

    def run() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name} ended with {process.wait()}; run {' '.join(command)} to see why")
        return float(line)

    return run


def steps_rows(count: int, steps: int, rounds: int) -> list[dict[str, Any]]:
    toolbox = Toolbox({"double": double})
    python = environment(ROOT / "build" / "environment", PEERS)
    with (
        contextlib.closing(MedVistaVectorEnv(Doubling(), toolbox, count)) as ours,
        contextlib.closing(
            SyncVectorEnv(
                [lambda: MedVistaEnv(Doubling(), toolbox) for _ in range(count)],
                autoreset_mode=AutoresetMode.NEXT_STEP,
            )
        ) as stock,
        contextlib.ExitStack() as stack,
    ):
        peers = {"SyncVectorEnv": stepping(stock, count, steps)}
        for name in ("gem", "skyrl-gym", "openenv"):
            peers[name] = peer(python, name, count, max(steps // SLOW.get(name, 1), 5), stack)
        return compare("environment.steps", count, "1/s", stepping(ours, count, steps), peers, rounds)


class Slices:
    """What is in this CT slice? Nobody knows; the looking is what counts."""

    name = "slices"
    description = "Look at a CT slice."
    families = ("slice",)
    splits = ("train",)
    tools = ("window", "segment_crop", "zoom", "enhance_contrast")
    abstention = None

    def __init__(self, cases: int) -> None:
        rows, columns = np.mgrid[-1:1:512j, -1:1:512j]
        body = np.where(rows**2 + (1.4 * columns) ** 2 < 0.8, 40.0, -1000.0)
        body[(rows**2 + (3 * (np.abs(columns) - 0.3)) ** 2) < 0.25] = -800
        noise = np.random.default_rng(0).normal(0, 20, (cases, 512, 512))
        self._pixels = (body + noise).astype(np.int16)

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        image = Image(pixels=self._pixels[index], unit="HU", spacing=(0.7, 0.7), modality="CT", window=Window(40, 400))
        return Case(
            id=f"{split}-{index}", task=self.name, split=split, index=index, family="slice", question="What is it?",
            images=(image,), answer=Answer("a chest"),
        )  # fmt: skip

    def vocabulary(self) -> tuple[str, ...]:
        return ()

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> Any:
        yield ToolCall(name="window", arguments={"image": 0, "center": -600, "width": 1500})
        yield ToolCall(name="segment_crop", arguments={"image": 1, "method": "body"})
        yield ToolCall(name="zoom", arguments={"image": 2, "box": [100, 200, 500, 700]})
        yield ToolCall(name="enhance_contrast", arguments={"image": 3})
        return "a chest"


def logging_rows(cases: int, rounds: int) -> list[dict[str, Any]]:
    registry = Registry.discover()
    rows = []
    for mix, task in {"expert": registry.tasks.get("scoutvqa"), "mix": Slices(cases)}.items():
        if task is None or not {*task.tools} <= {name.partition(":")[2] for name in registry.tools}:
            print(f"environment.logging: the plugins of the {mix} are not installed")
            continue
        toolbox = registry.toolbox(task.tools)
        rules = EpisodeConfig().protocol.instructions
        prompt = system_prompt(toolbox.specs, rules=rules, abstention=task.abstention)
        settings = EpisodeConfig(prompt=prompt, view_side=224 if mix == "mix" else None)
        logged, bare = (rolling(task, toolbox, settings, cases, log=log) for log in (True, False))
        rows += compare("environment.logging", cases, "1/s", logged, {f"no log, {mix}": bare}, rounds)
    return rows


def rolling(task: Any, toolbox: Toolbox, settings: EpisodeConfig, cases: int, *, log: bool) -> Contestant:
    """Episodes a second."""
    seeds = itertools.count()

    def run() -> float:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            writer = TrajectoryWriter(Path(folder) / "t.jsonl", toolbox) if log else None
            began = time.process_time()
            with writer or contextlib.nullcontext():
                played = rollout(
                    ExpertPolicy(task),
                    task,
                    toolbox,
                    "train",
                    range(cases),
                    settings,
                    seed=next(seeds),
                    writer=writer,
                )
                return sum(1 for _ in played) / (time.process_time() - began)

    return run


def pinned() -> None:
    """One thread for everything that has threads of its own."""
    for name in ("cv2", "torch"):
        with contextlib.suppress(ImportError):
            module = __import__(name)
            (module.setNumThreads if name == "cv2" else module.set_num_threads)(1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    pinned()
    rows = steps_rows(options.envs, options.steps, options.rounds)
    rows += logging_rows(options.cases, options.rounds)
    merge(rows)


if __name__ == "__main__":
    main()
