"""Settings of episodes: their limits, and how much of them a policy sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from medvistagym_core.environment._reward import Reward
from medvistagym_core.environment.grading import GRADERS, Grader
from medvistagym_core.protocol import ActionFormat, TextProtocol, ToolMessageStyle
from medvistagym_core.tools import ToolError


def estimate_tokens(text: str) -> int:
    """The tokens of a text, roughly: one for every four bytes."""
    return -(-len(text.encode("utf-8", "replace")) // 4)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an episode may take.

    Attributes:
        max_turns: Turns, the answer included.
        max_calls: Tool calls; a turn that cannot be read counts as one.
        max_tokens: Tokens that the policy may write in all, as `EpisodeConfig.count_tokens` counts them; None for no limit.
        max_text: Characters of a turn that are read; what is longer is cut, and said to be.
        max_observation: Characters of one result that are shown; what is longer is cut, with a note.

    Raises:
        ValueError: A limit is below 1, or `max_calls` below 0.
    """

    max_turns: int = 6
    max_calls: int = 8
    max_tokens: int | None = None
    max_text: int = 8192
    max_observation: int = 2000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            minimum = 0 if field.name == "max_calls" else 1
            value = getattr(self, field.name)
            if value is not None and value < minimum:
                raise ValueError(f"{field.name} is at least {minimum}, not {value}")

    def exceeded_error(self, ended: str | None) -> ToolError:
        """Why a call was not run: the episode ended for want of "turns" or "tokens", or goes on and has no call left."""
        if ended == "tokens":
            message = f"All {self.max_tokens} tokens are used; the episode is over."
        elif ended:
            message = f"All {self.max_turns} turns are used; the episode is over."
        else:
            message = f"All {self.max_calls} calls are used; give your answer now in <answer>...</answer>."
        return ToolError("budget_exhausted", message)


@dataclasses.dataclass(frozen=True)
class EpisodeConfig:
    """How episodes are played; the same for all episodes of a run.

    Attributes:
        protocol: How a turn is written.
        reward: What an episode is worth.
        graders: How answers are compared, by kind of answer; those of a registry, where plugins bring some.
        limits: What it may take.
        view_side: Longer side of the pictures shown, in pixels; None shows images at their own size.
        prompt: The system prompt, or None for none.
        style: How calls and results stand in messages: "tools" for chat templates that know tools, "text" for others.
        compact: Whether images go without their number, options without a list and errors as their code alone, for policies
            to whom every token counts.
        count_tokens: Counts the tokens of what a policy wrote, such as its tokenizer; a rough count unless given.

    Raises:
        ValueError: `style` is neither "tools" nor "text", or `view_side` is below 1.
    """

    protocol: ActionFormat = dataclasses.field(default_factory=TextProtocol)
    reward: Reward = dataclasses.field(default_factory=lambda: Reward.preset("scout"))
    graders: Mapping[str, Grader] = dataclasses.field(default_factory=lambda: GRADERS, repr=False)
    limits: Limits = dataclasses.field(default_factory=Limits)
    view_side: int | None = None
    prompt: str | None = None
    style: ToolMessageStyle = "tools"
    compact: bool = False
    count_tokens: Callable[[str], int] = estimate_tokens

    def __post_init__(self) -> None:
        if self.style not in ("tools", "text"):
            raise ValueError(f"style is 'tools' or 'text', not {self.style!r}")
        if self.view_side is not None and self.view_side < 1:
            raise ValueError(f"view_side is at least 1 pixel, not {self.view_side}")
