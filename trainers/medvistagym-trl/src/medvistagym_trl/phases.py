"""The phases of a run, in order. Each reads a checkpoint, trains or measures, and leaves a checkpoint or rows behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from transformers import TrainerCallback

from medvistagym_core.environment import Case, Episode, HasDemonstrations, HasPerceptionItems, Task, ToolScript
from medvistagym_core.tools import Toolbox, ToolSpec
from medvistagym_core.trajectories import ResultRow, Results, SamplingParams, format_table
from medvistagym_trl.diary import Diary
from medvistagym_trl.environment import World
from medvistagym_trl.evaluate import evaluate, temperatures
from medvistagym_trl.families import Policy, load_policy
from medvistagym_trl.grpo import train_grpo
from medvistagym_trl.lessons import Demonstrator, exploring, hesitant, write_lessons
from medvistagym_trl.metrics import Drift, count
from medvistagym_trl.perception import LookCollator, look_accuracy, train_perception
from medvistagym_trl.plot import plot
from medvistagym_trl.policy import build_policy
from medvistagym_trl.recipe import GrpoRecipe
from medvistagym_trl.run import Run, write
from medvistagym_trl.sft import TrajectoryCollator, train_sft
from medvistagym_trl.side import Side
from medvistagym_trl.world import make_world

SFT_CASES: Final = 5_000_000
GRPO_CASES: Final = 7_000_000
PLAIN_CASES: Final = 3_000_000
"""Where the training cases of each phase begin: no phase sees another's."""
LESSONS: Final = 32
"""Lessons of each supervised phase that are kept as trajectories."""
CURIOSITY: Final = 0.25
"""Share of lessons that begin with a tool of the toolbox which the task does not know."""

NAMES: Final = {
    "no_tools": "no tools",
    "untrained": "tools without training",
    "sft": "SFT",
    "grpo": "SFT + GRPO",
}
"""What the table calls the policy of each phase."""


MAIN: Final = ("sft", "grpo", "evaluation-sft", "evaluation-grpo")
SIDE: Final = ("no_tools", "evaluation-no_tools", "untrained", "evaluation-untrained")
"""Phases after the warm-up: of the policy itself, and of those it is compared with."""
_SHOWN: Final = ("loss", "reward", "accuracy", "calls")
"""What a line of progress shows, beside accuracy and calls of each family."""


class Logger(TrainerCallback):
    """Passes what a trainer logs on to the run."""

    def __init__(self, run: Run, phase: str) -> None:
        self._run, self._phase = run, phase

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write a line of metrics, and a line of progress now and then."""
        numbers = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
        if "loss" in numbers:
            self.step(state.global_step, state.max_steps, {**numbers, **self.extra()})

    def extra(self) -> dict[str, float]:
        """What the trainer does not know of the step."""
        return {}

    def step(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Take the metrics of step number `step` of `steps`."""
        self._run.log(self._phase, {"step": step, **metrics})
        if step % 10 == 0 or step == steps:
            shown = {k: v for k, v in metrics.items() if k in _SHOWN or k.endswith(("/accuracy", "/calls"))}
            facts = "  ".join(f"{key} {value:.2f}" for key, value in shown.items())
            self._run.say(f"{self._phase} {step}/{steps}  {facts}")


