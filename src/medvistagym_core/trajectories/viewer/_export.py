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
from medvistagym_core.tools import closest_match
from medvistagym_core.trajectories.viewer._assets import ICON, SCRIPTS, STYLES, asset, document
from medvistagym_core.trajectories.viewer._index import COLUMNS, OUTCOMES, EpisodeIndex, Row

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


def missing_name(run: EpisodeIndex, choice: EpisodeFilter) -> str | None:
    """A sentence about the first name in a choice that no episode has, and what there is; None where each is there.

    Args:
        run: The episodes of a run.
        choice: Which of them to take.
    """
    for name in ("task", "family", "tool", "error"):
        wanted, there = getattr(choice, name), sorted({text for row in run.rows for text in _texts(run, row, name)})
        if wanted is not None and wanted not in there:
            near = closest_match(wanted, there)
            guess = f"did you mean {near}?" if near else f"there are: {', '.join(there) or 'none'}"
            return f"no episode has the {name} {wanted!r}; {guess}"
    return None


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


def _fits(run: EpisodeIndex, row: Row, choice: EpisodeFilter) -> bool:
    outcome = row[_COLUMN["outcome"]]
    names = ((name, getattr(choice, name)) for name in ("task", "family", "tool", "error"))
    return (choice.outcome is None or choice.outcome == OUTCOMES[outcome]) and all(
        wanted is None or wanted in _texts(run, row, name) for name, wanted in names
    )


def _texts(run: EpisodeIndex, row: Row, name: str) -> list[str]:
    """The task or family of an episode, or the tools that it called, or the codes of its errors."""
    if name in ("task", "family"):
        return [run.strings[row[_COLUMN[name]]]]
    if name == "tool":
        return [run.strings[tool] for tool in row[_COLUMN["tools"]]]
    return [run.strings[code] for code, _ in row[_COLUMN["errors"]]]


def _block(name: str, text: str) -> str:
    """A block of data: no script, and without the one character that could end it."""
    return f'<script type="application/json" id="{name}">{text.replace("<", chr(92) + "u003c")}</script>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
