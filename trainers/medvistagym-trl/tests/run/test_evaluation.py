"""The table of a run: each tool left out, and the same answers under several scoring protocols."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medvistagym_core.scoring import EvaluationReport, evaluate_run
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl._recipe import RecipeError
from medvistagym_trl.run import RunFolder, TrainingPipeline

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def pipeline(recipe: Any, task: Any, toolbox: Any, registry: Any, model: Any, tmp_path: Path) -> Any:
    """A run whose policies are trained, and not evaluated yet."""
    changes = {
        "evaluation.ablate": True,
        "evaluation.protocols": ["strict", "llava-med"],
        "evaluation.decodings": ["trained", "greedy"],
        "evaluation.max_tokens": 8,
        "comparison.policies": [],
    }
    folder = RunFolder.begin(tmp_path / "run", recipe.with_overrides(changes), toolbox)
    for phase in ("sft", "grpo"):
        folder.save(phase, model)
    pipeline = TrainingPipeline(folder, task, registry)
    yield pipeline
    pipeline.close()


def test_a_run_gives_its_table_under_several_protocols_and_without_each_tool(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {name: stage for name, stage in pipeline.main_stages.items() if name.startswith("evaluation")}
    assert list(stages) == ["evaluation-grpo", "evaluation-grpo-without-mirror", "evaluation-grpo-without-shade"]
    stages |= pipeline.side_stages
    assert list(stages)[3:] == ["evaluation-sft", "evaluation-grpo-greedy"]
    stages["evaluation-grpo"]()
    folder = pipeline.run_folder.path
    assert [file.name for file in folder.glob("evaluation/*.json")] == ["grpo-T=0.5.json"]  # the other is for beside it
    for stage in stages.values():
        stage()
    results = pipeline.report()
    rows = [(row.policy, row.decoding) for row in results.rows if row.family == "overall"]
    assert rows == [
        *((name, decoding) for decoding in ("T = 0.5", "greedy") for name in ("SFT", "SFT + GRPO")),
        ("SFT + GRPO, without mirror", "T = 0.5"),
        ("SFT + GRPO, without shade", "T = 0.5"),
    ]
    left_out = TrajectoryReader(folder / "trajectories" / "grpo-without-shade-T=0.5.jsonl").lock()
    assert [tool.name for tool in left_out.tools] == ["mirror"]
    report = EvaluationReport.load(folder / "scores.json")
    assert [condition.condition for condition in report.conditions] == [f"{name}, {how}" for name, how in rows]
    for condition, row in zip(report.conditions, (r for r in results.rows if r.family == "overall"), strict=True):
        strict, recall = condition.protocols
        assert (strict.protocol, recall.protocol) == ("strict", "llava-med")
        assert strict.mean.value == pytest.approx(row.accuracy)
        assert strict.mean.questions == row.n == 4
    text = (folder / "results.txt").read_text("utf-8")
    assert text.count("llava-med") == len(rows)
    assert "| toy | SFT + GRPO, without shade, T = 0.5 | llava-med |" in (folder / "README.md").read_text("utf-8")
    later = evaluate_run(folder, ["medvlthinker"])  # `medvistagym score RUN`: other protocols, the same names
    assert {f"{name}, {how}" for name, how in rows} <= {each.report.condition for each in later}
    # Going on plays nothing again: the same answers are scored.
    monkeypatch.setattr("medvistagym_trl.run._pipeline.evaluate", None)
    for stage in stages.values():
        stage()
    assert pipeline.report().rows == results.rows


def test_a_table_says_that_a_policy_is_judged_cooler_than_it_was_trained(
    recipe: Any, task: Any, toolbox: Any, registry: Any, tmp_path: Path
) -> None:
    changes = {"grpo.temperature": 1.3, "evaluation.decodings": ["t1", "greedy"], "comparison.policies": []}
    pipeline = TrainingPipeline(
        RunFolder.begin(tmp_path / "run", recipe.with_overrides(changes), toolbox), task, registry
    )
    notes = pipeline.report().notes
    pipeline.close()
    assert notes[0] == "Recipe toy; the policy was trained at T = 1.3; its main rows are those of T = 1."


def test_wall_times_stand_in_the_order_of_the_stages(pipeline: Any) -> None:
    folder = pipeline.run_folder
    for age, phase in enumerate(("evaluation-sft", "grpo", "other", "perception", "sft")):  # as a copy may be written
        with folder.phase(phase):
            pass
        os.utime(folder.path / "phases" / f"{phase}.json", (age, age))
    assert pipeline.report().notes[-1] == "Wall seconds: perception 0, sft 0, grpo 0, evaluation-sft 0, other 0."
    card = (folder.path / "README.md").read_text("utf-8")
    assert "Stages: perception 0 s, sft 0 s, grpo 0 s, other 0 s." in card


def test_protocols_are_named_as_on_the_command_line(recipe: Any) -> None:
    named = recipe.with_overrides({"evaluation.protocols": "strict, llava-med"})
    assert named.evaluation.protocols == ("strict", "llava-med")


def test_a_protocol_that_there_is_not_is_refused(recipe: Any) -> None:
    with pytest.raises(
        RecipeError, match=r"evaluation\.protocols: .*no scoring protocol 'strickt'; the nearest is 'strict'"
    ):
        recipe.with_overrides({"evaluation.protocols": ["strickt"]})
    with pytest.raises(RecipeError, match="a scoring protocol is named twice"):
        recipe.with_overrides({"evaluation.protocols": ["strict", "strict"]})


def test_the_second_process_evaluates_what_the_first_has_trained(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, events = pipeline.run_folder, []

    def answer_next(answer: Any, timeout_s: float) -> None:
        """The first process ends its SFT while the second waits for the third time, and its GRPO with the fifth."""
        assert pipeline.second_waits
        events.append("wait")
        ended = {3: "sft", 5: "grpo"}.get(events.count("wait"))
        if ended is not None:
            with folder.phase(ended):
                pass

    def evaluate(phase: str, *, decoding: str = "all") -> None:
        assert not pipeline.second_waits
        events.append(f"evaluate {phase}, {decoding}")

    monkeypatch.setattr(pipeline, "evaluation", evaluate)
    first = SimpleNamespace(answer_next=answer_next)
    assert pipeline.second_waits
    pipeline.run_beside(first)
    assert not pipeline.second_waits  # it has ended
    assert events == ["wait"] * 3 + ["evaluate sft, all"] + ["wait"] * 2 + ["evaluate grpo, greedy"]
    assert folder.done("evaluation-sft")
    assert folder.done("evaluation-grpo-greedy")
    assert not folder.done("evaluation-grpo")
    pipeline.run_beside(first)
    assert events[7:] == []


def test_the_policy_without_tools_reads_its_prompt_as_the_others_read_theirs(
    recipe: Any, task: Any, toolbox: Any, registry: Any, model: Any, tmp_path: Path
) -> None:
    """Spelt out it would be hundreds of tokens that the warm-up never showed, and each step four times as long."""
    folder = RunFolder.begin(tmp_path / "run", recipe, toolbox)
    pipeline = TrainingPipeline(folder, task, registry)
    with folder.phase("perception"):
        folder.save("perception", model)
    pipeline.side_stages["no_tools"]()
    contexts = {"no_tools": pipeline.setup.context_without_tools, "perception": pipeline.setup.context}
    for phase, context in contexts.items():
        assert len(pipeline.setup.load(phase).tokenizer(context.config.prompt)["input_ids"]) == 1
    assert contexts["no_tools"].config.prompt != contexts["perception"].config.prompt
    pipeline.close()
