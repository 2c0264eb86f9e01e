"""A policy that samples from a model: observations in, turns out, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medvistagym_core.environment import Observation
from medvistagym_core.trajectories import SamplingParams
from medvistagym_trl.batch import encode
from medvistagym_trl.families import Policy
from medvistagym_trl.tokenizer import NEVER_SAMPLED


class SampledPolicy:
    """Implements the core's policy protocol with a model.

    Args:
        policy: The model and its processor.
        schemas: Tools rendered into the prompt, Hugging Face dialect; empty for a policy without tools.
        temperature: Sampling temperature; None decodes greedily.
        max_tokens: Longest turn, tokens.
        seed: Of the sampling.
        name: For reports.
    """

    def __init__(
        self,
        policy: Policy,
        schemas: Sequence[Mapping[str, Any]],
        *,
        temperature: float | None,
        max_tokens: int = 48,
        seed: int = 0,
        name: str = "model",
    ) -> None:
        self._policy, self._schemas, self._temperature = policy, list(schemas), temperature
        self._max_tokens = max_tokens
        self.name = name
        self.sampling: SamplingParams = {
            "temperature": 0.0 if temperature is None else temperature,
            "max_tokens": max_tokens,
            "seed": seed,
        }
        torch.manual_seed(seed)

    @torch.no_grad()
    def act(self, observations: Sequence[Observation]) -> Sequence[str | Exception]:
        """One turn for each observation, in the wire format."""
        policy, tokenizer = self._policy, self._policy.tokenizer
        batch = encode(policy.processor, [list(o.messages) for o in observations], self._schemas, generation=True)
        batch = {key: value.to(policy.model.device) for key, value in batch.items()}
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        if self._temperature is not None:
            sampling = {"do_sample": True, "temperature": self._temperature, "top_k": 0, "top_p": 1.0}
        policy.model.eval()
        written = policy.model.generate(
            **batch,
            **sampling,
            max_new_tokens=self._max_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            suppress_tokens=suppressed_tokens(policy),
        )
        turns = written[:, batch["input_ids"].shape[1] :].tolist()
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        texts = [
            tokenizer.decode([token for token in turn if token not in ends], skip_special_tokens=False)
            for turn in turns
        ]
        return [str(text) for text in texts]


def suppressed_tokens(policy: Policy) -> list[int]:
    """Tokens that must not be sampled, as far as the policy's vocabulary has them."""
    vocabulary = policy.tokenizer.get_vocab()
    return [vocabulary[token] for token in NEVER_SAMPLED if token in vocabulary]