class GrpoLogger(Logger):
    """Also counts the episodes of a step, keeps those of some steps, and says where the policy drifts.

    Args:
        run: The run.
        recipe: Its settings of this phase.
        diary: Where episodes are kept: of the first step, the last, and those with a checkpoint.
    """

    def __init__(self, run: Run, recipe: GrpoRecipe, diary: Diary) -> None:
        super().__init__(run, "grpo")
        self._recipe, self._diary = recipe, diary
        self._drift = Drift()
        self._episodes: Sequence[Episode] = ()

    def record(self, episodes: Sequence[Episode]) -> None:
        """Take the finished episodes of a step."""
        self._episodes = episodes

    def extra(self) -> dict[str, float]:
        """What is counted of the episodes."""
        return count(self._episodes)

    def step(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Take the metrics of step number `step` of `steps`."""
        super().step(step, steps, metrics)
        for sentence in self._drift.notice(metrics):
            self._run.say(f"warning, step {step}: {sentence}")
        if step in (1, steps) or step % self._recipe.save_every == 0:
            self._diary.write(step, self._episodes)


class Phases:
    """The phases of one run.

    Args:
        run: The run folder.
        task: The task.
    """

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task = run, task
        self.recipe = run.recipe
        self.world = make_world(self.recipe, task, run.toolbox, perturbed=True)
        self.plain = make_world(self.recipe, task, Toolbox({}))
        torch.set_num_threads(self.recipe.threads)

    def go(self) -> Results:
        """Run every phase that is not done yet; the results.

        Where the recipe allows two processes, the policies to compare with are trained by the second one meanwhile. What it
        has not done in the end, for whatever reason, is done here.
        """
        self._run_phase("perception")
        side = Side(self.run.folder) if self.recipe.processes > 1 and self._left(SIDE) else None
        try:
            for name in MAIN:
                self._run_phase(name)
            if side is not None:
                side.wait()
        finally:
            if side is not None:
                side.stop()
        for name in SIDE:
            self._run_phase(name)
        return self.report()

    def side(self) -> None:
        """Run the phases of the policies to compare with."""
        for name in SIDE:
            self._run_phase(name)

    def _left(self, names: Sequence[str]) -> bool:
        return any(not self.run.done(name) for name in names)

    def _run_phase(self, name: str) -> None:
        if self.run.done(name):
            return
        torch.manual_seed(self.recipe.seed)
        work, _, policy = name.partition("-")
        with self.run.phase(name):
            if work == "evaluation":
                self.evaluation(policy)
            else:
                getattr(self, name)()

    def perception(self) -> None:
        """Build the policy, or load the one given, and warm it up on looks."""
        recipe = self.recipe
        if recipe.model.path is not None:
            self.run.save("perception", load_policy(recipe.model.path, self.world.schemas))
            return
        policy = build_policy(recipe.model, self.world, recipe.seed)
        if isinstance(self.task, HasPerceptionItems) and recipe.perception.steps:
            train_perception(policy.model, policy.processor, self.world, self.task, recipe.perception, log=self._looked)
            split = "validation" if "validation" in self.task.splits else self.world.split
            looks = [self.task.look(split, index, recipe.seed) for index in range(256)]
            accuracy = look_accuracy(policy.model, policy.processor, self.world, looks)
            self.run.say("  ".join(f"{question}... {share:.2f}" for question, share in accuracy.items()))
        self.run.save("perception", policy)

    def no_tools(self) -> None:
        """The same policy, trained to answer at once."""
        self._supervise("no_tools", self.plain, _answer_at_once, self.recipe.comparison.no_tools_steps, PLAIN_CASES)

    def untrained(self) -> None:
        """The same policy, taught the syntax of calls and nothing of their use."""
        self._supervise("untrained", self.world, self._any_call, self.recipe.comparison.untrained_steps, SFT_CASES)

    def sft(self) -> None:
        """Supervised fine-tuning on demonstrations."""
        self._supervise("sft", self.world, self._demonstration, self.recipe.sft.steps, SFT_CASES, self.recipe.sft.looks)

    def grpo(self) -> None:
        """Reinforcement learning."""
        recipe, seed = self.recipe.grpo, self.recipe.seed
        policy = self.run.load("sft", self.world.schemas)
        folder = self.run.folder / "checkpoints" / "grpo_steps"
        resume = any(folder.glob("checkpoint-*/trainer_state.json"))
        if recipe.steps:
            kept = self.run.folder / "trajectories" / "training-grpo.jsonl"
            if not resume:
                kept.unlink(missing_ok=True)
            sampling: SamplingParams = {
                "temperature": recipe.temperature,
                "max_tokens": recipe.max_completion,
                "seed": seed,
            }
            logger = GrpoLogger(self.run, recipe, Diary(kept, sampling))
            trainer = train_grpo(
                policy,
                self.world,
                recipe,
                offset=GRPO_CASES,
                seed=seed,
                folder=folder,
                record=logger.record,
                callbacks=[logger],
                resume=resume,
            )
            if trainer.missed:
                self.run.say(f"{trainer.missed} tool calls were not grouped: TRL's tool loop has changed")
        self.run.save("grpo", policy)

    def evaluation(self, phase: str) -> None:
        """The policy of a phase under every decoding; rows that are there already are kept."""
        recipe = self.recipe
        name = NAMES[phase]
        world = make_world(
            recipe, self.task, Toolbox({}) if phase == "no_tools" else self.run.toolbox, recipe.evaluation.split
        )
        policy: Policy | None = None
        for decoding, temperature in temperatures(recipe.evaluation, recipe.grpo.temperature):
            path = self._rows_file(phase, decoding)
            if path.exists():
                continue
            policy = policy or self.run.load(phase, self.world.schemas)
            keep = self.run.folder / "trajectories" / f"{path.stem}.jsonl"
            rows = evaluate(world, policy, name, recipe.evaluation, temperature, seed=recipe.seed, keep=keep)
            write(path, json.dumps([row.model_dump() for row in rows], indent=1) + "\n")
            self.run.say(
                f"{name}, {decoding}: {100 * rows[-1].accuracy:.1f} %, {rows[-1].calls_per_question:.2f} calls"
            )

    def report(self) -> Results:
        """Write `results.json` and `results.png`; the results."""
        recipe = self.recipe
        rows: list[ResultRow] = []
        for decoding, _ in temperatures(recipe.evaluation, recipe.grpo.temperature):
            for phase in NAMES:
                rows += [
                    ResultRow.model_validate(row)
                    for row in json.loads(self._rows_file(phase, decoding).read_text("utf-8"))
                ]
        notes = [
            f"Recipe {recipe.name}; the policy was trained and is mainly judged at temperature {recipe.grpo.temperature:g}.",
            "The training reward uses the generator's knowledge of which call is informative."
            if self.world.settings.reward.uses_privileged_information
            else "The training reward uses the answer alone, not which call is informative.",
            "Wall seconds: " + ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in self.run.seconds.items()) + ".",
        ]
        results = Results(
            task=recipe.task, split=recipe.evaluation.split, seed=recipe.seed, rows=tuple(rows), notes=tuple(notes)
        )
        results.save(self.run.folder / "results.json")
        plot(results, self.run.metrics(), self.run.folder / "results.png")
        write(self.run.folder / "results.txt", format_table(results.rows) + "\n\n" + "\n".join(results.notes) + "\n")
        return results

    def _supervise(
        self, phase: str, world: World, demonstrator: Demonstrator, steps: int, offset: int, looks: float = 0.0
    ) -> None:
        policy = self.run.load("perception", self.world.schemas)
        if steps:
            shown = range(offset, offset + min(LESSONS, steps * self.recipe.sft.batch))
            keep = self.run.folder / "trajectories" / f"lessons-{phase}.jsonl"
            write_lessons(world, demonstrator, f"lessons of {NAMES[phase]}", shown, self.recipe.seed, keep)
            seen = None
            if looks and isinstance(self.task, HasPerceptionItems):
                seen = LookCollator(world, self.task, policy.processor, self.recipe.perception.unclear_cells)
            collator = TrajectoryCollator(world, policy.processor, demonstrator, offset, self.recipe.seed, seen, looks)
            folder = self.run.folder / "checkpoints" / f"{phase}_steps"
            callbacks = [Logger(self.run, phase)]
            train_sft(
                policy,
                collator,
                self.recipe.sft,
                steps=steps,
                seed=self.recipe.seed,
                folder=folder,
                callbacks=callbacks,
            )
        self.run.save(phase, policy)

    def _demonstration(self, case: Case, rng: np.random.Generator) -> ToolScript:
        if not isinstance(self.task, HasDemonstrations):
            return _answer_at_once(case, rng)
        script = self.task.demonstrate(case, rng, self.recipe.sft.skill)
        if self.task.abstention is not None:
            script = hesitant(script, self.recipe.sft.hesitation, self.task.abstention, rng)
        return exploring(script, self._strangers, CURIOSITY, rng)

    def _any_call(self, case: Case, rng: np.random.Generator) -> ToolScript:
        """Calls that say nothing of their use, and then the right answer whatever they returned."""
        script = (
            self.task.demonstrate(case, rng, 0.0)
            if isinstance(self.task, HasDemonstrations)
            else _answer_at_once(case, rng)
        )
        yield from exploring(script, self._strangers, CURIOSITY, rng)
        return case.answer.value

    @cached_property
    def _strangers(self) -> list[ToolSpec]:
        """Tools of the toolbox that the task does not ask for: its demonstrations never call them."""
        return [spec for spec in self.run.toolbox.specs if spec.name not in self.task.tools]

    def _looked(self, metrics: dict[str, float]) -> None:
        self.run.log("perception", metrics)
        if metrics["step"] % 100 == 0 or metrics["step"] == self.recipe.perception.steps:
            self.run.say(f"perception {metrics['step']:.0f}/{self.recipe.perception.steps}  loss {metrics['loss']:.3f}")

    def _rows_file(self, phase: str, decoding: str) -> Any:
        return self.run.folder / "evaluation" / f"{phase}-{decoding.replace(' ', '')}.json"


def _answer_at_once(case: Case, rng: np.random.Generator) -> ToolScript:
    yield from ()
    return case.answer.value
