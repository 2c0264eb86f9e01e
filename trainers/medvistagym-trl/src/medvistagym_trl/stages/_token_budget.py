"""How many tokens an episode takes, found out by playing calls of every tool on real cases."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Any, Final

import numpy as np
import torch

from medvistagym_core.rollouts import sample_arguments
from medvistagym_core.tools import ToolCall, ToolSpec
from medvistagym_trl.model import TokenCounter
from medvistagym_trl.rollout import RolloutContext

_CASES: Final = 2
_DRAWS: Final = 4
"""Random calls that are tried for one that succeeds."""


@dataclasses.dataclass(frozen=True)
class TokenBudget:
    """Tokens of the parts of an episode, the largest of what was met.

    Attributes:
        prompt: All that is read before the first turn: instructions, tools, the question and its images.
        tools: Of these, the tools' schemas, where the chat template renders them.
        results: A result of each tool, and what opens the next turn.
        prompt_images: Of the prompt, the images.
        result_images: Of a result of each tool, the images.
    """

    prompt: int
    tools: int
    results: dict[str, int]
    prompt_images: int = 0
    result_images: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def result(self) -> int:
        """The longest result."""
        return max(self.results.values(), default=0)

    def completion(self, calls: int, turn: int) -> int:
        """Tokens after the prompt of an episode that calls tools and then answers, the answer in a turn of its own.

        Args:
            calls: Number of calls, each in a turn of its own.
            turn: Tokens that the policy writes in a turn.
        """
        return calls * (turn + self.result) + turn

    def images(self, calls: int) -> int:
        """Of the tokens of an episode with as many calls, the images."""
        return self.prompt_images + calls * max(self.result_images.values(), default=0)

    def __str__(self) -> str:
        longest = ", ".join(f"{name} {tokens}" for name, tokens in self.results.items())
        tools = f", of which {self.tools} show the tools" if self.tools else ""
        return f"the prompt takes {self.prompt} tokens{tools}" + (f"; results take up to: {longest}" if longest else "")


def measure_tokens(context: RolloutContext, processor: Any, *, calls: bool = True) -> TokenBudget:
    """Play a call of every tool on a few training cases, and count.

    Args:
        context: Cases, rules and tools.
        processor: The model's processor.
        calls: Whether to play calls; only the prompt is counted otherwise.
    """
    counter, plain = TokenCounter(processor, context.rendered_schemas), TokenCounter(processor)
    prompts = [context.make_episode(index).messages for index in range(_CASES)]
    prompt = max(counter.count(messages, generation=True) for messages in prompts)
    tools = counter.count(prompts[0]) - plain.count(prompts[0])
    results: dict[str, int] = {}
    images: dict[str, int] = {}
    if calls:
        with torch.random.fork_rng(devices=[]), closing(context.as_measured()) as measured:
            for spec in context.toolbox.specs:
                counts = [_result_tokens(measured, counter, spec, index) for index in range(_CASES)]
                results[spec.name] = max(tokens for tokens, _ in counts)
                images[spec.name] = max(shown for _, shown in counts)
    return TokenBudget(prompt, tools, results, max(map(counter.count_images, prompts)), images)


def _result_tokens(context: RolloutContext, counter: TokenCounter, spec: ToolSpec, index: int) -> tuple[int, int]:
    """Tokens of the longest result of a tool on a case, and of its images."""
    protocol = context.config.protocol
    thought = "I look." if protocol.think == "required" else None
    rng = np.random.default_rng([index, len(spec.name)])
    tokens = images = 0
    for _ in range(_DRAWS):
        episode = context.make_episode(index)
        arguments = sample_arguments(spec.parameters, spec.images, len(episode.case.images), rng)
        calls = episode.submit_turn(protocol.format_turn(thought, [ToolCall(name=spec.name, arguments=arguments)]))
        if not calls:
            break
        episode.submit_results(context.executor.run([(episode.store, calls)])[0])
        messages = episode.messages
        turn = max(k for k, message in enumerate(messages) if message["role"] == "assistant")
        tokens = max(tokens, counter.count(messages, generation=True) - counter.count(messages[: turn + 1]))
        images = max(images, counter.count_images(messages) - counter.count_images(messages[: turn + 1]))
        if episode.steps[-1].succeeded:
            break
    return tokens, images
