"""The vLLM engine of a training, one of a process: GRPO samples with it, and so does what is played outside of GRPO.

Evaluation, validation, exploration and self-sampling hand it the weights that they play first, so that all figures of a run
come from one engine under one set of token rules. The first turn after that is certified: the log-probabilities that the
engine reports are those that the model itself gives to the same tokens and images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import PIL.Image
import PIL.ImageOps
import torch
from trl.trainer.grpo_config import GRPOConfig

from medvistagym_trl._ranks import rank, rank_count
from medvistagym_trl._recipe import Recipe, RecipeError
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.stages._logprob_parity import FLOAT32_BOUND, HALF_BOUND, ModelEngine, choose_rows
from medvistagym_trl.stages._parity import ParityError, ParityMismatch
from medvistagym_trl.stages._vllm import BIAS, bias_logits, collapse_placeholders, drop_features, vllm_mode

_SHARED_FIELDS: Final = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_completion_length")
"""What TRL's trainer and its engine both hold."""
_REQUESTS: Final = 64
"""Most requests to a server at a time, as TRL has it."""


def engine_refusal(recipe: Recipe, *, sharded: bool = False, beside: bool = False) -> str | None:
    """Why what is played outside of GRPO cannot use the engine of a recipe that samples with vLLM; None where it can.

    Args:
        recipe: The recipe.
        sharded: Whether each process has a share of the weights alone.
        beside: Whether this is the second process of a run, beside the one whose engine it is.
    """
    if beside:
        return "the engine is the first process's"
    if sharded:
        return "ranks that share weights synchronise the engine within GRPO alone"
    if vllm_mode(recipe) == "colocate" and int(recipe.trl.grpo.get("vllm_tensor_parallel_size", 1)) > 1:
        return "an engine that several ranks share (trl.grpo.vllm_tensor_parallel_size) wants each turn of all of them at once"
    if recipe.model.quantization != "none":
        return "an engine with quantised weights (model.quantization) takes those of GRPO alone"
    return None


@dataclasses.dataclass(frozen=True)
class WrittenTurns:
    """Turns that an engine wrote.

    Attributes:
        tokens: Of each row.
        logprobs: What the engine reports of each token, NaN where it reports nothing.
    """

    tokens: list[list[int]]
    logprobs: list[list[float]]


