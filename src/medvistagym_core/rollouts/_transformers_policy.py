"""A policy that samples from a local checkpoint with transformers.

torch and transformers are imported when a policy is made, never by importing this module. Nothing is downloaded and no code of
a checkpoint is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from medvistagym_core.environment import Observation
from medvistagym_core.protocol import SpecialTokens, TextProtocol, ToolMessageStyle, Turn, load_bounded_processor
from medvistagym_core.tools import Toolbox, first_line
from medvistagym_core.trajectories import SamplingParams

_PLACEHOLDERS: Final = (
    "image_token_id",
    "image_token_index",
    "video_token_id",
    "video_token_index",
    "vision_start_token_id",
    "vision_end_token_id",
)


class TransformersPolicy:
    """Generates turns, a batch at a time.

    Decoding stops where the protocol's turn ends. The same observations and seed give the same turns on the same machine when
    the batches are the same.

    Args:
        model: A vision-language model that generates, such as `AutoModelForImageTextToText` loads.
        processor: Its processor, with a chat template.
        toolbox: The tools written into the prompt by a chat template that knows tools.
        protocol: How turns are written.
        temperature: Sampling temperature; 0 decodes greedily.
        top_p: Share of the probability that is sampled from.
        max_new_tokens: Longest turn in tokens.
        batch: Most conversations in one forward pass.
        seed: Seed of the sampling.
        name: What reports call it.

    Raises:
        ValueError: A number is out of range, or the processor has no chat template.
        UnsafeTokenizerError: Text could stand for the tokenizer's special tokens.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        toolbox: Toolbox,
        protocol: TextProtocol | None = None,
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 512,
        batch: int = 16,
        seed: int = 0,
        name: str = "model",
    ) -> None:
        if temperature < 0 or not 0 < top_p <= 1:
            raise ValueError(f"temperature is at least 0 and top_p in (0, 1], not {temperature} and {top_p}")
        if not getattr(processor, "chat_template", None):
            raise ValueError("the processor has no chat template, so it cannot show a conversation to the model")
        self.name = name
        self.sampling: SamplingParams = {
            "temperature": temperature,
            "top_p": top_p,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
        }
        self._model = model.eval()
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._special = SpecialTokens.from_processor(processor)
        self._ends = _end_tokens(model, self._tokenizer)
        self._tools = self._special.escape_schemas(toolbox.schemas("huggingface"))
        self._protocol = protocol or TextProtocol()
        self._batch = batch
        self._seed = seed
        self._banned = _placeholders(model.config)

    @classmethod
    def load(cls, path: str | Path, toolbox: Toolbox, protocol: TextProtocol | None = None, **options: Any) -> Self:
        """A policy of a checkpoint in a local folder.

        Args:
            path: The folder, as `save_pretrained` writes it.
            toolbox: The tools that may be called.
            protocol: How turns are written.
            **options: Those of the class, and `device` ("cpu" unless given) and `dtype` ("auto").

        Raises:
            ValueError: There is no such folder, or transformers cannot load a vision-language model from it.
        """
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is not a checkpoint folder: it has no config.json")
        try:
            from transformers import AutoModelForImageTextToText
        except ImportError:
            raise ValueError("a local model needs torch and transformers: pip install medvistagym-trl") from None
        device, dtype = options.pop("device", "cpu"), options.pop("dtype", "auto")
        try:
            model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype=dtype)
            processor = load_bounded_processor(folder)
        except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
            raise ValueError(
                f"{folder.name} cannot be loaded as a vision-language model: {first_line(error)}"
            ) from error
        return cls(model.to(device), processor, toolbox, protocol, **{"name": folder.name, **options})

    @property
    def style(self) -> ToolMessageStyle:
        """How its chat template wants calls: "tools" when it knows them, else "text"."""
        template = self._processor.chat_template
        text = "".join(template.values()) if isinstance(template, Mapping) else str(template)
        return "tools" if "tool_calls" in text and "tools" in text.replace("tool_calls", "") else "text"

    def act(self, observations: Sequence[Observation]) -> list[str | Turn | Exception]:
        """A turn for each observation; an exception for one whose conversation cannot be encoded."""
        turns: list[str | Turn | Exception] = []
        for begin in range(0, len(observations), self._batch):
            turns += self._generate(observations[begin : begin + self._batch])
        return turns

    def _generate(self, observations: Sequence[Observation]) -> list[str | Turn | Exception]:
        try:
            inputs = self._encode(observations)
        except Exception as error:  # noqa: BLE001 a template or a tokenizer can raise anything, for one conversation alone
            if len(observations) == 1:
                return [error]
            return [turn for observation in observations for turn in self._generate([observation])]
        return list(self._sample(inputs, self._batch_seed(observations)))

    def _encode(self, observations: Sequence[Observation]) -> Any:
        """The model's inputs: what tools, tasks and the policy said is text in them, never a special token."""
        return self._processor.apply_chat_template(
            [self._special.escape_messages(o.messages) for o in observations],
            tools=self._tools or None,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
            padding_side="left",
        ).to(self._model.device)

    def _sample(self, inputs: Any, seed: int) -> list[str | Turn]:
        import torch

        tokenizer = self._tokenizer
        temperature = float(self.sampling["temperature"] or 0)
        choice: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            choice = {"do_sample": True, "temperature": temperature, "top_p": self.sampling["top_p"], "top_k": 0}
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(self._model)):
            torch.manual_seed(seed)
            tokens = self._model.generate(
                **inputs,
                **choice,
                max_new_tokens=self.sampling["max_new_tokens"],
                stop_strings=list(self._protocol.stop_strings),
                tokenizer=tokenizer,
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
                suppress_tokens=self._banned or None,
            )
        written = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._decode_turn(row) for row in written]

    def _batch_seed(self, observations: Sequence[Observation]) -> int:
        """One seed for a batch, from the run's seed and the episodes in it."""
        named = repr([self._seed, *((o.seed, o.num_turns) for o in observations)])
        return int.from_bytes(hashlib.sha256(named.encode()).digest()[:6], "big")

    def _decode_turn(self, row: Sequence[int]) -> str | Turn:
        """The text of a turn, up to where it ends; a special token within it stays, and makes the turn malformed."""
        end = next((k for k, token in enumerate(row) if token in self._ends), len(row))
        text = str(self._tokenizer.decode(row[:end], skip_special_tokens=False))
        ends = [text.find(stop) + len(stop) for stop in self._protocol.stop_strings if stop in text]
        return self._special.read_turn((text[: min(ends)] if ends else text).strip())


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that end a turn, and of the padding behind it."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(end for end in (*ends, tokenizer.eos_token_id, tokenizer.pad_token_id) if isinstance(end, int))


def _placeholders(config: Any) -> list[int]:
    """Ids of tokens that stand for images, which a turn must not hold."""
    found = {getattr(config, name, None) for name in _PLACEHOLDERS}
    return sorted(token for token in found if isinstance(token, int))


def _devices(model: Any) -> list[Any]:
    return [model.device] if model.device.type == "cuda" else []
