"""Trajectories: the record of an episode, and the file it is kept in.

A record holds what is needed to read, check and replay an episode: the case by name and seed, the toolbox's lock by hash, the
policy and its sampling, every turn as written and as read, every call with its arguments and what came back, every image by
content and by its place in the source, the reward's terms and the timings. What a policy saw is in `opening`, `turns` and
`images`; the right answer is in `outcome` and nowhere else.

A file is JSON lines, appended one finished episode at a time by one writer at a time; only episodes in which the policy failed
are ever taken out again, to be played once more. Pictures lie beside it in `images/`, once
each, named by the hash of their pixels; the toolbox's lock lies beside it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from medvistagym_core.plugins import TaskReference
from medvistagym_core.protocol import (
    Message,
    ToolMessageStyle,
    assistant_message,
    initial_messages,
    tool_messages,
    with_images,
)
from medvistagym_core.trajectories._records import BlockRecord, ImageRecord, Record, TurnRecord, to_blocks, to_turn

TerminationReason = Literal["answered", "turns", "tokens", "stopped", "policy_failed"]
SamplingParams = dict[str, str | int | float | bool | None]


class PolicyRecord(Record):
    """Who acted."""

    name: str = Field(description="The policy.")
    sampling: SamplingParams = Field(
        default_factory=dict, description="Sampling settings, such as the temperature and the seed."
    )


class AnswerRecord(Record):
    """The right answer, and how others are compared with it."""

    value: str = Field(description="The answer as text.")
    kind: str = Field(description="Its kind: exact, yes_no, choice, number, set, box, text, or a plugin's.")
    aliases: tuple[str, ...] = Field(default=(), description="Other texts that are as right.")
    tolerance: float | None = Field(default=None, description="Largest accepted difference of a number.")
    unit: str | None = Field(default=None, description="Unit of a number.")
    threshold: float | None = Field(default=None, description="Least partial credit that is right.")


class OutcomeRecord(Record):
    """How it ended. The only place of the right answer."""

    ended: TerminationReason = Field(description="Why the episode is over.")
    answer: str | None = Field(default=None, description="The policy's answer.")
    expected: str = Field(description="The right answer.")
    key: AnswerRecord | None = Field(
        default=None, description="The right answer in full, so that it can be scored again; null in older files."
    )
    correct: bool = Field(description="Whether the answer is right.")
    abstained: bool = Field(description="Whether the policy said that it cannot tell.")
    informed: bool | None = Field(
        default=None, description="Whether it made a call that tells something, where the task knows."
    )
    needed: str | None = Field(
        default=None,
        description="Name of the tool that the case needs, where the task knows; empty when it needs none.",
    )
    reason: str | None = Field(default=None, description="What went wrong with the policy, if anything.")


class Trajectory(Record):
    """The record of one episode."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    id: str = Field(description="Name of the episode: case, and number of the sample of it.")
    task: str = Field(description="Name of the task.")
    case: str = Field(description="Name of the case.")
    split: str = Field(description="Split of the case.")
    index: int = Field(description="Position of the case in its split.")
    family: str = Field(description="Kind of question.")
    seed: int = Field(description="Seed of the case.")
    sample: int = Field(default=0, description="Number of this sample of the case.")
    policy: PolicyRecord = Field(description="Who acted.")
    toolbox: str = Field(description="SHA-256 of the toolbox's lock, which lies beside the file.")
    think: Literal["required", "optional", "off"] = Field(description="The protocol's rule for reasoning.")
    style: ToolMessageStyle = Field(description="How calls and results stand in messages.")
    max_turns: int = Field(description="Most turns allowed.")
    max_calls: int = Field(description="Most calls allowed.")
    max_tokens: int | None = Field(default=None, description="Most tokens that the policy might write; null for any.")
    max_calls_per_turn: int = Field(description="Most calls allowed in a turn.")
    view_side: int | None = Field(
        description="Longer side of the pictures shown, in pixels; null for the images' own size."
    )
    prompt: str | None = Field(description="The system prompt.")
    opening: tuple[BlockRecord, ...] = Field(description="The first observation.")
    turns: tuple[TurnRecord, ...] = Field(description="The turns, in order.")
    images: tuple[ImageRecord, ...] = Field(description="The images by handle.")
    outcome: OutcomeRecord = Field(description="How it ended.")
    question: str | None = Field(default=None, description="The question as asked; null in older files.")
    options: tuple[str, ...] = Field(default=(), description="Answers to choose from, in the order shown.")
    facets: dict[str, str] = Field(
        default_factory=dict, description="Facts by which results are broken down, which the policy did not see."
    )
    task_reference: TaskReference | None = Field(
        default=None, description="How the task can be made again, where its name alone does not say."
    )
    reward: float = Field(description="The reward.")
    terms: dict[str, float] = Field(description="Its terms, before their weights.")
    weights: dict[str, float] = Field(description="The weights of the terms.")

    @property
    def calls(self) -> int:
        """Number of calls made."""
        return sum(len(turn.calls) for turn in self.turns)

    def _repr_html_(self) -> str:
        from medvistagym_core.trajectories._html import trajectory_html

        return trajectory_html(self)

    def to_messages(self, load: Callable[[str], Any], style: ToolMessageStyle | None = None) -> list[Message]:
        """The conversation as chat messages, for supervised fine-tuning.

        Args:
            load: Gives the picture of a hash, such as `TrajectoryReader.load_image`.
            style: How calls and results stand in messages; as the episode was played unless given.
        """
        style = style or self.style
        messages = initial_messages(self.prompt, to_blocks(self.opening))
        for record in self.turns:
            turn = to_turn(record)
            messages.append(assistant_message(turn, style))
            blocks = [to_blocks(call.shown) for call in record.calls]
            messages += tool_messages(turn, blocks, to_blocks(record.feedback), style)
        named = {b["image"] for m in messages for b in m["content"] if b["type"] == "image"}
        return with_images(messages, {h: load(self.images[h].picture) for h in sorted(named)})

    def to_sft(self, load: Callable[[str], Any], style: ToolMessageStyle = "text") -> dict[str, Any]:
        """A row in TRL's conversational format: `messages` with a place for each image, and the `images` in their order.

        Args:
            load: Gives the picture of a hash, such as `TrajectoryReader.load_image`.
            style: "text" writes calls as text and results as a user's messages, which TRL's own `SFTTrainer` can take; it takes
                no images in the messages of tools.
        """
        messages = self.to_messages(load, style)
        images = [block.pop("image") for m in messages for block in m["content"] if block["type"] == "image"]
        return {"messages": messages, "images": images}
