"""A GRPO trainer that proves at every step that it trains on what the policy saw, or stops."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from trl.models.utils import disable_gradient_checkpointing

from medvistagym_trl._recipe import ParityRecipe
from medvistagym_trl.stages._image_fields_trainer import ImageFieldsTrainer
from medvistagym_trl.stages._logprob_parity import (
    ModelEngine,
    ScoringEngine,
    check_logprobs,
    choose_rows,
    fresh_image_fields,
    weights_fingerprint,
)
from medvistagym_trl.stages._parity import ROW_KEY, BatchParity, ParityError, ParityMismatch
from medvistagym_trl.stages._vision_fields import VISION_FIELDS


class CertifiedTrainer(ImageFieldsTrainer):
    """Mixed into TRL's `GRPOTrainer`: the parity certificate.

    Every step, on every rank, the tokens and images of what was generated are compared with those that are learnt from
    (`BatchParity`). Every so many steps each image is processed again by a processor that has cached nothing,
    log-probabilities are compared with an independent forward pass, and with those of the engine that sampled where it reports
    any; a canary image must change them; and all ranks must hold the same weights. A difference raises `ParityError` and
    leaves the batch in `parity/` of the output folder.

    Logged of each step, over all ranks: `parity/rows` and `parity/images` that were compared, `parity/seconds` that it took,
    and of full checks `parity/logprob_difference`, `parity/engine_difference` and `parity/canary_difference`.

    Attributes:
        parity: What is checked, and how often.
        parity_images: The images of each row of the batch, in order, as they are trained on.
        scoring_engine: Gives the log-probabilities to compare with; None for the trained model itself, fed row by row.
    """

    parity: ParityRecipe = ParityRecipe()
    parity_images: Any = None
    scoring_engine: ScoringEngine | None = None
    _batch: BatchParity | None = None
    batch_rows: Sequence[int] | None = None
    _completions: Sequence[Sequence[Mapping[str, Any]]] | None = None
    _lengths: list[int]
    _parity_seconds: float = 0.0

    def _generate(self: Any, prompts: Any) -> Any:
        processor = self.processing_class
        token = getattr(processor, "image_token_id", None)
        merge = getattr(getattr(processor, "image_processor", None), "merge_size", 1)
        merge = merge if self.image_fields is None else None
        self._batch = BatchParity(token, merge) if self.parity.inputs else None
        self._parity_seconds = 0.0
        made = super()._generate(prompts)
        prompt_ids, completion_ids, self.parity_images = made[0], made[1], made[6]
        if self._batch is not None:
            images = self.parity_images
            self._compare(lambda batch: batch.check_rollouts(prompt_ids, completion_ids, images), made)
        return made

    def _tool_call_loop(
        self: Any, prompts: Any, prompt_ids: Any, completion_ids: Any, completions: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._completions, self._lengths = completions, [len(chat) for chat in completions]
        try:
            return super()._tool_call_loop(  # type: ignore[misc]
                prompts, prompt_ids, completion_ids, completions, *args, **kwargs
            )
        finally:
            self._completions = None

    def _generate_single_turn(self: Any, prompt_ids: Any, images: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        rows = self._rows_of_turn(len(prompt_ids)) if self.parity.inputs else []
        if self.batch_rows is not None:  # groups that are drawn again
            rows = [self.batch_rows[row] for row in rows]
            if self._batch is not None and self._completions is None:
                self._batch.forget(rows)
        fields = self.turn_fields(prompt_ids, images, fields)
        written = self._write_turns(prompt_ids, images, fields, *args, **kwargs)
        if self.parity.inputs:
            handed = {"prompt_ids": prompt_ids, "written": written[0], **fields}
            if self.image_fields is not None and fields:
                shown = [image for row in images or () for image in row or ()]
                handed["image_grid_thw"] = self.image_fields.grids(shown)
            self._compare(lambda batch: batch.read(rows, prompt_ids, written[0], images, handed), handed)
        return written

    def _write_turns(self: Any, *args: Any, **kwargs: Any) -> Any:
        """One turn of each row, by TRL's engine."""
        return super()._generate_single_turn(*args, **kwargs)

    def _rows_of_turn(self, count: int) -> list[int]:
        """Rows of the batch that write the turn: of the tool loop, those whose calls were answered since their last turn."""
        if self._completions is None:
            return list(range(count))
        chats = self._completions
        rows = [row for row, chat in enumerate(chats) if len(chat) > self._lengths[row] and chat[-1]["role"] == "tool"]
        if len(rows) != count:
            raise ParityError(
                f"TRL's tool loop generates for {count} rows where {len(rows)} wait for it: it has changed, and what the "
                "policy reads cannot be certified; install the TRL that this package names, or set grpo.parity.inputs=false"
            )
        for row in rows:
            self._lengths[row] = len(chats[row]) + 1
        return rows

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        if self.parity.inputs:
            device = output["prompt_ids"].device
            output[ROW_KEY] = torch.arange(len(output["prompt_ids"]), device=device)
        if self.parity.logprobs_every and self.state.global_step % self.parity.logprobs_every == 0:
            self._check_fully(output)
        if self.parity.inputs and self._batch is not None:
            totals = torch.tensor([len(self._batch), self._batch.images], device=output["prompt_ids"].device)
            rows, images = self.accelerator.gather(totals).view(-1, 2).sum(0).tolist()
            for name, value in (("rows", rows), ("images", images)):
                self._metrics["train"][f"parity/{name}"].append(float(value))
        return output

    def compute_loss(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss of a part of the batch, once it is what was generated."""
        if ROW_KEY in inputs and self._batch is not None:
            self._compare(lambda batch: batch.check_inputs(inputs), inputs)
            self._metrics["train"]["parity/seconds"] = [self._parity_seconds]
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def _check_fully(self: Any, output: Any) -> None:
        images = self.parity_images or [None] * len(output["prompt_ids"])
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        rows = choose_rows(images, self.parity.rows, self._gather_number if sharded else None)
        if not rows:
            return
        engine = self.scoring_engine or ModelEngine(self.model, self.processing_class, self.temperature)
        try:
            if self._batch is not None and self.parity_images is not None:
                self._batch.check_pixels(self.parity_images, lambda: fresh_image_fields(self.processing_class))
            ours = self._logprobs(output)
            half = ours.dtype != torch.float32 or self.model.dtype != torch.float32 or self.args.bf16 or self.args.fp16
            # An engine's bias on tokens that stand for images is not in the logits of sharded weights.
            found = check_logprobs(ours, output, images, engine, self.parity, half=half or sharded, rows=rows)
        except ParityMismatch as mismatch:
            raise self._refused(mismatch, output) from None
        for name, value in found.items():
            self._metrics["train"][f"parity/{name}"].append(value)
        if sharded:  # each rank has weights of its own
            return
        prints = self.accelerator.gather(weights_fingerprint(self.model)).view(-1, 2).tolist()
        for rank, (value, scale) in enumerate(prints):
            if abs(value - prints[0][0]) > 1e-7 * scale:
                raise ParityError(
                    f"step {self.state.global_step + 1}: rank {rank} holds other weights than rank 0: they were not "
                    "synchronised, and what it generates and learns belongs to another policy"
                )

    def _gather_number(self: Any, number: int) -> list[int]:
        """A number of each rank."""
        gathered: list[int] = self.accelerator.gather(torch.tensor([number], device=self.accelerator.device)).tolist()
        return gathered

    def _logprobs(self: Any, output: Any) -> torch.Tensor:
        """Log-probabilities of the completions of a batch, computed as for the loss."""
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
        fields = {name: output[name] for name in VISION_FIELDS if output.get(name) is not None}
        checkpointing = self.args.gradient_checkpointing_kwargs
        with torch.no_grad(), disable_gradient_checkpointing(self.model, checkpointing):
            logprobs: torch.Tensor = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                attention,
                output["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                **fields,
            )[0]
        return logprobs

    def _compare(self: Any, compare: Any, tensors: Any) -> None:
        """Run a comparison; a difference leaves the batch on disk and ends the training."""
        start = time.perf_counter()
        try:
            compare(self._batch)
        except ParityMismatch as mismatch:
            raise self._refused(mismatch, tensors) from None
        finally:
            self._parity_seconds += time.perf_counter() - start

    def _refused(self: Any, mismatch: ParityMismatch, tensors: Any) -> ParityError:
        step, rank = self.state.global_step + 1, self.accelerator.process_index
        folder = Path(self.args.output_dir) / "parity"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"step-{step}-rank-{rank}.pt"
        torch.save({"row": mismatch.row, "difference": mismatch.difference, "batch": _plain(tensors)}, path)
        return ParityError(
            f"step {step}, rank {rank}, row {mismatch.row}: {mismatch.difference}; nothing was updated by it, and the batch is "
            f"kept in {path}"
        )


def _plain(value: Any) -> Any:
    """Tensors, numbers and texts of a batch, on the CPU; images as their pixels."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tobytes") and hasattr(value, "mode"):
        return {"mode": value.mode, "size": list(value.size), "pixels": value.tobytes()}
    return value if isinstance(value, str | int | float | bytes | None) else repr(value)
