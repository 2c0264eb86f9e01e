"""How episodes are played: what they may take, and what a policy is shown of them."""

from __future__ import annotations

import dataclasses

from medvistagym_core.conversation import Style
from medvistagym_core.protocol import Protocol
from medvistagym_core.reward import Reward


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an episode may take.

    Attributes:
        max_turns: Turns, the answer included.
        max_calls: Tool calls; a turn that cannot be read counts as one.
        max_text: Characters of a turn that are read; what is longer is cut, and said to be.
        max_observation: Characters of one result that are shown; what is longer is cut, with a note.
    """

    max_turns: int = 6
    max_calls: int = 8
    max_text: int = 8192
    max_observation: int = 2000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least = 0 if field.name == "max_calls" else 1
            if getattr(self, field.name) < least:
                raise ValueError(f"{field.name} is at least {least}, not {getattr(self, field.name)}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How episodes are played; the same for all episodes of a run.

    Attributes:
        protocol: How a turn is written.
        reward: What an episode is worth.
        limits: What it may take.
        view_side: Longer side of the pictures shown, in pixels; None shows images at their own size.
        prompt: The system prompt, or None for none.
        style: How calls and results stand in messages: "tools" for chat templates that know tools, "text" for others.
        terse: Whether images go without their number, options without a list and errors as their code alone, for policies
            to whom every token counts.
    """

    protocol: Protocol = dataclasses.field(default_factory=Protocol)
    reward: Reward = dataclasses.field(default_factory=lambda: Reward.preset("scout"))
    limits: Limits = dataclasses.field(default_factory=Limits)
    view_side: int | None = None
    prompt: str | None = None
    style: Style = "tools"
    terse: bool = False

    def __post_init__(self) -> None:
        if self.style not in ("tools", "text"):
            raise ValueError(f"style is 'tools' or 'text', not {self.style!r}")
        if self.view_side is not None and self.view_side < 1:
            raise ValueError(f"view_side is at least 1 pixel, not {self.view_side}")
