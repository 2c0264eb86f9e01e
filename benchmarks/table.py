"""Writes docs/speed.md's table and docs/speed.png from benchmarks/results.json; part of `make docs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rows import RESULTS, ROOT

BEGIN, END = "<!-- TABLE -->\n", "<!-- END OF TABLE -->\n"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| bench | beside | batch | unit | ours | theirs | times better |", "|---|---|--:|---|--:|--:|--:|"]
    for row in rows:
        ours, theirs = (f"{row[key]:,g}" if row[key] < 1000 else f"{row[key]:,.0f}" for key in ("ours", "theirs"))
        lines.append(
            f"| `{row['bench']}` | {row['peer']} | {row['batch']} | {row['unit']} | {ours} | {theirs} | {row['ratio']:.3g} |"
        )
    return "\n".join(lines) + "\n"


def page(text: str, rows: list[dict[str, Any]]) -> str:
    """The page with the table put in place of the one it has.

    Raises:
        ValueError: The page has no place for it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs a line {BEGIN.strip()} and a line {END.strip()}")
    return before + begin + table(rows) + end + after


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """The ratios as bars on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [f"{row['bench']}, {row['batch']}: {row['peer']}" for row in rows][::-1]
    ratios = [row["ratio"] for row in rows][::-1]
    figure, axes = plt.subplots(figsize=(7.5, 0.26 * len(rows) + 1), layout="constrained")
    colours = ["#2a7f62" if ratio >= 1 else "#b5483a" for ratio in ratios]
    widths = [ratio - 1 for ratio in ratios]  # from 1 on: a logarithmic axis has no zero to begin at
    axes.barh(names, widths, left=1, color=colours)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times better than the peer (left of the line: worse)")
    axes.tick_params(axis="y", labelsize=9)
    for at, ratio in enumerate(ratios):
        beside, side = (ratio * 1.05, "left") if ratio >= 1 else (ratio / 1.05, "right")
        axes.text(beside, at, f"{ratio:.3g}", va="center", ha=side, fontsize=9)
    axes.margins(x=0.2, y=0.01)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    """Write both."""
    rows = json.loads(RESULTS.read_text("utf-8"))
    file = ROOT / "docs" / "speed.md"
    file.write_text(page(file.read_text("utf-8"), rows), "utf-8")
    plot(rows, ROOT / "docs" / "speed.png")


if __name__ == "__main__":
    main()
