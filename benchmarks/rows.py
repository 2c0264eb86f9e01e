"""What the benchmarks share: contestants that take turns, rows of results, and the environment that peers are installed in.

A row is `{"bench", "peer", "batch", "unit", "ours", "theirs", "ratio"}`: medians over rounds, and the median of the ratios of
each round, which is above 1 where ours is better, whether the unit counts time ("ms", "us") or work ("1/s").
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results.json"
Contestant = Callable[[], float]


def compare(
    bench: str, batch: int, unit: str, ours: Contestant, peers: dict[str, Contestant], rounds: int
) -> list[dict[str, Any]]:
    """A row for each peer. Each contestant is warmed up once, then all run in every round, each first in its turn.

    Args:
        bench: What is measured.
        batch: How many at a time.
        unit: "ms" or "us" for the time of one piece of work, "1/s" for pieces of work a second.
        ours: Runs once; its figure in `unit`.
        peers: The others, by name.
        rounds: How often.
    """
    runners = [ours, *peers.values()]
    for run in runners:
        run()
    figures: list[list[float]] = [[] for _ in runners]
    for round_ in range(rounds):
        for k in range(len(runners)):
            at = (round_ + k) % len(runners)
            figures[at].append(runners[at]())
    mine = figures[0]
    rows = []
    for peer, theirs in zip(peers, figures[1:], strict=True):
        ratios = [a / b if unit == "1/s" else b / a for a, b in zip(mine, theirs, strict=True)]
        rows.append(
            {
                "bench": bench,
                "peer": peer,
                "batch": batch,
                "unit": unit,
                "ours": _rounded(statistics.median(mine)),
                "theirs": _rounded(statistics.median(theirs)),
                "ratio": _rounded(statistics.median(ratios)),
            }
        )
    return rows


def merge(rows: Sequence[dict[str, Any]], file: Path = RESULTS) -> None:
    """Put rows into the file in place of those of the same bench, peer and batch, and print them."""
    known = json.loads(file.read_text("utf-8")) if file.exists() else []
    merged = {(row["bench"], row["peer"], row["batch"]): row for row in [*known, *rows]}
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps([merged[key] for key in sorted(merged)], indent=1) + "\n", "utf-8")
    aside.replace(file)
    for row in rows:
        print(
            f"{row['bench']:28} {row['peer']:24} {row['batch']:>6} "
            f"{row['ours']:>12,} {row['theirs']:>12,} {row['unit']:4} x{row['ratio']:g}"
        )


def environment(folder: Path, requirements: Sequence[str | Path]) -> Path:
    """A virtual environment with these requirements; the path of its interpreter. Made once, completed every time."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), *map(str, requirements)], check=True)
    return python


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
