"""The environment beside gymnasium's own vector, and a rollout with its log beside one without.

`python benchmarks/environment.py` runs the contestants in turn, round after round, on one thread, and writes medians and the
median of the paired ratios into benchmarks/results.json, beside what other benchmarks wrote there. Times are processor time.

- `environment.steps`: steps a second of `MedVistaVectorEnv` and of `SyncVectorEnv` around `MedVistaEnv`, with a trivial task
  and a trivial tool: texts parsed, calls validated and run, observations made, answers graded and rewarded, episodes begun
  anew. Of five steps three are calls, each with an argument of its own, one is an answer, and one begins the next episode.
  Ratio ours / theirs.
- `environment.logging`: episodes a second of a rollout of ScoutVQA's expert that writes trajectories and pictures, and of one
  that does not. Ratio ours / theirs, so 0.85 is a cost of 15 %. The expert costs nothing, so this is the dearest case; a
  model's own time comes on top of both.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from medvistagym_core import Answer, Case, Image, Registry, Toolbox, tool
from medvistagym_core.environment import MedVistaEnv, MedVistaVectorEnv
from medvistagym_core.policy import ScriptedPolicy
from medvistagym_core.rollout import rollout
from medvistagym_core.schema import system_prompt
from medvistagym_core.settings import Settings
from medvistagym_core.trajectory import TrajectoryWriter

ROOT = Path(__file__).parents[1]


@tool
def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


class Doubling:
    """What is twice a number?"""

    name = "doubling"
    description = "Double a number."
    families = ("double",)
    splits = ("train",)
    tools = ("double",)
    abstention = None

    def __init__(self) -> None:
        self._image = Image(pixels=np.zeros((8, 8), np.uint8))

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        return Case(
            id=f"{split}-{index}", task=self.name, split=split, index=index, family="double", question=f"Twice {index}?",
            images=(self._image,), answer=Answer(str(2 * index), kind="number"),
        )  # fmt: skip

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


def stepping(vector: Any, count: int, steps: int) -> Callable[[int], float]:
    """Steps a second of processor time."""

    def run(seed: int) -> float:
        said = turns(count, steps, random.Random(seed))
        vector.reset(seed=seed)
        gc.collect()
        began = time.process_time()
        for actions in said:
            vector.step(actions)
        return count * steps / (time.process_time() - began)

    return run


def steps_rows(count: int, steps: int, rounds: int) -> list[dict[str, Any]]:
    toolbox = Toolbox({"double": double})
    ours = MedVistaVectorEnv(Doubling(), toolbox, count)
    theirs = SyncVectorEnv(
        [lambda: MedVistaEnv(Doubling(), toolbox) for _ in range(count)], autoreset_mode=AutoresetMode.NEXT_STEP
    )
    row = compare(
        "environment.steps",
        "SyncVectorEnv",
        count,
        stepping(ours, count, steps),
        stepping(theirs, count, steps),
        rounds,
    )
    ours.close()
    theirs.close()
    return [row]


def logging_rows(cases: int, rounds: int) -> list[dict[str, Any]]:
    registry = Registry.discover()
    if "scoutvqa" not in registry.tasks:
        print("environment.logging: medvistagym-scoutvqa is not installed")
        return []
    task = registry.task("scoutvqa")
    toolbox = registry.toolbox(task.tools)
    settings = Settings()
    prompt = system_prompt(toolbox.specs, rules=settings.protocol.rules, abstention=task.abstention)
    settings = Settings(prompt=prompt)

    def run(seed: int, log: bool) -> float:
        with tempfile.TemporaryDirectory() as folder:
            writer = TrajectoryWriter(Path(folder) / "t.jsonl", toolbox) if log else None
            began = time.process_time()
            played = sum(
                1
                for _ in rollout(
                    ScriptedPolicy(task), task, toolbox, "train", range(cases), settings, seed=seed, writer=writer
                )
            )
            spent = time.process_time() - began
            if writer is not None:
                writer.close()
            return played / spent

    return [compare("environment.logging", "no log", cases, lambda s: run(s, True), lambda s: run(s, False), rounds)]


def compare(
    bench: str, peer: str, batch: int, ours: Callable[[int], float], theirs: Callable[[int], float], rounds: int
) -> dict[str, Any]:
    for contestant in (ours, theirs):
        contestant(0)
    pairs = []
    for round_ in range(rounds):
        # Each of a pair goes first in turn.
        first, second = (ours, theirs) if round_ % 2 else (theirs, ours)
        a, b = first(round_ + 1), second(round_ + 1)
        pairs.append((a, b) if round_ % 2 else (b, a))
    return {
        "bench": bench,
        "peer": peer,
        "batch": batch,
        "ours": round(statistics.median(a for a, _ in pairs), 1),
        "theirs": round(statistics.median(b for _, b in pairs), 1),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
    }


def merge(rows: list[dict[str, Any]], file: Path) -> None:
    """Put rows into the file in place of those of the same bench, peer and batch."""
    known = json.loads(file.read_text("utf-8")) if file.exists() else []

    def key(row: dict[str, Any]) -> tuple[str, str, int]:
        return row["bench"], row["peer"], row["batch"]

    merged = {key(row): row for row in [*known, *rows]}
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps([merged[k] for k in sorted(merged)], indent=1) + "\n", "utf-8")
    aside.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.json")
    options = parser.parse_args()
    rows = steps_rows(options.envs, options.steps, options.rounds)
    rows += logging_rows(options.cases, options.rounds)
    for row in rows:
        print(f"{row['bench']:24} {row['peer']:16} {row['ours']:>12,} {row['theirs']:>12,}   x{row['ratio']}")
    merge(rows, options.out)


if __name__ == "__main__":
    main()
