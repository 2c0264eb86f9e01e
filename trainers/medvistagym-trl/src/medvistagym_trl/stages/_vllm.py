"""What TRL's vLLM modes need for images: written against TRL 1.16 and vLLM 0.31, and tested with a stand-in for the engine.

- vLLM takes no `suppress_tokens`; a bias keeps the policy from writing tokens that stand for images.
- In colocate mode TRL hands over placeholders that are expanded, and vLLM expands them again (TRL issue 6294): each run of
  them is collapsed to one. In server mode TRL pairs features and placeholders itself.
- An engine that shares this process keeps image features by content: they are stale once weights were synchronised (TRL issue
  7198), so they are dropped then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Final

from medvistagym_trl._recipe import Recipe, RecipeError

_BIAS: Final = -100.0
"""Added to the logits of tokens that stand for images; vLLM takes from -100 to 100."""


def generation_settings(tokens: Sequence[int], recipe: Recipe) -> dict[str, Any]:
    """How the engine of a recipe is told not to write some tokens, as TRL's `generation_kwargs`."""
    if recipe.trl.grpo.get("use_vllm"):
        return {"logit_bias": dict.fromkeys(tokens, _BIAS)}
    return {"suppress_tokens": list(tokens)}


def check_vllm(recipe: Recipe) -> None:
    """Refuse a recipe that samples with vLLM where it is not installed.

    Raises:
        RecipeError: It is not.
    """
    if recipe.trl.grpo.get("use_vllm") and recipe.grpo.steps and importlib.util.find_spec("vllm") is None:
        raise RecipeError(
            f"the recipe {recipe.name} samples with vLLM (trl.grpo.use_vllm), which is not installed: pip install "
            "'trl[vllm]', or set trl.grpo.use_vllm=false to sample with transformers"
        )


def collapse_placeholders(ids: Sequence[Sequence[int]], token: int) -> list[list[int]]:
    """Rows of tokens in which each run of a token is one of it."""
    return [
        [each for place, each in enumerate(row) if each != token or place == 0 or row[place - 1] != token]
        for row in ids
    ]


class VllmTrainer:
    """Mixed into TRL's `GRPOTrainer`, above the class that calls its engine: what images need in vLLM."""

    def _write_turns(self: Any, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm and self.vllm_mode == "colocate":
            if self.state.global_step != self._last_loaded_step:  # before TRL does, which would keep the features
                self.vllm_generation.sync_weights()
                self.vllm_generation.llm.llm_engine.reset_encoder_cache()
                self._last_loaded_step = self.state.global_step
            if images is not None:
                prompt_ids = collapse_placeholders(prompt_ids, self.processing_class.image_token_id)
        return super()._write_turns(prompt_ids, images, *args, **kwargs)  # type: ignore[misc]
