"""A policy that samples from a model: observations in, turns out, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch

from medvistagym_core.environment import Observation
from medvistagym_core.protocol import TEMPLATE_ERRORS, ActionFormat, render_chat
from medvistagym_core.trajectories import SamplingParams
from medvistagym_trl.model import (
    LoadedModel,
    apply_chat_template_batch,
    encode_equal_images_once,
    parse_turn,
    read_equal_rows_once,
)
from medvistagym_trl.rollout import to_protocol_message
from medvistagym_trl.stages._sampling_engine import SamplingEngine


class SamplingPolicy:
    """Implements the core's policy protocol with a model.

    Args:
        model: The model and its processor.
        schemas: Tools that the chat template renders, Hugging Face dialect; empty for a policy without tools, or whose prompt
            holds them.
        protocol: How turns are written in records.
        temperature: Sampling temperature; None decodes greedily.
        max_tokens: Longest turn, tokens.
        seed: Of the sampling.
        name: For reports.
        engine: The vLLM engine that writes the turns, once it holds the model's weights; None samples with transformers.
    """

    def __init__(
        self,
        model: LoadedModel,
        schemas: Sequence[Mapping[str, Any]],
        protocol: ActionFormat,
        *,
        temperature: float | None,
        max_tokens: int = 48,
        seed: int = 0,
        name: str = "model",
        engine: SamplingEngine | None = None,
    ) -> None:
        self._loaded, self._schemas, self._temperature = model, list(schemas), temperature
        self._protocol, self._max_tokens = protocol, max_tokens
        self.name = name
        self.sampling: SamplingParams = {
            "temperature": 0.0 if temperature is None else temperature,
            "max_tokens": max_tokens,
            "seed": seed,
        }
        self._engine, self._rng = engine, np.random.default_rng(seed)
        if engine is not None:
            engine.load(model)
        torch.manual_seed(seed)

    @torch.no_grad()
    def act(self, observations: Sequence[Observation]) -> Sequence[str | Exception]:
        """One turn for each observation, in the protocol of records, whatever format the model wrote it in.

        An exception for one on which the chat template fails or costs too much.
        """
        conversations = [list(observation.messages) for observation in observations]
        try:
            batch = self._encode(conversations)
        except TEMPLATE_ERRORS:
            refused = [self._refusal(conversation) for conversation in conversations]
        else:
            return self._write(conversations, batch)
        accepted = [each for each, error in zip(conversations, refused, strict=True) if error is None]
        written = iter(self._write(accepted, self._encode(accepted)) if accepted else [])
        return [next(written) if error is None else error for error in refused]

    def _encode(self, conversations: Sequence[Any]) -> dict[str, torch.Tensor]:
        return apply_chat_template_batch(self._loaded.processor, conversations, self._schemas, generation=True)

    def _refusal(self, conversation: Any) -> Exception | None:
        try:
            render_chat(self._loaded.processor, conversation, self._schemas, generation=True)
        except TEMPLATE_ERRORS as error:
            return error
        return None

    def _write(self, conversations: Sequence[list[Any]], batch: dict[str, torch.Tensor]) -> list[str]:
        self._loaded.model.eval()
        rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
        prompts = [[token for token, kept in zip(row, mask, strict=True) if kept] for row, mask in rows]
        written = self._sample(batch) if self._engine is None else self._ask(self._engine, prompts, conversations)
        return [self._read(prompt, turn) for prompt, turn in zip(prompts, written, strict=True)]

    def _ask(
        self, engine: SamplingEngine, prompts: Sequence[list[int]], conversations: Sequence[list[Any]]
    ) -> list[list[int]]:
        images = [_images(conversation) for conversation in conversations]
        seeds = self._rng.integers(2**31, size=len(prompts)).tolist()
        return engine.write(prompts, images, temperature=self._temperature, max_tokens=self._max_tokens, seeds=seeds)

    def _sample(self, batch: dict[str, torch.Tensor]) -> list[list[int]]:
        """Turns by transformers."""
        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        batch = {key: value.to(model.device) for key, value in batch.items()}
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        if self._temperature is not None:
            sampling = {"do_sample": True, "temperature": self._temperature, "top_k": 0, "top_p": 1.0}
        with encode_equal_images_once(model), read_equal_rows_once(model):
            tokens: torch.Tensor = model.generate(
                **batch,
                **sampling,
                max_new_tokens=self._max_tokens,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=list(self._loaded.end_of_turn),
                suppress_tokens=self._loaded.suppressed_tokens,
            )
        return [row[batch["input_ids"].shape[1] :] for row in tokens.tolist()]

    def _read(self, prompt: list[int], written: list[int]) -> str:
        """The turn in what was generated, as GRPO reads it."""
        end = next((k + 1 for k, token in enumerate(written) if token in self._loaded.end_of_turn), len(written))
        message = parse_turn(self._loaded.tokenizer, written[:end], prompt, self._schemas)
        return self._protocol.parse_message(to_protocol_message(message)).text


def _images(conversation: Sequence[Mapping[str, Any]]) -> list[PIL.Image.Image]:
    """The images of a conversation, in order."""
    return [
        block["image"]
        for message in conversation
        if not isinstance(message["content"], str)
        for block in message["content"]
        if block["type"] == "image"
    ]
