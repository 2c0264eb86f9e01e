"""Texts of the kind that a policy will read, from which the tiny model's tokenizer is made."""

from __future__ import annotations

from functools import partial
from typing import Final

from medvistagym_core.environment import HasDemonstrations, HasPerceptionItems
from medvistagym_core.protocol import message_text
from medvistagym_trl.rollout._context import RolloutContext
from medvistagym_trl.rollout._demonstrations import run_demonstration

_CASES: Final = 96


def sample_corpus(context: RolloutContext) -> list[str]:
    """Lines of a few training cases: questions, perception items, and what tools return in demonstrations."""
    texts: list[str] = []
    task = context.task
    script = partial(task.demonstrate, skill=0.5) if isinstance(task, HasDemonstrations) else None
    for index in range(_CASES):
        if isinstance(task, HasPerceptionItems):
            texts.append(task.look(context.split, index, context.seed).question)
        episode = (
            context.make_episode(index) if script is None else run_demonstration(context, index, script, context.seed)
        )
        texts += [
            line
            for message in episode.messages
            if message["role"] in ("user", "tool")
            for line in message_text([message]).splitlines()
        ]
    return [text for text in texts if text.strip()]
