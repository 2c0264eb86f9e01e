"""Turns of several ranks that have to write together: those whose engine is one, or whose weights are shards.

Where every rank has whole weights, each writes as many turns as its own episodes take. Where weights are sharded (FSDP,
DeepSpeed), a forward pass of one rank waits for all others; and a vLLM server is asked by all ranks at once. TRL's tool loop
ends on each rank when that rank's episodes have ended, so that the others would wait for it for ever.
"""

from __future__ import annotations

import copy
from typing import Any

from torch.distributed.fsdp import register_fsdp_forward_method

from medvistagym_trl._ranks import gather_from_ranks


class SharedEngineTrainer:
    """Mixed into TRL's `GRPOTrainer`, above the class that calls its engine: every rank calls it as often as the others.

    Before each call ranks tell each other whether they have rows to write. One that has none left writes one token of a row
    of its own, which nobody reads, for as long as any other writes.

    Attributes:
        shares_engine: Whether calls have to be made by all ranks together.
        spare_row: Tokens, images and image fields of one row, from which to write when there is nothing to write.
    """

    shares_engine: bool = False
    _prepared: bool = False
    spare_row: tuple[Any, Any, Any] | None = None

    def _write_turns(self: Any, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if self.shares_engine:
            self._prepare_generate()
            _tell_ranks(writes=True, reads_images=bool(images and any(images)))
        return super()._write_turns(prompt_ids, images, *args, **kwargs)  # type: ignore[misc]

    def _prepare_generate(self: Any) -> None:
        """Let transformers' `generate` treat the shards of FSDP2 as a forward pass does; once, when there are shards."""
        if self._prepared or not self.is_fsdp_enabled:
            return
        self._prepared = True
        # It encodes images before its first forward pass, while weights that belong to no layer are still shards.
        register_fsdp_forward_method(self.model, "generate")
        # It takes as many steps on all ranks where it is told that weights are shards; accelerate does not tell it.
        self.model._is_fsdp_managed_module = True  # noqa: SLF001

    def _wait_for_writers(self: Any) -> None:
        """Call the engine as often as other ranks still do."""
        if not self.shares_engine:
            return
        ids, images, fields = self.spare_row
        fields = self.turn_fields(ids, images, fields)
        reads_images = bool(images and any(images))
        settings = getattr(self, "generation_config", None)  # TRL makes none where an engine of its own samples
        self.generation_config = copy.copy(settings)
        if settings is not None:
            self.generation_config.max_new_tokens = 1
        try:
            while _tell_ranks(writes=False, reads_images=reads_images):
                super()._write_turns(ids, images, fields, num_generations=1)  # type: ignore[misc]
        finally:
            self.generation_config = settings


def _tell_ranks(*, writes: bool, reads_images: bool) -> bool:
    """Whether any rank writes; all ranks call this before each call of the engine, and once in place of each.

    Raises:
        RuntimeError: Some ranks would run the vision tower, and others not: a deadlock where its weights are sharded.
    """
    told = gather_from_ranks([(writes, reads_images)])
    some_write = any(each for each, _ in told)
    if some_write and len({each for _, each in told}) > 1:
        raise RuntimeError(
            "some ranks read images in this turn and others none: ranks that share weights run the vision tower together; give "
            "every question an image, or train with whole weights (--parallel ddp)"
        )
    return some_write
