"""What TRL's vLLM modes need for images: written against TRL 1.16 and vLLM 0.31, and run with both on a CPU.

- vLLM takes no `suppress_tokens`; a bias keeps the policy from writing tokens that stand for images. The log-probabilities
  that it reports are of the biased logits, so the trainer's are biased alike.
- In colocate mode TRL hands over placeholders that are expanded, and vLLM expands them again (TRL issue 6294): each run of
  them is collapsed to one. In server mode TRL pairs features and placeholders itself.
- The engine keeps image features by content: they are stale once weights were synchronised (TRL issue 7198), so they are
  dropped then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import requests
import torch

from medvistagym_trl._recipe import Recipe, RecipeError

BIAS: Final = -100.0
"""Added to the logits of tokens that stand for images; vLLM takes from -100 to 100."""
_OK: Final = 200
_TIMEOUT_S: Final = 60.0
"""Most seconds until a server has dropped its image features; it only clears a table."""
TOOL_CALL_PARSERS: Final[Mapping[str, str]] = {
    "qwen2_vl": "hermes",
    "qwen2_5_vl": "hermes",
    "qwen3_vl": "hermes",
    "qwen3_5": "qwen3_coder",
}
"""What `vllm serve --tool-call-parser` is given for a family, whose calls it then reads."""


def vllm_mode(recipe: Recipe) -> str | None:
    """Where the engine of a recipe runs, `colocate` (TRL's default) or `server`; None where transformers samples."""
    grpo = recipe.trl.grpo
    return str(grpo.get("vllm_mode", "colocate")) if grpo.get("use_vllm") else None


def generation_settings(tokens: Sequence[int], recipe: Recipe) -> dict[str, Any]:
    """How the engine of a recipe is told not to write some tokens, as TRL's `generation_kwargs`."""
    if recipe.trl.grpo.get("use_vllm"):
        return {"logit_bias": dict.fromkeys(tokens, BIAS)}
    return {"suppress_tokens": list(tokens)}


def bound_engine(recipe: Recipe, conversation: Callable[[], int]) -> Recipe:
    """A recipe whose engine plans for conversations as long as they get, where it shares the trainer's device.

    Left alone it plans for all that the model reads, 262,144 tokens of a Qwen3-VL, and finds no room for their keys and values.

    Args:
        recipe: The recipe.
        conversation: Counts the tokens of the longest conversation; called where it is needed.
    """
    if vllm_mode(recipe) != "colocate" or "vllm_max_model_length" in recipe.trl.grpo:
        return recipe
    return recipe.with_overrides({"trl.grpo.vllm_max_model_length": conversation()})


def check_vllm(recipe: Recipe) -> None:
    """Refuse a recipe that samples with vLLM where that cannot work.

    Raises:
        RecipeError: It is not, or there is no checkpoint for it to read.
    """
    if recipe.trl.grpo.get("use_vllm") and recipe.grpo.steps and importlib.util.find_spec("vllm") is None:
        raise RecipeError(
            f"the recipe {recipe.name} samples with vLLM (trl.grpo.use_vllm), which is not installed: pip install "
            "'trl[vllm]', or set trl.grpo.use_vllm=false to sample with transformers"
        )
    if recipe.trl.grpo.get("use_vllm") and recipe.grpo.steps and recipe.model.path is None:
        raise RecipeError(
            f"the recipe {recipe.name} samples with vLLM (trl.grpo.use_vllm), which reads checkpoints: give the folder of one "
            "with --model, or set trl.grpo.use_vllm=false for the policy that is built here"
        )


@contextmanager
def bias_logits(model: Any, tokens: Sequence[int]) -> Iterator[None]:
    """Let a model compute the logits that the engine samples from: those of some tokens lowered by the engine's bias.

    TRL reads weight and bias of the head and does not call it, so the bias stands where a head keeps its own; it is neither
    trained, saved nor handed to the engine. A head that has a bias is left as it is. Not for weights that are sharded.
    """
    head = model.get_output_embeddings()
    if head.bias is not None:
        yield
        return
    bias = torch.zeros(len(head.weight), dtype=head.weight.dtype, device=head.weight.device)
    bias[list(tokens)] = BIAS
    del head.bias
    head.register_buffer("bias", bias, persistent=False)
    try:
        yield
    finally:
        del head.bias
        head.register_parameter("bias", None)


def collapse_placeholders(ids: Sequence[Sequence[int]], token: int) -> list[list[int]]:
    """Rows of tokens in which each run of a token is one of it."""
    return [
        [each for place, each in enumerate(row) if each != token or place == 0 or row[place - 1] != token]
        for row in ids
    ]


class VllmTrainer:
    """Mixed into TRL's `GRPOTrainer`, above the class that calls its engine: what images need in vLLM."""

    def _write_turns(self: Any, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm:
            if self.state.global_step != self._last_loaded_step:  # before TRL does, which would keep the features
                self.vllm_generation.sync_weights()
                self._drop_features()
                self._last_loaded_step = self.state.global_step
            if images is not None and self.vllm_mode == "colocate":
                prompt_ids = collapse_placeholders(prompt_ids, self.processing_class.image_token_id)
        return super()._write_turns(prompt_ids, images, *args, **kwargs)  # type: ignore[misc]

    def _drop_features(self: Any) -> None:
        drop_features(self.vllm_generation)


def drop_features(generation: Any) -> None:
    """Let TRL's engine forget image features that earlier weights computed; of several processes, rank 0 asks a server to.

    Raises:
        RuntimeError: The server does not.
    """
    if generation.mode == "colocate":
        generation.llm.llm_engine.reset_encoder_cache()
    elif generation.accelerator.is_main_process:
        client = generation.vllm_client
        try:
            answer = client.session.post(f"{client.base_url}/reset_encoder_cache", timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise _features_kept(client.base_url, str(error)) from error
        if answer.status_code != _OK:
            raise _features_kept(client.base_url, f"HTTP {answer.status_code}")


def _features_kept(url: str, reason: str) -> RuntimeError:
    return RuntimeError(
        f"the vLLM server at {url} does not drop its image features ({reason}), which are those of earlier weights: start it "
        "with VLLM_SERVER_DEV_MODE=1, as `medvistagym train --dry-run` says"
    )
