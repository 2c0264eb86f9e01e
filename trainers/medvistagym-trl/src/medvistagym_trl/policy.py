"""A policy made from nothing: tokenizer, processor and random weights for one toolbox and one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from medvistagym_core.environment import HasDemonstrations, HasPerceptionItems
from medvistagym_core.protocol import message_text
from medvistagym_trl.environment import World
from medvistagym_trl.families import Policy
from medvistagym_trl.lessons import act_out
from medvistagym_trl.model import build_model
from medvistagym_trl.processor import build_processor
from medvistagym_trl.recipe import ModelRecipe
from medvistagym_trl.tokenizer import build_tokenizer

_SAMPLES = 96
_OFTEN = 3


def build_policy(recipe: ModelRecipe, world: World, seed: int) -> Policy:
    """A tiny Qwen3-VL that has learnt nothing yet.

    Its tokenizer is made from what training will show it: the prompt, the schemas, the task's vocabulary, and the
    texts of a few training episodes and looks.

    Args:
        recipe: Sizes.
        world: Task, tools and rules.
        seed: Seed of the weights.
    """
    texts = read_texts(world)
    often = [
        text
        for text, count in Counter(texts).items()
        if count >= _OFTEN and not any(letter.isdigit() for letter in text)
    ]
    prompt = [world.settings.prompt] if world.settings.prompt else []
    tokenizer = build_tokenizer(world.schemas, [*prompt, *often], world.task.vocabulary(), texts)
    processor = build_processor(tokenizer, recipe.view_side, recipe.patch, recipe.merge)
    return Policy(build_model(recipe, tokenizer, seed), processor, "qwen3_vl")


def read_texts(world: World) -> Sequence[str]:
    """Texts that a policy will read: questions, looks, and what tools say."""
    texts: list[str] = []
    task = world.task
    script = partial(task.demonstrate, skill=0.5) if isinstance(task, HasDemonstrations) else None
    for index in range(_SAMPLES):
        if isinstance(task, HasPerceptionItems):
            texts.append(task.look(world.split, index, world.seed).question)
        episode = world.episode(index) if script is None else act_out(world, index, script, world.seed)
        texts += [
            part
            for message in episode.messages
            if message["role"] in ("user", "tool")
            for part in message_text([message]).splitlines()
        ]
    return [text for text in texts if text.strip()]
