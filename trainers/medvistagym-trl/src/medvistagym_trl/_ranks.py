"""The processes of one training, as `torchrun` and `accelerate launch` start them: who is first, and how all wait.

Without such a launcher there is one process, rank 0, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

_T = TypeVar("_T")
_TIMEOUT = timedelta(days=7)
"""How long a rank waits for another: stages that one rank does alone may take hours."""


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def rank_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def weights_are_sharded() -> bool:
    """Whether `accelerate launch` started this process so that it has a share of the weights alone (FSDP or DeepSpeed)."""
    names = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "false").lower() == "true" for name in names)


def join_ranks() -> None:
    """Connect this process with the others, over gloo on CPUs and NCCL on CUDA devices."""
    import torch
    from torch import distributed

    if rank_count() == 1 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)


def leave_ranks() -> None:
    """Disconnect this process from the others."""
    from torch import distributed

    if _is_connected():
        distributed.destroy_process_group()


def wait_for_ranks() -> None:
    """Until all processes have come here."""
    from torch import distributed

    if _is_connected():
        distributed.barrier()


def on_first_rank(work: Callable[[], _T]) -> _T:
    """What `work` gives on rank 0, on every rank; the others wait for it. The value is pickled."""
    from torch import distributed

    if not _is_connected():
        return work()
    box = [work() if rank() == 0 else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]


def gather_from_ranks(values: Sequence[_T]) -> list[_T]:
    """The values of all processes, by rank. They are pickled."""
    from torch import distributed

    if not _is_connected():
        return list(values)
    boxes: list[Sequence[_T]] = [()] * rank_count()
    distributed.all_gather_object(boxes, list(values))
    return [value for box in boxes for value in box]


def _is_connected() -> bool:
    from torch import distributed

    return rank_count() > 1 and distributed.is_available() and distributed.is_initialized()
