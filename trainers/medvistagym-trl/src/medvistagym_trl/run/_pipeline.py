"""The stages of a run, in order. Each reads a checkpoint, trains or measures, and leaves a checkpoint or rows behind."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from medvistagym_core.environment import HasPerceptionItems, Task
from medvistagym_core.plugins import Registry
from medvistagym_core.scoring import EvaluationReport, format_markdown, format_report
from medvistagym_core.trajectories import ResultRow, Results, format_table
from medvistagym_trl._ranks import on_first_rank, wait_for_ranks
from medvistagym_trl._recipe import phase_of, read_conversation_format, supervised_phases
from medvistagym_trl.model import LoadedModel, extend_vocabulary, referenced
from medvistagym_trl.rollout import sample_corpus
from medvistagym_trl.run._folder import RunFolder, write_text_atomically
from medvistagym_trl.run._model_card import model_card
from medvistagym_trl.run._plot import plot_results
from medvistagym_trl.run._reinforcement import run_grpo, run_grpo_tail
from medvistagym_trl.run._scores import score_evaluation
from medvistagym_trl.run._setup import make_setup
from medvistagym_trl.run._supervised import (
    explores,
    run_exploration,
    run_no_tools,
    run_self_sampling,
    run_sft,
    run_syntax_only_baseline,
)
from medvistagym_trl.run._validation import answer_validation, forget_best, validation_notes
from medvistagym_trl.stages import (
    build_untrained_model,
    decoding_label,
    decoding_temperatures,
    evaluate,
    measure_tokens,
    perception_accuracy,
    train_perception,
)

if TYPE_CHECKING:
    from medvistagym_core.execution import RequestChannel
    from medvistagym_trl.run._baseline_process import BaselineProcess

NAMES: Final = {
    "no_tools": "no tools",
    "untrained": "tools without training",
    "sft": "SFT",
    "grpo": "SFT + GRPO",
}
"""What the table calls the policy of each stage."""
CALL_FORMAT_ONLY: Final = "call format only"
"""What it calls a policy to compare with that was taught how calls are written, and nothing of their use."""

_POLL_SECONDS: Final = 0.5


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """A policy under a decoding.

    Attributes:
        phase: The stage that it comes from.
        decoding: What rows call the decoding.
        temperature: Of sampling; None is greedy.
        without: A tool that it is not given.
    """

    phase: str
    decoding: str
    temperature: float | None
    without: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the files with its rows and its episodes, without their endings."""
        tool = "" if self.without is None else f"-without-{self.without}"
        return f"{self.phase}{tool}-{self.decoding.replace(' ', '')}"


def _name_grpo_stage(decoding: str) -> str:
    """The stage that evaluates GRPO's policy under a decoding that is not the first."""
    return f"evaluation-grpo-{decoding.replace(' ', '')}"


