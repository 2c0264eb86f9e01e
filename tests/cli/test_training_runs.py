"""`compare` and `publish` with the folders of trainings."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import main
from medvistagym_core.environment import Provenance
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry
from medvistagym_core.trajectories import ResultRow, Results

Run = Callable[..., tuple[str, str]]


class Reader:
    name = "reader"
    sampling: dict[str, Any] = {}  # noqa: RUF012

    def act(self, observations: Any) -> list[str]:
        return ["<answer>yes</answer>" for _ in observations]


class Trainer:
    """Ships the curve of one recipe, and trains nothing."""

    name = "toy"
    description = "Ships a curve."

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reference_runs(self) -> dict[str, Path]:
        return {"toy": self._folder}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    report = PluginReport(name="toy", distribution="toy", version="0", state="loaded")
    parts = {
        "policies": {"reader": lambda task, toolbox, config, seed=0: Reader()},
        "trainers": [Trainer(tmp_path / "shipped")],
    }
    registry = Registry([LoadedPlugin(report, parts)])
    monkeypatch.setattr(Registry, "discover", lambda *a, **k: registry)

    def command(*argv: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main(list(argv)) == code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return out, err

    return command


def train(name: str, rate: float, *, steps: int = 40, recipe: str = "toy") -> Path:
    """The folder of a finished training whose accuracy rises at some rate."""
    folder = Path(name)
    (folder / "phases").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"name: {recipe}\ngrpo:\n  steps: {steps}\n")
    (folder / "toolbox.lock.json").write_text("{}")
    lines = [
        {"phase": "grpo", "step": step, "accuracy": 1 - math.exp(-rate * step), "loss": 0.01 * step, "parity/rows": 8}
        for step in range(1, steps + 1)
    ]
    cut = '{"phase": "grpo", "st'
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + cut)
    (folder / "phases" / "grpo.json").write_text('{"seconds": 12.5}')
    row = ResultRow.from_counts(
        "SFT + GRPO", "overall", "greedy", n=10, correct=round(9 * rate / 0.2), calls=7, abstained=0
    )
    Results(task="toy", split="test", seed=0, rows=(row,)).save(folder / "results.json")
    return folder


def test_trainings_stand_beside_each_other_and_the_shipped_curve(run: Run) -> None:
    for name, rate in (("a", 0.1), ("b", 0.2), ("c", 0.05), ("shipped", 0.15)):
        train(name, rate)
    found = json.loads(run("compare", "a", "b", "c", "--json")[0])
    assert (found["runs"], found["references"]) == (["a", "b", "c"], ["reference toy"])
    values = {(row["of"], row["what"]): row["values"] for row in found["rows"]}
    assert values["grpo", "steps"] == {"a": 40, "b": 40, "c": 40, "reference toy": 40}
    last = [1 - math.exp(-0.1 * step) for step in (37, 38, 39, 40)]
    assert values["grpo", "accuracy"]["a"] == pytest.approx(sum(last) / 4, abs=1e-6)
    assert values["SFT + GRPO, greedy", "accuracy"]["b"] == 0.9
    assert values["grpo", "seconds"]["c"] == 12.5
    out, _ = run("compare", "a", "b", "c", "--no-reference")
    assert "reference" not in out
    assert ("SFT + GRPO, greedy" in out, "0.9" in out) == (True, True)


def test_two_trainings_are_compared_as_such_where_no_episodes_are_kept(run: Run) -> None:
    train("a", 0.1)
    train("b", 0.2, recipe="another")
    out, _ = run("compare", "a", "b", "--no-reference")
    assert out.split()[:2] == ["a", "b"]
    found = json.loads(run("compare", "a", "b", "--no-reference", "--json")[0])
    assert found["trainings"]["runs"] == ["a", "b"]
    assert found["questions"] is None


def test_two_trainings_with_episodes_are_compared_as_both(run: Run, published: Path) -> None:
    shutil.copytree(published, "again")
    found = json.loads(run("compare", str(published), "again", "--no-reference", "--json")[0])
    assert found["trainings"]["runs"] == ["finished", "again"]
    assert [each["changes"] for each in found["questions"]] == [[]]
    assert "4 questions of both" in run("compare", str(published), "again", "--no-reference")[0]


def test_trainings_that_were_asked_other_questions_are_compared_without_them(run: Run, published: Path) -> None:
    shutil.copytree(published, "other")
    for file in Path("other/trajectories").glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        lines = [{**line, "id": f"seed-1-{line['id']}", "case": f"seed-1-{line['case']}"} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    out, error = run("compare", str(published), "other", "--no-reference")
    assert "SFT + GRPO, greedy" in out
    assert error == "the two runs have no question in common; none is compared\n"
    found = json.loads(run("compare", str(published), "other", "--no-reference", "--json")[0])
    assert found["trainings"]["runs"] == ["finished", "other"]
    assert found["questions"] == []
    assert "no question in common" in run("eval", "compare", str(published), "other", code=2)[1]
    first = next(Path("finished/trajectories").glob("*.jsonl"))
    for folder in ("finished", "other"):  # the same questions under one more name
        for ending in (".jsonl", ".lock.json"):
            shutil.copy(first.with_suffix(ending), Path(folder, "trajectories", f"again{ending}"))
    found = json.loads(run("compare", str(published), "other", "--no-reference", "--json")[0])
    assert [each["first"] for each in found["questions"]] == ["again"]


def test_validations_are_drawn_as_they_were_measured(run: Run) -> None:
    folder = train("a", 0.1)
    lines = [{"phase": "grpo-validation", "step": 50 * k, "accuracy": k % 2} for k in range(6)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run("compare", "a", "--no-reference", "--curves", "curves.svg")
    (drawn,) = re.findall(
        r'<path d="(M[^"]*)" clip-path="[^"]*" style="[^"]*stroke: #1f77b4', Path("curves.svg").read_text()
    )
    assert len({line.split()[2] for line in drawn.splitlines()}) == 2


@pytest.mark.parametrize("name", ["results.json", "phases/grpo.json"])
@pytest.mark.parametrize("text", ['{"rows": [', "{}", "[]"])
def test_a_damaged_file_of_a_training_is_named(run: Run, name: str, text: str) -> None:
    (train("a", 0.1) / name).write_text(text)
    error = run("compare", "a", "--no-reference", code=2)[1]
    assert f"{Path('a', name)} is damaged (" in error
    assert "restore it, or leave the run out" in error


def test_metrics_that_are_no_numbers_are_left_out(run: Run) -> None:
    folder = train("a", 0.1)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(
            b'\n{"phase": "grpo", "step": NaN, "loss": 5}\n{"phase": "grpo", "step": 40, "loss": Infinity}\n\x9d\n'
        )
    found = json.loads(run("compare", "a", "--no-reference", "--json")[0])
    values = {(row["of"], row["what"]): row["values"]["a"] for row in found["rows"]}
    assert values["grpo", "steps"] == 40
    assert values["grpo", "loss"] == pytest.approx(0.385)


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_curves_are_drawn_over_each_other(run: Run, ending: str) -> None:
    for name, rate in (("a", 0.1), ("b", 0.2), ("shipped", 0.15)):
        train(name, rate)
    run("compare", "a", "b", "--curves", f"curves.{ending}")
    if ending == "png":
        with PIL.Image.open("curves.png") as picture:
            assert picture.size[0] > 500
    else:
        text = Path("curves.svg").read_text()
        assert text.count("<svg") == 1
        assert "stroke-dasharray" in text  # the reference


def test_what_cannot_be_compared_is_said(run: Run) -> None:
    train("a", 0.1)
    Path("empty").mkdir()
    assert "empty is no run folder of a training" in run("compare", "a", "empty", "a", code=2)[1]
    assert "drawn as .svg or .png" in run("compare", "a", "--no-reference", "--curves", "a.pdf", code=2)[1]


@pytest.fixture
def published(run: Run) -> Path:
    """A training with weights, a card, and four episodes with pictures."""
    for k in range(4):
        PIL.Image.fromarray(np.full((9, 12), 50 * k, np.uint8)).save(f"{k}.png")
    rows = [{"image": f"{k}.png", "question": f"Is {k} bright?", "answer": "yes"} for k in range(4)]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    run("eval", "--policy", "reader", "--tools", "", "--task-file", "mine.jsonl", "--run", "played")
    folder = train("finished", 0.2)
    Path("played/trajectories").rename(folder / "trajectories")
    (folder / "README.md").write_text("# A model\n")
    for phase in ("sft", "grpo", "grpo_steps/checkpoint-2"):
        (folder / "checkpoints" / phase).mkdir(parents=True)
        (folder / "checkpoints" / phase / "config.json").write_text(json.dumps({"phase": phase}))
        (folder / "checkpoints" / phase / "model.safetensors").write_bytes(b"weights")
    (folder / "checkpoints" / "grpo" / "parity").mkdir()
    return folder


def test_pictures_of_unknown_licence_are_not_published(run: Run, published: Path) -> None:
    out, error = run("publish", str(published), "--dry-run", code=1)
    assert "4 pictures of mine, which does not say under which licence: nobody said that they may be shared" in error
    assert "Nothing was uploaded or written." in out
    run("publish", str(published), "--to", "away", code=1)
    assert not Path("away").exists()
    Path("mine.jsonl").unlink()
    error = run("publish", str(published), "--dry-run", code=1)[1]
    assert "4 pictures of mine, whose licence cannot be asked for (" in error
    assert "mine.jsonl" in error


def test_a_publication_is_listed_and_written_as_it_would_be_uploaded(run: Run, published: Path) -> None:
    found = json.loads(run("publish", str(published), "--dry-run", "--without-pictures", "--json")[0])
    kinds = {each["path"]: each["kind"] for each in found["files"]}
    assert kinds["README.md"] == "card"
    assert kinds["model.safetensors"] == kinds["config.json"] == "weights"
    assert kinds["toolbox.lock.json"] == kinds["recipe.yaml"] == kinds["metrics.jsonl"] == "record"
    assert kinds["results.json"] == "scores"
    assert "trajectories" in kinds.values()
    assert not [path for path in kinds if path.endswith(".png") or "steps" in path or "parity" in path]
    run("publish", str(published), "--to", "away", "--without-pictures")
    assert sorted(str(path.relative_to("away")) for path in Path("away").rglob("*") if path.is_file()) == sorted(kinds)
    assert json.loads(Path("away/config.json").read_text()) == {"phase": "grpo"}
    assert "away is there already" in run("publish", str(published), "--to", "away", "--without-pictures", code=2)[1]


@pytest.mark.parametrize(
    ("evaluated", "taken"),
    [
        (("no_tools",), "no_tools"),
        (("no_tools", "untrained"), "untrained"),
        (("no_tools", "sft"), "self_sampling_10"),
        (("sft", "grpo", "grpo-without-zoom"), "grpo"),
        ((), "grpo"),
    ],
)
def test_the_weights_are_of_the_policy_that_the_card_ends_with(
    run: Run, published: Path, evaluated: tuple[str, ...], taken: str
) -> None:
    for phase in ("no_tools", "untrained", "self_sampling_2", "self_sampling_10"):
        (published / "checkpoints" / phase).mkdir()
        (published / "checkpoints" / phase / "config.json").write_text(json.dumps({"phase": phase}))
    (published / "evaluation").mkdir()
    for name in evaluated:
        (published / "evaluation" / f"{name}-greedy.json").write_text("[]")
    out, _ = run("publish", str(published), "--to", "away", "--without-pictures")
    assert json.loads(Path("away/config.json").read_text()) == {"phase": taken}
    assert f"the weights are those of the phase {taken}" in out


def test_other_weights_than_those_of_the_card_are_published_only_by_name(run: Run, published: Path) -> None:
    (published / "evaluation").mkdir()
    (published / "evaluation" / "no_tools-greedy.json").write_text("[]")
    command = ("publish", str(published), "--dry-run", "--without-pictures")
    assert "no weights of no_tools; there are those of grpo, sft (--checkpoint)" in run(*command, code=2)[1]
    assert "the weights are those of the phase sft" in run(*command, "--checkpoint", "sft")[0]


def test_pictures_go_where_their_task_or_a_person_says_that_they_may(
    run: Run, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "picture" in run("publish", str(published), "--dry-run", "--pictures-may-be-shared")[0]
    from medvistagym_core.environment.questions import QuestionTask

    monkeypatch.setattr(QuestionTask, "provenance", lambda self, split: Provenance("mine", 4, "0", licence="CC-BY-4.0"))
    assert "4 of mine: CC-BY-4.0" in run("publish", str(published), "--dry-run")[0]
    monkeypatch.setattr(
        QuestionTask, "provenance", lambda self, split: Provenance("mine", 4, "0", licence="PhysioNet-1.5.0")
    )
    assert "whose licence is PhysioNet-1.5.0" in run("publish", str(published), "--dry-run", code=1)[1]


def test_pictures_that_no_record_names_are_left_out(run: Run, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medvistagym_core.environment.questions import QuestionTask

    monkeypatch.setattr(QuestionTask, "provenance", lambda self, split: Provenance("mine", 4, "0", licence="CC-BY-4.0"))
    images = published / "trajectories" / "images"
    left = images / f"{'0' * 64}.png"  # as a validation leaves them, whose records the next one replaced
    shutil.copy(next(images.glob("*.png")), left)
    out, _ = run("publish", str(published), "--to", "away")
    assert "4 of mine: CC-BY-4.0" in out
    assert "note: pictures that no record names are left out: 1" in out
    assert len([*Path("away/trajectories/images").glob("*.png")]) == 4
    assert not (Path("away/trajectories/images") / left.name).exists()


def test_what_is_no_finished_training_or_names_this_machine_is_said(run: Run, published: Path) -> None:
    Path("empty").mkdir()
    assert "no run folder of a training" in run("publish", "empty", "--dry-run", code=2)[1]
    Path("empty/recipe.yaml").write_text("name: toy\n")  # the folder of a study
    assert "it holds no toolbox.lock.json" in run("publish", "empty", "--dry-run", code=2)[1]
    out, _ = run("publish", str(published), "--to", "for you", "--without-pictures")
    assert "hf upload NAME 'for you'" in out
    assert (
        "no weights of dpo; there are those of grpo, sft"
        in run("publish", str(published), "--dry-run", "--checkpoint", "dpo", code=2)[1]
    )
    (published / "recipe.yaml").write_text("name: toy\nmodel:\n  path: /home/me/models/qwen\n")
    out, _ = run("publish", str(published), "--dry-run", "--without-pictures")
    assert "recipe.yaml names a folder of this machine, /home/me/models/qwen" in out
    for text, path in (("model: /fsx/models/qwen", "/fsx/models/qwen"), ("model: Qwen/Qwen-VL", None)):
        (published / "recipe.yaml").write_text(f"{text}\nendpoint: http://127.0.0.1:8000/v1/chat\n")
        out, _ = run("publish", str(published), "--dry-run", "--without-pictures")
        assert (f"names a folder of this machine, {path}" in out) is (path is not None)
        assert ("names a folder" in out) is (path is not None)
    (published / "README.md").unlink()
    published.rename("finished at last")
    error = run("publish", "finished at last", "--dry-run", code=2)[1]
    assert "has no model card yet; finish the run: medvistagym train --run 'finished at last' --resume" in error
