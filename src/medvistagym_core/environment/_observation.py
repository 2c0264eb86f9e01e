"""Observations: what a policy may know of an episode."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image, RenderedImage
from medvistagym_core.protocol import Message
from medvistagym_core.tools import ToolError, ToolResult, escape_control_marks

if TYPE_CHECKING:
    from medvistagym_core.environment._episode import Episode


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """What a policy may know. Nothing here holds the right answer.

    Attributes:
        id: Name of the episode.
        seed: A number that belongs to this episode, for a policy's own randomness.
        question: The question.
        options: Answers to choose from.
        images: Every image so far, by handle.
        rendered: What is shown of each of them; the pictures of `messages` are their `pil`.
        results: What the last turn's calls gave.
        error: Why the last turn could not be used, if so.
        messages: The conversation so far, as chat messages.
        num_turns: Number of turns taken.
        policy_state: The policy's own notes on this episode; kept as long as the episode.
    """

    id: str
    seed: int
    question: str
    options: tuple[str, ...]
    images: tuple[Image, ...]
    rendered: tuple[RenderedImage, ...]
    results: tuple[ToolResult, ...]
    error: ToolError | None
    messages: tuple[Message, ...]
    num_turns: int
    policy_state: dict[str, Any] = dataclasses.field(repr=False)


def observe(episode: Episode) -> Observation:
    """What a policy may know of an episode now."""
    last = episode.steps[-1] if episode.steps else None
    return Observation(
        id=episode.id,
        seed=int.from_bytes(hashlib.sha256(f"{episode.seed}/{episode.id}".encode()).digest()[:6], "big"),
        question=escape_control_marks(episode.case.question),
        options=tuple(escape_control_marks(option) for option in episode.case.options),
        images=episode.store.images,
        rendered=tuple(episode.rendered(handle) for handle in range(len(episode.store))),
        results=last.results if last else (),
        error=last.turn.error if last else None,
        messages=tuple(episode.messages),
        num_turns=episode.turns,
        policy_state=episode.policy_state,
    )