class TrainingPipeline:
    """The stages of one run.

    Args:
        run: The run folder.
        task: The task, or the mix of tasks.
        registry: Gives reward terms and executors of plugins.
        beside: Whether this is the second process of the run.
    """

    def __init__(self, run: RunFolder, task: Task, registry: Registry, *, beside: bool = False) -> None:
        self.setup = make_setup(run, task, registry, beside=beside)
        self.recipe, self.run_folder = run.recipe, run
        torch.set_num_threads(self.recipe.threads)

    @property
    def main_stages(self) -> dict[str, Callable[[], None]]:
        """The stages of the policy itself after the warm-up, in order."""
        setup, recipe = self.setup, self.recipe
        stages: dict[str, Callable[[], None]] = {}
        if explores(recipe):
            stages["exploration"] = partial(run_exploration, setup)
        stages["sft"] = partial(run_sft, setup)
        phases = supervised_phases(recipe)
        for number, phase in enumerate(phases[1:], 1):
            stages[phase] = partial(run_self_sampling, setup, number, phases[number - 1])
        stages["grpo"] = partial(run_grpo, setup, phases[-1])
        if recipe.grpo.tail.steps:
            stages["grpo_tail"] = partial(run_grpo_tail, setup, "grpo")
        if "grpo" in recipe.evaluation.policies:
            stages["evaluation-grpo"] = partial(self.evaluation, "grpo", decoding=self._decodings[0][0])
        return stages | {
            f"evaluation-grpo-without-{tool}": partial(self.evaluation, "grpo", tool) for tool in self._left_out
        }

    @property
    def side_stages(self) -> dict[str, Callable[[], None]]:
        """The stages that no main one waits for, in order: the policies to compare with, and the evaluation of SFT's.

        Last comes GRPO's under the decodings after the first, under which a main stage evaluates it.
        """
        trained = {"no_tools": run_no_tools, "untrained": run_syntax_only_baseline}
        stages: dict[str, Callable[[], None]] = {}
        for name in self.recipe.comparison.policies:
            stages[name] = partial(trained[name], self.setup)
            if name in self.recipe.evaluation.policies:
                stages[f"evaluation-{name}"] = partial(self.evaluation, name)
        if "sft" in self.recipe.evaluation.policies:
            stages["evaluation-sft"] = partial(self.evaluation, "sft")
        if "grpo" in self.recipe.evaluation.policies:
            for decoding, _ in self._decodings[1:]:
                stages[_name_grpo_stage(decoding)] = partial(self.evaluation, "grpo", decoding=decoding)
        return stages

    @property
    def has_side_stages_left(self) -> bool:
        """Whether a stage that no main one waits for is not done."""
        return any(not self.run_folder.done(name) for name in self.side_stages)

    def warm_up(self) -> None:
        """Run the stage that all others begin from."""
        self._run_stage("perception", self.perception)

    def run(self, second: BaselineProcess | None = None) -> Results:
        """Run every stage that is not done yet; the results.

        Args:
            second: A second process that runs the side stages meanwhile, once the warm-up is done, and plays one decoding of
                validations while it waits. What it has not done in the end, for whatever reason, is done here.
        """
        self.warm_up()
        self.setup = dataclasses.replace(self.setup, second=second)
        for name, stage in self.main_stages.items():
            self._run_stage(name, stage)
        if second is not None:
            second.wait()
        for name, stage in self.side_stages.items():
            self._run_stage(name, stage)
        return on_first_rank(self.report)

    def run_beside(self, first: RequestChannel) -> None:
        """Run the side stages in a second process, each as soon as the first one has done what it begins with.

        Args:
            first: Brings the validations that the first process wants to be played meanwhile.
        """
        for name, stage in self.side_stages.items():
            while not self.run_folder.done(self._stage_before(name)):
                first.answer_next(partial(answer_validation, self.setup), _POLL_SECONDS)
            self._run_stage(name, stage)

    @property
    def second_waits(self) -> bool:
        """Whether a second process has run all side stages that can be run before a further main one is done, and not all."""
        left = next((name for name in self.side_stages if not self.run_folder.done(name)), None)
        return left is not None and not self.run_folder.done(self._stage_before(left))

    def _stage_before(self, name: str) -> str:
        """The main stage that a side stage begins with."""
        trained = {"evaluation-sft": "sft", **{_name_grpo_stage(decoding): "grpo" for decoding, _ in self._decodings}}
        return phase_of(self.recipe, trained[name]) if name in trained else "perception"

    def close(self) -> None:
        """Close the executors, and let the folder go."""
        self.setup.close()

    def _run_stage(self, name: str, stage: Callable[[], None]) -> None:
        if self.run_folder.done(name):
            self._tidy(name)
            return
        alone = name == "perception"
        if self.setup.engine is not None:
            self.setup.engine.stage = name
        torch.manual_seed(self.recipe.seed)
        with self.run_folder.phase(name):
            if self.run_folder.writes or not alone:
                stage()
        wait_for_ranks()  # the first saves what the others go on with
        self._tidy(name)

    def _tidy(self, name: str) -> None:
        """Delete what is needed only to go on with a stage, once it is done."""
        if self.run_folder.writes:
            shutil.rmtree(self.setup.steps_folder(name), ignore_errors=True)
            forget_best(self.setup, name)

    def perception(self) -> None:
        """Build the model, or load the one given, and train it to see.

        Raises:
            UnsupportedModelError: The checkpoint given cannot be trained with these tools.
            NonFiniteError: The loss or a gradient is no number; the training ends here.
        """
        recipe, context, task = self.recipe, self.setup.context, self.setup.task
        if recipe.model.path is not None:
            self.run_folder.save_reference("perception", recipe.model.path)
            self._learn_new_words(recipe.model.path)
            if not recipe.perception.further:
                return
            model = self.setup.load_to_train("perception")
        else:
            model = build_untrained_model(recipe.model, context, recipe.seed)
        if isinstance(task, HasPerceptionItems) and recipe.perception.steps:
            train_perception(model, context, task, recipe.perception, log=self._on_perception_step)
            split = "validation" if "validation" in task.splits else context.split
            items = [task.look(split, index, recipe.seed) for index in range(256)]
            for as_results in (False, True) if recipe.perception.result_steps else (False,):
                accuracy = perception_accuracy(model, context, items, as_results=as_results)
                shares = "  ".join(f"{question}... {share:.2f}" for question, share in accuracy.items())
                self.run_folder.print_progress(f"as results: {shares}" if as_results else shares)
        self.run_folder.print_progress(str(measure_tokens(context, model.processor, calls=False)))
        self.run_folder.save("perception", model)

    def _learn_new_words(self, path: str) -> None:
        """Give a tiny model tokens for tools and cases that came after it was built."""
        conversation = read_conversation_format(referenced(Path(path)))
        if conversation is None or not conversation.compact:
            return
        context, model = self.setup.context, self.setup.load_to_train("perception")
        new = extend_vocabulary(model, context.schemas, context.task.vocabulary(), sample_corpus(context))
        if new:
            self.run_folder.print_progress(f"{len(new)} new tokens, for tools and cases that came after the model")
            self.run_folder.save("perception", model)

    @property
    def _left_out(self) -> tuple[str, ...]:
        """Tools that the trained policy is evaluated without, one at a time."""
        evaluation = self.recipe.evaluation
        return tuple(self.run_folder.toolbox) if evaluation.ablate and "grpo" in evaluation.policies else ()

    @property
    def _decodings(self) -> list[tuple[str, float | None]]:
        """Names and temperatures of the decodings that policies are evaluated under."""
        return decoding_temperatures(self.recipe.evaluation, self.recipe.grpo.temperature)

    @property
    def _evaluations(self) -> list[_Evaluation]:
        """All that the table may hold, in its order."""
        decodings = self._decodings
        return [
            *(_Evaluation(phase, decoding, temperature) for decoding, temperature in decodings for phase in NAMES),
            *(_Evaluation("grpo", *decodings[0], without=tool) for tool in self._left_out),
        ]

    def _name(self, evaluation: _Evaluation) -> str:
        """What the table calls the policy."""
        taught = evaluation.phase == "untrained" and self.recipe.comparison.untrained_steps > 0
        name = CALL_FORMAT_ONLY if taught else NAMES[evaluation.phase]
        return name if evaluation.without is None else f"{name}, without {evaluation.without}"

    def evaluation(self, phase: str, without: str | None = None, *, decoding: str | None = None) -> None:
        """The policy of a stage; rows that are there already are kept. Every rank plays its share.

        Args:
            phase: The stage.
            without: A tool that it is not given; under the first decoding alone.
            decoding: The decoding, as rows call it; None for every one.
        """
        recipe, shared = self.recipe, self.setup.context
        if phase == "no_tools":
            shared = self.setup.context_without_tools
        elif without is not None:
            shared = self.setup.context_without(without)
        context = shared.as_measured(recipe.evaluation.split)
        model: LoadedModel | None = None
        try:
            for evaluation in self._evaluations:
                path = self._rows_file(evaluation)
                wanted = (evaluation.phase, evaluation.without) == (phase, without)
                if not wanted or decoding not in (None, evaluation.decoding) or path.exists():
                    continue
                model = model or self.setup.load(phase_of(self.recipe, phase))
                name, keep = self._name(evaluation), self._trajectories_file(evaluation)
                rows = evaluate(
                    context,
                    model,
                    name,
                    recipe.evaluation,
                    evaluation.temperature,
                    seed=recipe.seed,
                    keep=keep,
                    engine=self.setup.engine,
                )
                if self.run_folder.writes:
                    write_text_atomically(path, json.dumps([row.model_dump() for row in rows], indent=1) + "\n")
                self.run_folder.print_progress(
                    f"{name}, {evaluation.decoding}: {100 * rows[-1].accuracy:.1f} %, {rows[-1].calls_per_question:.2f} calls"
                )
        finally:
            context.close()

    def report(self) -> Results:
        """Write `results.json`, `results.png`, the scores under each protocol and the model card; the results."""
        recipe = self.recipe
        rows: list[ResultRow] = []
        for evaluation in self._evaluations:
            file = self._rows_file(evaluation)
            if file.is_file():
                rows += [ResultRow.model_validate(row) for row in json.loads(file.read_text("utf-8"))]
        scores, seconds = self._score(), self._seconds
        first, trained = self._decodings[0][0], decoding_label(recipe.grpo.temperature)
        notes = [
            f"Recipe {recipe.name}; the policy was trained at {trained}; its main rows are those of {first}.",
            "The training reward uses the generator's knowledge of which call is informative."
            if self.setup.context.config.reward.uses_privileged_information
            else "The training reward uses the answer alone, not which call is informative.",
            *validation_notes(recipe, self.run_folder.metrics()),
            "Wall seconds: " + ", ".join(f"{phase} {wall:.0f}" for phase, wall in seconds.items()) + ".",
        ]
        results = Results(
            task=recipe.task, split=recipe.evaluation.split, seed=recipe.seed, rows=tuple(rows), notes=tuple(notes)
        )
        results.save(self.run_folder.path / "results.json")
        plot_results(results, self.run_folder.metrics(), self.run_folder.path / "results.png")
        tables = [format_table(results.rows), *([] if scores is None else [format_report(scores)])]
        text = "\n\n".join([*tables, "\n".join(results.notes)])
        write_text_atomically(self.run_folder.path / "results.txt", f"{text}\n")
        card = model_card(recipe, self.run_folder.toolbox, results, self.run_folder.metrics(), seconds, scores)
        write_text_atomically(self.run_folder.path / "README.md", card)
        return results

    @property
    def _seconds(self) -> dict[str, float]:
        """Wall time of each finished stage, in the order of the stages; the times of files are others once a run is copied."""
        stages = ["perception", *self.main_stages, *self.side_stages]
        seconds = self.run_folder.seconds
        return {name: seconds[name] for name in (*stages, *seconds) if name in seconds}

    def _score(self) -> EvaluationReport | None:
        """What the stored answers are worth under the recipe's protocols, into `scores.json`; None where it names none."""
        folder = self.run_folder.path
        files = {
            f"{self._name(evaluation)}, {evaluation.decoding}": self._trajectories_file(evaluation)
            for evaluation in self._evaluations
            if self._rows_file(evaluation).is_file()
        }
        if not (self.recipe.evaluation.protocols and files):
            return None
        report = score_evaluation(files, self.setup.context.tasks, self.recipe.evaluation.protocols, folder)
        report.save(folder / "scores.json")
        write_text_atomically(folder / "scores.md", format_markdown(report))
        return report

    def _on_perception_step(self, metrics: dict[str, float]) -> None:
        self.run_folder.log("perception", metrics)
        rules = self.recipe.perception
        step, steps = metrics["step"], rules.steps + rules.result_steps
        if step % 100 == 0 or step == steps:
            self.run_folder.print_progress(f"perception {step:.0f}/{steps}  loss {metrics['loss']:.3f}")

    def _rows_file(self, evaluation: _Evaluation) -> Path:
        return self.run_folder.path / "evaluation" / f"{evaluation.file_name}.json"

    def _trajectories_file(self, evaluation: _Evaluation) -> Path:
        return self.setup.trajectories(f"{evaluation.file_name}.jsonl")
