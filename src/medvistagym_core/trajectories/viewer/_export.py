"""The page as one file: style, scripts, episodes and pictures inside, for a browser without any server or network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic_core import to_json

from medvistagym_core.storage import write_atomically
from medvistagym_core.trajectories.viewer._assets import ICON, SCRIPTS, STYLES, asset, document
from medvistagym_core.trajectories.viewer._index import COLUMNS, OUTCOMES, EpisodeIndex

EPISODES: Final = 200
_COLUMN: Final = {name: position for position, name in enumerate(COLUMNS)}


@dataclasses.dataclass(frozen=True)
class EpisodeFilter:
    """Which episodes to take.

    Attributes:
        episodes: How many, at most; they are drawn evenly from those that fit.
        seed: Of the drawing.
        task: Name of a task, or None for any; likewise the others.
        family: Name of a family.
        outcome: One of "right", "wrong", "abstained", "no answer", "answered".
        tool: A tool that was called.
        error: Code of an error that occurred.
    """

    episodes: int = EPISODES
    seed: int = 0
    task: str | None = None
    family: str | None = None
    outcome: str | None = None
    tool: str | None = None
    error: str | None = None


def parse_episode_filter(run: EpisodeIndex, choice: EpisodeFilter) -> list[int]:
    """The numbers of the episodes of a choice, in order.

    Args:
        run: The episodes of a run.
        choice: Which of them to take.
    """
    fit = [number for number, row in enumerate(run.rows) if _fits(run, row, choice)]
    if len(fit) > choice.episodes:
        fit = sorted(random.Random(choice.seed).sample(fit, choice.episodes))
    return fit


def export(run: EpisodeIndex, path: str | Path, numbers: Sequence[int]) -> int:
    """Write the page of a run with some of its episodes; the figures are those of the whole run.

    Args:
        run: The run, read to its end.
        path: The file; it is whole or not there.
        numbers: Episodes that can be opened.

    Returns:
        The size of the file in bytes.
    """
    path = Path(path)
    script = "\n".join(asset(name) for name in SCRIPTS)
    style = "\n".join(asset(name) for name in STYLES)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    episodes = {number: run.episode(number) for number in numbers}
    data = {**run.table(), "done": True, "figures": run.charts(), "here": list(numbers)}
    blocks = [_block("data", to_json(data, inf_nan_mode="null").decode())]
    blocks += [_block(f"episode-{n}", to_json(e, inf_nan_mode="null").decode()) for n, e in episodes.items()]
    pictures = dict.fromkeys((e["file"], image["picture"]) for e in episodes.values() for image in e["images"])
    for file, sha in pictures:
        picture = run.picture(file, sha)
        if picture is not None:
            blocks.append(_block(f"picture-{file}-{sha}", base64.b64encode(picture.read_bytes()).decode()))
    blocks.append(f"<script>{script}</script>")
    icon = base64.b64encode(asset(ICON).encode()).decode()
    head = f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">\n<style>{style}</style>'
    page = document(head, "\n".join(blocks), policy).encode()
    with write_atomically(path) as part:
        part.write_bytes(page)
    return len(page)


def _fits(run: EpisodeIndex, row: list[object], choice: EpisodeFilter) -> bool:
    def text(name: str) -> str:
        value = row[_COLUMN[name]]
        return run.strings[value] if isinstance(value, int) else ""

    tools, errors = row[_COLUMN["tools"]], row[_COLUMN["errors"]]
    outcome = row[_COLUMN["outcome"]]
    return (
        choice.task in (None, text("task"))
        and choice.family in (None, text("family"))
        and (choice.outcome is None or (isinstance(outcome, int) and choice.outcome == OUTCOMES[outcome]))
        and (choice.tool is None or (isinstance(tools, list) and choice.tool in [run.strings[n] for n in tools]))
        and (choice.error is None or (isinstance(errors, list) and choice.error in [run.strings[n] for n, _ in errors]))
    )


def _block(name: str, text: str) -> str:
    """A block of data: no script, and without the one character that could end it."""
    return f'<script type="application/json" id="{name}">{text.replace("<", chr(92) + "u003c")}</script>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
