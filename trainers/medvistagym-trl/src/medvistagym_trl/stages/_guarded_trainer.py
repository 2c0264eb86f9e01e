"""What every trainer here looks at before it updates weights, and how it writes checkpoints."""

from __future__ import annotations

import errno
import math
import shutil
from pathlib import Path
from typing import Any, Final

import torch

from medvistagym_trl._ranks import rank, rank_count
from medvistagym_trl.model import check_finite

_FULL_BYTES: Final = 2**20
"""A disk with less room than this is full."""


class NonFiniteError(RuntimeError):
    """A loss or gradient that is no number; the batch that gave it is kept, and no weight was changed by it."""


def refuse_non_finite(what: str, value: float, args: Any, state: Any, inputs: Any) -> None:
    """End a training before an update by a value that is no number.

    Args:
        what: What the value is.
        value: The value.
        args: The trainer's settings; `non_finite/` of their output folder takes the batch.
        state: The trainer's state, which tells the step.
        inputs: The batch that gave the value, a mapping; anything else leaves an empty one.

    Raises:
        NonFiniteError: The value is NaN or infinite.
    """
    if math.isfinite(value):
        return
    step = state.global_step + 1
    folder = Path(args.output_dir) / "non_finite"
    folder.mkdir(parents=True, exist_ok=True)
    batch = folder / (f"step-{step}-rank-{rank()}.pt" if rank_count() > 1 else f"step-{step}.pt")
    kept = inputs if isinstance(inputs, dict) else {}
    torch.save({key: each.cpu() if isinstance(each, torch.Tensor) else each for key, each in kept.items()}, batch)
    raise NonFiniteError(
        f"the {what} of step {step} is {value}: nothing was updated by it, and the batch is kept in {batch}; a smaller "
        "learning rate, or float32 in place of a quantised or half-precision model, may help"
    )


class GuardedTrainer:
    """Mixed into a transformers `Trainer`.

    - A loss or a gradient norm that is NaN or infinite ends the training before the update, and leaves the batch in
      `non_finite/` of the output folder. (`Trainer` would log 0 and go on.)
    - Checkpoints are written aside and renamed, so that one is whole or not there; older ones go afterwards.
    """

    _inputs: Any = None
    _checkpoint_root: str | None = None

    def compute_loss(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss, looked at before it is propagated."""
        self._inputs = inputs
        result = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        loss = result[0] if isinstance(result, tuple) else result
        refuse_non_finite("loss", float(loss.detach()), self.args, self.state, inputs)
        return result

    def _get_grad_norm(self: Any, model: Any, grad_norm: Any = None) -> Any:
        value = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        if value is not None and not self.args.fp16:  # a scaler of float16 skips such steps by itself
            refuse_non_finite("gradient norm", float(value), self.args, self.state, self._inputs)
        return value

    def _get_output_dir(self: Any, trial: Any) -> str:
        root: str = self._checkpoint_root or super()._get_output_dir(trial)  # type: ignore[misc]
        return root

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        check_finite(self.model)
        target = Path(self.args.output_dir)
        part = target / ".part"
        if self.args.should_save:
            shutil.rmtree(part, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._checkpoint_root = str(part)
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._publish(part, target)
        except RuntimeError as error:  # as torch's writer raises it, which does not say why it could not write
            if shutil.disk_usage(target).free >= _FULL_BYTES:
                raise
            full = "the disk is full; what was saved before is whole: make room, and go on with --resume"
            raise OSError(errno.ENOSPC, full, str(target)) from error
        finally:
            self._checkpoint_root = None
            if self.args.should_save:
                shutil.rmtree(part, ignore_errors=True)

    def _publish(self: Any, part: Path, target: Path) -> None:
        for folder in part.glob("checkpoint-*"):
            shutil.rmtree(target / folder.name, ignore_errors=True)
            folder.replace(target / folder.name)
        limit = self.args.save_total_limit
        whole = whole_checkpoints(target)
        for folder in whole[:-limit] if limit else []:
            shutil.rmtree(folder)


def whole_checkpoints(folder: Path) -> list[Path]:
    """The trainer's checkpoints in a folder that were written to their end, oldest first."""
    found = [each for each in folder.glob("checkpoint-*") if (each / "trainer_state.json").is_file()]
    return sorted(found, key=lambda each: int(each.name.partition("-")[2]))