class SamplingEngine:
    """TRL's vLLM engine, made when it is first needed, and given to the trainer of GRPO in place of one of its own.

    Args:
        recipe: How the engine is set up, how its rows are certified.
        conversation: Counts the tokens of the longest conversation, given a processor; called where the engine is colocated.
        folder: Where a turn is kept that does not pass.
        log: Is handed what was found of a turn that passes.

    Attributes:
        stage: The stage of the run that is played; `log` is handed it.
    """

    def __init__(
        self,
        recipe: Recipe,
        conversation: Callable[[Any], int],
        folder: Path,
        log: Callable[[str, Mapping[str, float]], None],
    ) -> None:
        self._recipe, self._conversation, self._folder, self._log = recipe, conversation, folder, log
        self._generation: Any = None
        self._client: Any = None
        self._model: LoadedModel | None = None
        self._certified = True
        self._checks: dict[str, int] = {}
        self.stage = "played"

    def attach(self, trainer: Any) -> Any:
        """The engine for a trainer of GRPO, with the trainer's model and settings.

        Raises:
            RecipeError: The vLLM server reports log-probabilities that are not what it samples by.
        """
        generation = self._open(trainer.model, trainer.processing_class, trainer.accelerator)
        for name in _SHARED_FIELDS:
            setattr(generation, name, getattr(trainer, name))
        generation.generation_kwargs = trainer.args.generation_kwargs or {}
        generation.structured_outputs_regex = trainer.args.vllm_structured_outputs_regex
        return generation

    def prepare(self, model: LoadedModel) -> None:
        """Make the engine, if there is none yet: of several processes all together, before one of them plays alone.

        Raises:
            RecipeError: The vLLM server reports log-probabilities that are not what it samples by.
        """
        from accelerate import Accelerator  # type: ignore[import-untyped]

        accelerator = None if self._generation is not None else Accelerator(cpu=not torch.cuda.is_available())
        self._open(model.model, model.processor, accelerator)

    def load(self, model: LoadedModel) -> None:
        """Hand a model's weights to the engine, which forgets what earlier weights computed.

        Of several processes that share a server, each calls it, and none asks before all have.
        """
        self.prepare(model)
        generation = self._generation
        generation.sync_weights()
        drop_features(generation)
        self._model, self._certified = model, not self._recipe.grpo.parity.logprobs_every

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        images: Sequence[Sequence[PIL.Image.Image]],
        *,
        temperature: float | None,
        max_tokens: int,
        seeds: Sequence[int],
    ) -> list[list[int]]:
        """The next turn of each row, by the weights that were loaded.

        Args:
            prompts: Tokens of each row, placeholders of images expanded.
            images: The images of each row, in order.
            temperature: Of sampling; None is greedy.
            max_tokens: Longest turn.
            seeds: Of each row's sampling, where a server samples; an engine in this process draws from torch's generator.

        Raises:
            ParityError: The engine does not sample from the weights that were loaded, or does not see the images.
            RecipeError: A conversation is longer than the engine reads.
        """
        model = self._model
        assert model is not None, "no weights were loaded"
        longest, room = max(map(len, prompts)), self._room
        if longest >= room:
            raise RecipeError(
                f"a conversation of {longest} tokens does not fit into vLLM, which reads {room}: set a larger "
                f"{'--max-model-len of the server' if self._mode == 'server' else 'trl.grpo.vllm_max_model_length'}"
            )
        rules: dict[str, Any] = {
            "temperature": 0.0 if temperature is None else temperature,
            "logit_bias": dict.fromkeys(model.suppressed_tokens, BIAS),
            "stop_token_ids": list(model.end_of_turn),
        }
        if self._mode == "server":
            turns = self._ask_server(prompts, images, rules, max_tokens, room, seeds if temperature is not None else ())
        else:
            turns = self._ask_here(prompts, images, {**rules, "max_tokens": max_tokens})
        if not self._certified:
            self._certify(model, prompts, images, turns, temperature)
            self._certified = True
        return turns.tokens

    @property
    def _mode(self) -> str | None:
        return vllm_mode(self._recipe)

    def _open(self, model: Any, processor: Any, accelerator: Any) -> Any:
        """TRL's engine, for a model; made once, since a process has room for one."""
        from trl.generation.vllm_generation import VLLMGeneration

        if self._generation is None:
            fields = self._fields(processor)
            self._generation = VLLMGeneration(
                model=model,
                accelerator=accelerator,
                processing_class=processor,
                mode=self._mode or "colocate",
                max_num_seqs=self._recipe.grpo.completions // rank_count(),
                **fields,
            )
            self._check_server()
        generation = self._generation
        generation.model, generation.processing_class = model, processor
        if accelerator is not None:
            generation.accelerator = accelerator
        return generation

    def _fields(self, processor: Any) -> dict[str, Any]:
        """TRL's settings of its engine: the recipe's, and TRL's own where it says none."""
        values = {field.name: field.default for field in dataclasses.fields(GRPOConfig)} | self._recipe.trl.grpo
        names = (
            "structured_outputs_regex", "server_base_url", "server_host", "server_port", "group_port", "server_timeout",
            "tensor_parallel_size", "gpu_memory_utilization", "enable_sleep_mode", "model_impl",
        )  # fmt: skip
        length = values["vllm_max_model_length"]
        if length is None and self._mode == "colocate":
            length = self._conversation(processor)
        return {
            **{name: values[f"vllm_{name}"] for name in names},
            "max_model_length": length,
            "trust_remote_code": values["trust_remote_code"],
        }

    def _server(self) -> Any:
        """The client of the server: TRL's on rank 0, which hands it weights; one of its own on others, which only ask."""
        if self._client is None:
            from trl.generation.vllm_client import VLLMClient

            generation = self._generation
            self._client = getattr(generation, "vllm_client", None)
            if self._client is None:
                url = generation.server_base_url or f"http://{generation.server_host}:{generation.server_port}"
                self._client = VLLMClient(base_url=url, connection_timeout=generation.server_timeout)
        return self._client

    def _check_server(self) -> None:
        """Refuse a server whose log-probabilities are not those that it sampled by."""
        if self._mode == "server":
            found = self._server().get_server_info()["model_config"]["logprobs_mode"]
            if found != "processed_logprobs":
                raise RecipeError(
                    f"the vLLM server at {self._server().base_url} reports {found}, which are not what it samples by: start it "
                    "with --logprobs-mode processed_logprobs, as `medvistagym train --dry-run` says"
                )

    @cached_property
    def _room(self) -> int:
        """Tokens that the engine reads."""
        if self._mode == "server":
            return int(self._server().get_server_info()["model_config"]["max_model_len"])
        return int(self._generation.llm.llm_engine.model_config.max_model_len)

    def _ask_here(
        self, prompts: Sequence[Sequence[int]], images: Sequence[Sequence[PIL.Image.Image]], rules: dict[str, Any]
    ) -> WrittenTurns:
        generation = self._generation
        rows, shown = [list(ids) for ids in prompts], None
        if any(images):
            rows = collapse_placeholders(rows, generation.processing_class.image_token_id)
            shown = [list(row) or None for row in images]
        kept, regex = generation.generation_kwargs, generation.structured_outputs_regex
        generation.generation_kwargs, generation.structured_outputs_regex = rules, None
        kept_fields = {name: getattr(generation, name) for name in _SHARED_FIELDS}
        for name, value in _PLAIN.items():
            setattr(generation, name, value)
        try:
            _, tokens, logprobs, _ = generation.generate(prompts=rows, images=shown, num_generations=1)
        finally:
            generation.generation_kwargs, generation.structured_outputs_regex = kept, regex
            for name, value in kept_fields.items():
                setattr(generation, name, value)
        return _turns(tokens, logprobs)

    def _ask_server(
        self,
        prompts: Sequence[Sequence[int]],
        images: Sequence[Sequence[PIL.Image.Image]],
        rules: dict[str, Any],
        max_tokens: int,
        room: int,
        seeds: Sequence[int],
    ) -> WrittenTurns:
        """Each row on its own: ranks need not ask at the same time, and rows of one prompt have seeds of their own."""
        client, generation = self._server(), self._generation
        rows = [list(ids) for ids in prompts]
        features: list[Any] = [None] * len(rows)
        if any(images):
            features = client.image_features([list(row) or None for row in images])
            place = generation._place_features  # noqa: SLF001  the one that TRL's own `generate` pairs them with
            features = [place(each, ids) for each, ids in zip(features, rows, strict=True)]

        def ask(row: int) -> tuple[list[int], Any]:
            settings = {**rules, **({"seed": seeds[row]} if seeds else {})}
            answer = client.generate(
                prompts=[rows[row]],
                features=None if features[row] is None else [features[row]],
                max_tokens=min(max_tokens, room - len(rows[row])),
                generation_kwargs=settings,
            )
            return answer["completion_ids"][0], answer["logprobs"][0]

        with ThreadPoolExecutor(min(_REQUESTS, len(rows))) as threads:
            answers = list(threads.map(ask, range(len(rows))))
        return _turns([tokens for tokens, _ in answers], [logprobs for _, logprobs in answers])

    def _certify(
        self,
        model: LoadedModel,
        prompts: Sequence[Sequence[int]],
        images: Sequence[Sequence[PIL.Image.Image]],
        turns: WrittenTurns,
        temperature: float | None,
    ) -> None:
        """Compare what the engine reports of some rows with what the model says of them."""
        rules = self._recipe.grpo.parity
        half = torch.cuda.is_available() or model.model.dtype != torch.float32
        bound = rules.max_logprob_difference or (HALF_BOUND if half else FLOAT32_BOUND)
        # Of a greedy turn the engine reports what is sampled from at temperature 1.
        scorer = ModelEngine(model.model, model.processor, temperature or 1.0)
        found: dict[str, float] = {}
        try:
            with bias_logits(model.model, model.suppressed_tokens):
                for row in choose_rows(images, rules.rows):
                    self._compare(scorer, row, prompts[row], list(images[row]), turns, bound, found)
        except ParityMismatch as mismatch:
            raise self._refused(mismatch, prompts, images, turns) from None
        self._checks[self.stage] = self._checks.get(self.stage, 0) + 1
        self._log(f"{self.stage}-engine", {"step": self._checks[self.stage], **found})

    def _compare(
        self,
        scorer: ModelEngine,
        row: int,
        prompt: Sequence[int],
        shown: list[PIL.Image.Image],
        turns: WrittenTurns,
        bound: float,
        found: dict[str, float],
    ) -> None:
        whole = [*prompt, *turns.tokens[row]]
        if len(whole) == len(prompt):
            return
        theirs = scorer.score(whole, len(prompt), shown).cpu()
        difference = float((theirs - torch.tensor(turns.logprobs[row])).abs().nan_to_num().mean())
        found["parity/engine_difference"] = max(found.get("parity/engine_difference", 0.0), difference)
        if not difference <= bound:
            raise ParityMismatch(
                row,
                f"the log-probabilities of the model and of the vLLM that sampled in its place differ by {difference:.3g} a "
                f"token, and {bound:g} is the bound",
            )
        if shown:
            canary = [PIL.ImageOps.invert(image.convert("RGB")) for image in shown]
            change = float((scorer.score(whole, len(prompt), canary).cpu() - theirs).abs().max())
            found["parity/canary_difference"] = max(found.get("parity/canary_difference", 0.0), change)
            if change == 0:
                raise ParityMismatch(row, "inverted images leave every log-probability of the model as it was")

    def _refused(
        self,
        mismatch: ParityMismatch,
        prompts: Sequence[Sequence[int]],
        images: Sequence[Sequence[PIL.Image.Image]],
        turns: WrittenTurns,
    ) -> ParityError:
        row = mismatch.row
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self.stage}-rank-{rank()}.pt"
        pictures = [{"mode": each.mode, "size": list(each.size), "pixels": each.tobytes()} for each in images[row]]
        torch.save(
            {
                "row": row,
                "difference": mismatch.difference,
                "prompt_ids": list(prompts[row]),
                "written": turns.tokens[row],
                "logprobs": turns.logprobs[row],
                "images": pictures,
            },
            path,
        )
        return ParityError(
            f"{self.stage}, rank {rank()}, row {row}: {mismatch.difference}; no figure was taken from it, and the turn is kept "
            f"in {path}"
        )


_PLAIN: Final[Mapping[str, Any]] = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
"""Nothing but the temperature shapes what is evaluated, whatever GRPO samples with."""


def _turns(tokens: Sequence[Sequence[int]], logprobs: Any) -> WrittenTurns:
    """Turns as TRL gives them: of each token the log-probabilities of the likeliest, that of the token itself first."""
    reported = [
        [float("nan") if each[0] is None else float(each[0]) for each in row]
        for row in (logprobs if logprobs is not None else [[] for _ in tokens])
    ]
    return WrittenTurns([list(row) for row in tokens], reported)
