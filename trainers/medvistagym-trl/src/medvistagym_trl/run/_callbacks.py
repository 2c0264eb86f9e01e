"""What is logged of a training while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from transformers import TrainerCallback

from medvistagym_core.environment import Episode
from medvistagym_trl._recipe import GrpoRecipe
from medvistagym_trl.run._folder import RunFolder
from medvistagym_trl.run._metrics import DriftDetector, episode_metrics
from medvistagym_trl.run._trajectory_log import TrainingTrajectoryLog

_PROGRESS_METRICS: Final = ("loss", "reward", "accuracy", "calls")
"""What a line of progress shows, beside accuracy and calls of each family."""


class RunLogCallback(TrainerCallback):
    """Passes what a trainer logs on to the run.

    Args:
        run: The run.
        phase: The stage, as `metrics.jsonl` names it.
    """

    def __init__(self, run: RunFolder, phase: str) -> None:
        self._run, self._phase = run, phase

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write a line of metrics, and a line of progress now and then. See `transformers.TrainerCallback.on_log`."""
        numbers = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
        if "loss" in numbers:
            self.step(state.global_step, state.max_steps, numbers)

    def step(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Take the metrics of a step.

        Args:
            step: Its number, from 1.
            steps: How many steps there are.
            metrics: Its metrics by name.
        """
        self._run.log(self._phase, {"step": step, **metrics})
        if step % 10 == 0 or step == steps:
            shown = {k: v for k, v in metrics.items() if k in _PROGRESS_METRICS or k.endswith(("/accuracy", "/calls"))}
            facts = "  ".join(f"{key} {value:.2f}" for key, value in shown.items())
            self._run.print_progress(f"{self._phase} {step}/{steps}  {facts}")


class GrpoLogCallback(RunLogCallback):
    """Also counts the episodes of a step, keeps those of some steps, and warns where the policy drifts.

    Args:
        run: The run.
        phase: The stage.
        recipe: Its settings.
        trajectories: Where episodes are kept: of the first step, the last, and those with a checkpoint.
        restore: Puts the weights of the best validation into the model; the step they are of, or None without any.
        before: Metrics of the steps of an earlier part of the run.
    """

    def __init__(
        self,
        run: RunFolder,
        phase: str,
        recipe: GrpoRecipe,
        trajectories: TrainingTrajectoryLog,
        *,
        restore: Callable[[], int | None] = lambda: None,
        before: Iterable[Mapping[str, float]] = (),
    ) -> None:
        super().__init__(run, phase)
        self._recipe, self._trajectories = recipe, trajectories
        self._drift = DriftDetector(recipe.watch)
        self._drifted = False
        self._restore = restore
        self._episodes: Sequence[Episode] = ()
        for metrics in before:
            self._drift.update(metrics)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write a line of metrics, and act on what they show. See `transformers.TrainerCallback.on_log`."""
        super().on_log(args, state, control, logs, **kwargs)
        if not self._drifted:
            return
        self._drifted = False
        if self._recipe.watch.action == "stop":
            self._run.print_progress(f"{self._phase} ends here (grpo.watch.action stop)")
            control.should_training_stop = True
        elif self._recipe.watch.action == "lower_rate":
            scheduler = getattr(kwargs["lr_scheduler"], "scheduler", kwargs["lr_scheduler"])  # accelerate wraps it
            scheduler.base_lrs = [rate / 2 for rate in scheduler.base_lrs]
            self._run.print_progress("the learning rate is half of what it was (grpo.watch.action lower_rate)")
        elif self._recipe.watch.action == "restore_best":
            step = self._restore()
            if step is None:
                self._run.print_progress("there is no validation yet whose weights could be restored")
                return
            optimizer = getattr(kwargs["optimizer"], "optimizer", kwargs["optimizer"])  # accelerate wraps it
            optimizer.state.clear()  # moments are of other weights
            self._run.print_progress(f"the weights of step {step} are restored (grpo.watch.action restore_best)")

    def penalty(self, episode: Episode) -> float:
        """What an episode loses for trends that were reported (grpo.watch.action penalise)."""
        return self._drift.penalty(episode)

    def record(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Take the finished episodes of a step; their metrics, for the trainer to log."""
        self._episodes = episodes
        return episode_metrics(episodes)

    def step(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Take the metrics of a step, and what they and its episodes say of drift. See `RunLogCallback.step`."""
        super().step(step, steps, metrics)
        for sentence in self._drift.update(metrics):
            self._run.print_progress(f"warning, step {step}: {sentence}")
            self._drifted = True
        if step in (1, steps) or step % self._recipe.save_every == 0:
            self._trajectories.write(step, self._episodes)
