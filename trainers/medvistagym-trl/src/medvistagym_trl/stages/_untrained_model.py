"""The model that a training without a checkpoint begins with."""

from __future__ import annotations

from medvistagym_trl._recipe import ModelRecipe
from medvistagym_trl.model import LoadedModel, apply_chat_format, build_tiny_model
from medvistagym_trl.rollout import RolloutContext, sample_corpus


def build_untrained_model(recipe: ModelRecipe, context: RolloutContext, seed: int) -> LoadedModel:
    """A tiny model with random weights, whose tokenizer is made from what training will show it.

    Args:
        recipe: Sizes.
        context: Task, tools and rules.
        seed: Seed of the weights.
    """
    corpus = sample_corpus(context)
    model = build_tiny_model(recipe, context.schemas, context.config.prompt, context.task.vocabulary(), corpus, seed)
    if context.config.style == "text":
        apply_chat_format(model.processor, "text", [model.tokenizer.eos_token])
    return model
