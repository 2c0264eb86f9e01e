"""Observations: what a policy may know of an episode."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from medvistagym_core.imaging import Image, RenderedImage
from medvistagym_core.protocol import Message, with_images
from medvistagym_core.tools import ToolError, ToolResult, escape_control_marks

if TYPE_CHECKING:
    from medvistagym_core.environment._episode import Episode


class ShownMessages(Sequence[Message]):
    """Chat messages with RGB Pillow images, which are made when a message is read: an endpoint is sent files instead.

    Args:
        messages: The messages, whose image blocks hold handles.
        rendered: What is shown of each image, by handle.
    """

    def __init__(self, messages: Iterable[Message], rendered: tuple[RenderedImage, ...]) -> None:
        self.messages = tuple(messages)
        self.rendered = rendered

    @cached_property
    def _with_pictures(self) -> tuple[Message, ...]:
        blocks = (block for message in self.messages for block in message["content"] if block["type"] == "image")
        pictures = {handle: self.rendered[handle].pil for handle in {block["image"] for block in blocks}}
        return tuple(with_images(self.messages, pictures))

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        return self._with_pictures[index]

    def __len__(self) -> int:
        return len(self.messages)

    def __repr__(self) -> str:
        return repr(self._with_pictures)


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
        messages: The conversation so far, as chat messages with RGB Pillow images.
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
    messages: Sequence[Message]
    num_turns: int
    policy_state: dict[str, Any] = dataclasses.field(repr=False)


def observe(episode: Episode, messages: ShownMessages) -> Observation:
    """What a policy may know of an episode now, whose messages are these."""
    last = episode.steps[-1] if episode.steps else None
    return Observation(
        id=episode.id,
        seed=int.from_bytes(hashlib.sha256(f"{episode.seed}/{episode.id}".encode()).digest()[:6], "big"),
        question=escape_control_marks(episode.case.question),
        options=tuple(escape_control_marks(option) for option in episode.case.options),
        images=episode.store.images,
        rendered=messages.rendered,
        results=last.results if last else (),
        error=last.turn.error if last else None,
        messages=messages,
        num_turns=episode.turns,
        policy_state=episode.policy_state,
    )
