"""A study from nothing to its table and figures, gone on with, and told apart from another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medvistagym_trl._recipe import load_recipe
from medvistagym_trl.science import (
    StudyError,
    begin_study,
    format_study,
    plot_policies,
    plot_tool_use,
    plot_trajectory_counts,
    read_study,
    run_seed,
    write_study,
)
from medvistagym_trl.science._controls import play_controls
from medvistagym_trl.science._program import main

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_a_folder_keeps_to_one_recipe(recipe: Any, tmp_path: Path) -> None:
    begin_study(tmp_path / "study", recipe)
    begin_study(tmp_path / "study", recipe)
    assert load_recipe(tmp_path / "study" / "recipe.yaml") == recipe
    with pytest.raises(StudyError, match="holds a study of another recipe"):
        begin_study(tmp_path / "study", recipe.with_overrides({"grpo.lr": 1e-3}))
    with pytest.raises(StudyError, match=r"no seed of .* is finished yet"):
        read_study(tmp_path / "study")
    with pytest.raises(StudyError, match="holds no study"):
        read_study(tmp_path)
    with pytest.raises(StudyError, match="has no steps of grpo"):
        plot_tool_use(tmp_path, tmp_path / "tools.png")


def test_a_study_without_the_trained_policy_is_counted_and_not_drawn(
    recipe: Any, toolbox: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_study(tmp_path, recipe)
    run = tmp_path / "seed-0" / "main"
    begin_study(run, recipe)
    (run / "toolbox.lock.json").write_text(toolbox.lock().model_dump_json())
    (run / "results.json").write_text("{}")
    (run / "metrics.jsonl").write_text('{"phase": "grpo", "step": 1, "accuracy": 1.0}\n{"phase": "grpo", "st')
    (tmp_path / "seed-0 (old)" / "main").mkdir(parents=True)
    (tmp_path / "seed-0 (old)" / "main" / "results.json").write_text("{}")
    assert main(["report", "--run", str(tmp_path)]) == 2
    out, error = capsys.readouterr()
    assert "seed 0; 0 questions of the" in out
    assert error == "no finished training of the study has played SFT + GRPO, so no policies are drawn\n"
    assert main(["report", "--run", str(run)]) == 2
    assert "is the run of one training; name the folder of a study" in capsys.readouterr().err


def test_the_use_of_tools_is_drawn_of_a_training_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"phase": "grpo", "step": step, "shade/accuracy": 0.5, "tool/shade": 1}) for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, lines[0][:20]]))
    drawn = tmp_path / "new" / "tools.png"
    assert main(["tools", "--run", str(tmp_path), "--out", str(drawn)]) == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert main(["tools", "--run", str(tmp_path), "--out", str(tmp_path / "tools.doc")]) == 2
    assert "drawn as .svg or .png, not as 'tools.doc'" in capsys.readouterr().err
    assert main(["tools", "--run", str(tmp_path), "--out", str(tmp_path / "metrics.jsonl" / "a.png")]) == 1
    assert "metrics.jsonl" in capsys.readouterr().err


@pytest.mark.slow  # it imports torch
def test_the_command_runs_beside_distributions_with_broken_metadata(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pydantic]\nthis is no line\n")
    command = [sys.executable, "-m", "medvistagym_trl.science", "report", "--run", str(tmp_path / "none")]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "holds no study: there is no recipe.yaml in it" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "grpo.steps"), "--set takes NAME=VALUE such as grpo.steps=50, not 'grpo.steps'"),
        (("--set", "tools=[a"), "--set tools: '[a' is no YAML"),
        (("--jobs", "0"), "--jobs: is at least 1, not 0"),
    ],
)
def test_a_word_that_cannot_be_read_is_refused_by_a_sentence(
    words: tuple[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["run", "--run", str(tmp_path / "study"), *words])
    except SystemExit as stop:  # argparse ends the program itself
        code = int(str(stop.code))
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("decodings", "temperature"), [(["trained"], 1.3), (["t1", "trained"], 1.0), (["greedy"], 0.0)]
)
def test_controls_are_played_under_the_first_decoding(
    decodings: list[str],
    temperature: float,
    recipe: Any,
    registry: Any,
    task: Any,
    toolbox: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*arguments: Any, **options: Any) -> Any:
        raise LookupError(options["temperature"])

    monkeypatch.setattr("medvistagym_trl.science._controls.load_trained_policy", load)
    changes = {"grpo.temperature": 1.3, "evaluation.decodings": decodings}
    run: Any = SimpleNamespace(recipe=recipe.with_overrides(changes), toolbox=toolbox, path=tmp_path)
    with pytest.raises(LookupError, match=f"^{temperature}$"):
        play_controls(run, task, registry)


@pytest.mark.parametrize(
    ("decodings", "label"), [(["trained"], "T=1.3"), (["t1", "trained"], "T=1"), (["greedy"], "greedy")]
)
def test_controls_of_a_split_with_few_cases_are_played_once(
    decodings: list[str],
    label: str,
    recipe: Any,
    registry: Any,
    task: Any,
    toolbox: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The evaluation asks for more cases than the split has."""
    monkeypatch.setattr(type(task), "size", lambda self, split: 3, raising=False)
    changes = {"grpo.temperature": 1.3, "evaluation.decodings": decodings}
    few = recipe.with_overrides({"evaluation.n": 8, "comparison.policies": [], **changes})
    folder = tmp_path / "trajectories"
    folder.mkdir()
    stems = [*(f"without-{name}" for name in toolbox), "expert"]
    for stem in stems:
        (folder / f"control-{stem}-{label}.jsonl").write_text("{}\n" * 3)

    def play_again(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a control that is whole is played again")

    monkeypatch.setattr("medvistagym_trl.science._controls.rollout", play_again)
    monkeypatch.setattr("medvistagym_trl.science._controls.load_trained_policy", play_again)
    run: Any = SimpleNamespace(recipe=few, toolbox=toolbox, path=tmp_path)
    play_controls(run, task, registry)
    (folder / f"control-{stems[0]}-{label}.jsonl").write_text("{}\n" * 2)
    with pytest.raises(AssertionError, match="is played again"):
        play_controls(run, task, registry)


@pytest.mark.slow
def test_a_study_is_trained_counted_and_drawn(
    recipe: Any, registry: Any, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    changes = {
        "sft.data": [str(samples)],
        "grpo.temperature": 1.0,
        "evaluation.decodings": ["trained", "greedy"],
        "processes": 2,
        "perception.threads": 2,
    }
    begin_study(folder, recipe.with_overrides(changes))
    for seed in (0, 1):
        run_seed(folder, seed, (4,), registry)
    capsys.readouterr()
    run_seed(folder, 0, (4,), registry)
    assert "..." not in capsys.readouterr().err  # nothing was left to do

    trained = load_recipe(folder / "seed-1" / "main" / "recipe.yaml")
    assert (trained.processes, trained.perception.threads) == (1, None)  # a core each

    study = write_study(folder)
    assert study.seeds == (0, 1)
    assert study.decodings == ("T = 1", "greedy")
    assert {"no tools", "call format only", "SFT", "SFT + GRPO", "GRPO without SFT"} <= set(study.titles)
    assert "no tools, same budget" in study.titles
    assert {"SFT + GRPO, without shade", "no tools, handed tools at test time"} <= set(study.titles)
    whole = study.share("SFT + GRPO")
    assert whole is not None
    assert (whole.n, set(whole.seeds)) == (8, {0, 1})
    assert [point.trajectories for point in study.curve] == [4, 8, 8]
    text = format_study(study)
    assert (folder / "study.md").read_text("utf-8") == text
    assert "| **SFT + GRPO** | " in text
    written = json.loads((folder / "study.json").read_text("utf-8"))
    assert {row["family"] for row in written["rows"]} == {"hidden", "plain", "overall"}

    for number, draw in enumerate((plot_policies, plot_trajectory_counts)):
        draw(study, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    main_run = folder / "seed-0" / "main"
    assert main(["tools", "--run", str(main_run), str(main_run), "--out", str(tmp_path / "tools.png")]) == 0
    assert (tmp_path / "tools.png").read_bytes().startswith(b"\x89PNG")
