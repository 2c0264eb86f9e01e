"""An episode as a notebook shows it: what was asked, every turn with its calls and what came back, and how it ended."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import encode_png, picture_html, text_html

if TYPE_CHECKING:
    import PIL.Image

    from medvistagym_core.trajectories._records import BlockRecord, CallRecord, ErrorRecord, ImageRecord
    from medvistagym_core.trajectories._trajectory import Trajectory

    LoadPicture = Callable[[str], PIL.Image.Image]

_MAX_SIDE: Final = 256
_TURN: Final = "margin:8px 0;padding-left:10px;border-left:3px solid #90a4ae"
_ERROR: Final = "margin:0 0 8px;padding:4px 10px;border-left:4px solid #c62828;font:13px/1.5 system-ui,sans-serif"


@dataclasses.dataclass(frozen=True)
class EpisodeDisplay:
    """An episode with its pictures, for a notebook.

    Attributes:
        trajectory: The episode.
        load: Gives the picture of a hash.
    """

    trajectory: Trajectory
    load: LoadPicture

    def _repr_html_(self) -> str:
        return trajectory_html(self.trajectory, self.load)


def trajectory_html(trajectory: Trajectory, load: LoadPicture | None = None) -> str:
    """An episode as HTML.

    Args:
        trajectory: The episode.
        load: Gives the picture of a hash; pictures are described in words without it.
    """
    outcome = trajectory.outcome
    graded = "right" if outcome.correct else "abstained" if outcome.abstained else "wrong"
    if outcome.answer is None:
        graded = "not answered"
    elif not outcome.expected:  # a question whose right answer nobody has said
        graded = "answered"
    reward = f" · reward {trajectory.reward:.3g}" if outcome.expected else ""
    parts = [text_html(f"{trajectory.id} · {trajectory.policy.name} · {graded}{reward}")]
    parts += _blocks(trajectory, trajectory.opening, load)
    for number, turn in enumerate(trajectory.turns, 1):
        content = [text_html(turn.think)] if turn.think else []
        content += [part for call in turn.calls for part in _call(trajectory, call, load)]
        if turn.error is not None:
            content.append(_error(turn.error))
        if turn.answer is not None:
            content.append(f"<p><b>answer</b> {html.escape(turn.answer)}</p>")
        parts.append(f'<div style="{_TURN}"><b>turn {number}</b>{"".join(content) or text_html(turn.text)}</div>')
    if outcome.expected:
        parts.append(text_html(f"expected: {outcome.expected}"))
    return "".join(parts)


def _call(trajectory: Trajectory, call: CallRecord, load: LoadPicture | None) -> list[str]:
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in call.arguments.items())
    parts = [f"<p><code>{html.escape(f'{call.name}({arguments})')}</code></p>"]
    if call.error is not None:
        return [*parts, _error(call.error)]
    return parts + _blocks(trajectory, call.shown, load)


def _error(error: ErrorRecord) -> str:
    return f'<p style="{_ERROR}"><code>{html.escape(error.code)}</code> {html.escape(error.message)}</p>'


def _blocks(trajectory: Trajectory, blocks: Sequence[BlockRecord], load: LoadPicture | None) -> list[str]:
    parts = []
    for block in blocks:
        if block.image is not None:
            parts.append(_picture(block.image, trajectory.images[block.image], load))
        elif block.text:
            parts.append(text_html(block.text))
    return parts


def _picture(handle: int, image: ImageRecord, load: LoadPicture | None) -> str:
    caption = f"image {handle} · {image.width} × {image.height} · {image.unit}"
    if image.window_center is not None and image.window_width is not None:
        caption += f" · window {image.window_center:g} / {image.window_width:g}"
    if load is None:
        return text_html(f"[{caption}]")
    import numpy as np

    picture = load(image.picture)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return picture_html(encode_png(np.asarray(picture)), caption)
