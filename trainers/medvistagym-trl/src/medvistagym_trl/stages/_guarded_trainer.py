"""What every trainer here looks at before it updates weights, and how it writes checkpoints."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch

from medvistagym_trl.model import check_finite


class NonFiniteError(RuntimeError):
    """A loss or gradient that is no number; the batch that gave it is kept, and no weight was changed by it."""


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
        self._refuse_non_finite("loss", float(loss.detach()))
        return result

    def _get_grad_norm(self: Any, model: Any, grad_norm: Any = None) -> Any:
        value = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        if value is not None and not self.args.fp16:  # a scaler of float16 skips such steps by itself
            self._refuse_non_finite("gradient norm", float(value))
        return value

    def _refuse_non_finite(self: Any, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        step = self.state.global_step + 1
        folder = Path(self.args.output_dir) / "non_finite"
        folder.mkdir(parents=True, exist_ok=True)
        batch = folder / f"step-{step}.pt"
        inputs = self._inputs if isinstance(self._inputs, dict) else {}
        torch.save(
            {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in inputs.items()}, batch
        )
        raise NonFiniteError(
            f"the {what} of step {step} is {value}: nothing was updated by it, and the batch is kept in {batch}; a smaller "
            "learning rate, or float32 in place of a quantised or half-precision model, may help"
        )

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
