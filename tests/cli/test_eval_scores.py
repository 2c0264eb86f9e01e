"""`eval` under named protocols and with other images, `score` and `compare`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import main
from medvistagym_core.cli._published_schemas import published_schema
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry
from medvistagym_core.scoring import EvaluationReport
from medvistagym_core.trajectories import TrajectoryReader

Run = Callable[..., tuple[str, str]]
PLAY = ("eval", "--policy", "bright", "--tools", "", "--task-file", "mine.jsonl")


class Bright:
    """Says yes to a bright picture and no to a dark one, and guesses yes where it sees none."""

    name = "bright"
    sampling: dict[str, Any] = {}  # noqa: RUF012

    def act(self, observations: Any) -> list[str]:
        means = [float(o.images[0].pixels.mean()) if o.images else 255.0 for o in observations]
        return [f"<answer>{'Yes, a nodule' if mean > 100 else 'no'}</answer>" for mean in means]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Eight questions about bright and dark pictures, in two modalities, and the command."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for k in range(8):
        bright = k % 2 == 0
        PIL.Image.fromarray(np.full((9, 12), 200 + k if bright else 20 + k, np.uint8)).save(f"{k}.png")
        modality = "CT" if k < 4 else "MR"
        rows.append(
            {
                "image": f"{k}.png",
                "question": f"Is {k} bright?",
                "answer": "yes" if bright else "no",
                "modality": modality,
            }
        )
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    Path("other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]), "utf-8")
    report = PluginReport(name="toy", distribution="toy", version="0", state="loaded")
    policies = {"bright": lambda task, toolbox, config, seed=0: Bright()}
    registry = Registry([LoadedPlugin(report, {"policies": policies})])
    monkeypatch.setattr(Registry, "discover", lambda *a, **k: registry)

    def command(*argv: str | Path, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main([str(part) for part in argv]) == code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return out, err

    return command


def values(report: dict[str, Any], protocol: str, name: str) -> dict[str, float | None]:
    """A number of a protocol by condition."""
    return {
        condition["condition"]: number["value"]
        for condition in report["conditions"]
        for scored in condition["protocols"]
        if scored["protocol"] == protocol
        for number in scored["numbers"]
        if number["name"] == name
    }


def test_a_policy_that_looks_falls_without_its_pictures(run: Run) -> None:
    report = json.loads(run(*PLAY, "--images", "blank,shuffled,none", "--json")[0])
    found = values(report, "strict", "accuracy")
    assert found == {"no tools": 1.0, "blank images": 0.5, "shuffled images": 0.0, "no images": 0.5}
    shares = {share["condition"]: share for share in report["retained"]}
    assert shares["blank images"]["share"] == 0.5
    assert 0 < shares["blank images"]["low"] < 0.5 < shares["blank images"]["high"] < 1
    assert shares["shuffled images"]["share"] == 0.0
    (breakdown,) = [each for each in report["conditions"][1]["protocols"][0]["breakdowns"] if each["by"] == "modality"]
    assert {number["name"]: number["questions"] for number in breakdown["numbers"]} == {"CT": 4, "MR": 4}


def test_a_run_is_kept_and_scored_again_under_another_protocol(run: Run) -> None:
    run(*PLAY, "--run", "kept", "--images", "blank")
    report = EvaluationReport.load("kept/scores.json")
    jsonschema.validate(json.loads(Path("kept/scores.json").read_text()), published_schema("evaluation"))
    first = report.conditions[0]
    assert first.rendered_prompt
    assert "Is 0 bright?" in first.rendered_prompt
    assert "<image 0>" in first.rendered_prompt
    assert first.provenance["questions"] == 8
    assert "| mine | no tools | strict | accuracy | 1.000 |" in Path("kept/scores.md").read_text()
    out, _ = run("score", "kept", "--protocol", "medevalkit,medevalkit@as-published", "--json", "--rows", "rows.jsonl")
    again = json.loads(out)
    assert values(again, "medevalkit", "closed accuracy") == {"no tools": 1.0, "blank images": 0.5}
    # The harness finds the letters "no" in "nodule", so that it takes "Yes, a nodule" for neither.
    assert values(again, "medevalkit@as-published", "closed accuracy") == {"no tools": 0.5, "blank images": 0.5}
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 8
    assert {row["verdict"] for row in rows} == {"right", "wrong"}


def test_a_stopped_run_goes_on(run: Run) -> None:
    run(*PLAY, "--run", "kept", "--cases", "3")
    (file,) = Path("kept/trajectories").glob("*.jsonl")
    before = file.read_text().splitlines()
    with file.open("a") as end:
        end.write('{"version": 1, "id": "torn')
    run(*PLAY, "--run", "kept")
    after = file.read_text().splitlines()
    assert after[:3] == before
    assert sorted(t.index for t in TrajectoryReader(file)) == list(range(8))
    out, _ = run(*PLAY, "--run", "kept", "--json")  # all of it is there: nothing is played
    assert json.loads(out)["rows"][-1]["n"] == 8


def test_two_runs_are_compared_question_by_question(run: Run) -> None:
    run(*PLAY, "--run", "kept", "--images", "shuffled")
    files = [f"kept/trajectories/mine-test-{name}.jsonl" for name in ("shuffled-images", "no-tools")]
    (found,) = json.loads(run("compare", *files, "--json")[0])
    assert found["test"]["gained"] == 8
    assert found["test"]["lost"] == 0
    assert found["test"]["p_value"] == pytest.approx(2 / 2**8)
    out, _ = run("compare", *files, "--show", "2")
    assert "8 gained, 0 lost" in out
    assert "Is 0 bright?" in out
    assert "... and 6 more" in out


def test_questions_that_flipped_are_a_run_of_their_own_with_pictures(run: Run) -> None:
    run(*PLAY, "--run", "kept", "--images", "shuffled")
    files = [f"kept/trajectories/mine-test-{name}.jsonl" for name in ("shuffled-images", "no-tools")]
    out, err = run("eval", "compare", *files, "--show", "1", "--flips", "flipped")
    assert "8 gained, 0 lost" in out
    assert "16 episodes of questions that flipped: flipped" in err
    for name, right in (("first", False), ("second", True)):
        (file,) = Path("flipped", name).glob("*.jsonl")
        episodes = list(TrajectoryReader(file))
        assert [bool(each.outcome.correct) for each in episodes] == [right] * 8
        pictures = {path.stem for path in Path("flipped", name, "images").glob("*.png")}
        assert pictures == {image.picture for each in episodes for image in each.images}
    assert json.loads(run("view", "flipped", "--export", "page.html", "--json")[0])["episodes"] == 16
    _, err = run("eval", "compare", *files, "--flips", "flipped", code=2)
    assert "flipped is there already" in err
    (same,) = json.loads(run("eval", "compare", files[0], files[0], "--json")[0])
    assert same["changes"] == []
    out, err = run("eval", "compare", files[0], files[0], "--json", "--view")
    assert json.loads(out) == [same]
    assert "no question flipped" in err


def test_flips_keep_files_of_one_name_apart_and_leave_nothing_of_a_failure(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*PLAY, "--run", "kept", "--images", "shuffled")
    run(
        *("eval", "--policy", "bright", "--tools", "", "--task-file", "other.jsonl", "--run", "other"),
        "--images",
        "shuffled",
    )
    for condition in ("shuffled-images", "no-tools"):
        for task in ("mine", "other"):
            folder = Path(condition, task)
            shutil.copytree(f"{'kept' if task == 'mine' else task}/trajectories/images", folder / "images")
            for ending in (".jsonl", ".lock.json"):
                source = Path("kept" if task == "mine" else task, "trajectories", f"{task}-test-{condition}{ending}")
                shutil.copy(source, folder / f"played{ending}")
    compare = ("eval", "compare", "shuffled-images", "no-tools", "--flips", "flipped")
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copyfile", lambda *paths: (_ for _ in ()).throw(OSError("the disk is full")))
        assert "the disk is full" in run(*compare, code=1)[1]
    assert not [path for path in Path().iterdir() if "flipped" in path.name]
    run(*compare)
    for side in ("first", "second"):
        assert len(list(TrajectoryReader(Path("flipped", side, "mine", "played.jsonl")))) == 8
        assert list(TrajectoryReader(Path("flipped", side, "other", "played.jsonl")))


def test_scores_are_drawn(run: Run) -> None:
    pytest.importorskip("matplotlib")
    run(*PLAY, "--run", "kept", "--images", "blank", "--protocol", "strict,llava-med", "--plot", "scores.svg")
    drawn = Path("scores.svg").read_text("utf-8")
    assert drawn.startswith("<?xml")
    assert drawn.count('id="axes_') == 3  # means, the score by kind of answer, and what stays with blank images
    run("score", "kept", "--plot", "scores.png")
    assert Path("scores.png").read_bytes()[:4] == b"\x89PNG"
    _, err = run("score", "kept", "--plot", "scores.gif", code=2)
    assert "--plot: scores are drawn as .svg or .png, not as 'scores.gif'" in err


def test_a_plot_that_cannot_be_written_costs_no_other_file(run: Run) -> None:
    pytest.importorskip("matplotlib")
    Path("scores.svg").mkdir()
    files = {"--scores": "s.json", "--markdown": "s.md", "--rows": "s.jsonl", "--plot": "scores.svg"}
    _, err = run(*PLAY, *(part for pair in files.items() for part in pair), code=1)
    assert "cannot be written" in err
    assert EvaluationReport.load("s.json").conditions
    assert "| mine |" in Path("s.md").read_text()
    assert len(Path("s.jsonl").read_text().splitlines()) == 8
    assert not list(Path().glob(".part-*"))


def test_a_plot_without_matplotlib_is_refused_before_anything_is_played(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _, err = run(*PLAY, "--run", "kept", "--plot", "scores.svg", code=2)
    assert "--plot needs matplotlib: pip install 'medvistagym-core[plots]'" in err
    assert not Path("kept").exists()


@pytest.mark.parametrize("file", ["recipe.yaml", "metrics.jsonl"])
def test_the_scores_of_a_training_are_not_written_over(run: Run, file: str) -> None:
    Path("trained").mkdir()
    Path("trained", file).write_text("")
    Path("trained/scores.json").write_text("its own")
    _, err = run(*PLAY, "--run", "trained", code=2)
    assert "trained is the folder of a training, whose own scores would be lost: name another folder with --run" in err
    assert Path("trained/scores.json").read_text() == "its own"
    assert not Path("trained/trajectories").exists()


def test_an_argument_is_told_to_one_task_of_several(run: Run) -> None:
    _, err = run(
        *("eval", "--policy", "bright", "--tools", "none", "--task", "mine.jsonl,other.jsonl"),
        *("--task-arg", "other.jsonl.test_share=0.5", "--task-arg", "abstention=unclear"),
    )
    assert "mine test: 8 questions" in err
    assert "other test: 3 questions" not in err
    _, err = run("eval", "--policy", "bright", "--task", "mine.jsonl", "--task-arg", "other.split=x", code=2)
    assert "has no argument 'other'" in err


def test_several_tasks_at_once_and_several_samplings(run: Run) -> None:
    out, err = run(
        "eval", "--policy", "bright", "--tools", "none", "--task", "mine.jsonl,other.jsonl", "--samples", "2"
    )
    assert "mine test: 8 questions" in err
    assert "other test: 3 questions" in err
    lines = [line.split() for line in out.splitlines()]
    assert ["mine", "no", "tools", "strict", "accuracy", "1.000", "±", "0.000", "0.676", "to", "1.000", "8"] in lines
    assert [line for line in lines if line[:5] == ["other", "no", "tools", "strict", "accuracy"]]


def test_a_judge_is_asked_recorded_and_its_failure_is_no_wrong_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvistagym_core.rollouts import ChatCompletionsClient, EndpointError

    Path("open.jsonl").write_text(
        "".join(
            json.dumps({"image": "0.png", "question": f"What is {k}?", "answer": "some nodule in it"}) + "\n"
            for k in range(3)
        )
    )
    run("eval", "--policy", "bright", "--tools", "", "--task-file", "open.jsonl", "--run", "kept")
    out, err = run("score", "kept", "--protocol", "medevalkit")
    assert "no judge was given" in err
    asked: list[dict[str, Any]] = []

    def complete(self: Any, body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        if len(asked) == 2:
            raise EndpointError("it answered 500")
        return {"content": "<judge>0</judge>"}

    monkeypatch.setattr(ChatCompletionsClient, "complete", complete)
    judged = (
        "--judge",
        "http://127.0.0.1:9/v1",
        "--judge-model",
        "m",
        "--judge-concurrency",
        "1",
        "--rows",
        "rows.jsonl",
        "--json",
    )
    out, _ = run("score", "kept", "--protocol", "medevalkit", *judged)
    report = json.loads(out)
    assert report["judge"] == {"endpoint": "http://127.0.0.1:9/v1", "model": "m", "temperature": 0.0, "max_tokens": 64}
    assert values(report, "medevalkit", "open accuracy by judge") == {"no tools": 1.0}
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in rows] == ["right", "error", "right"]
    assert rows[0]["judgement"]["reply"] == "<judge>0</judge>"
    assert "it answered 500" in rows[1]["judgement"]["error"]
    assert asked[0]["temperature"] == 0.0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            (*PLAY, "--protocol", "llava"),
            "--protocol: there is no scoring protocol 'llava'; the nearest is 'llava-med'",
        ),
        ((*PLAY, "--protocol", "strict,strict"), "--protocol takes different names"),
        ((*PLAY, "--images", "black"), "--images takes blank, shuffled, none, or several of them, not 'black'"),
        ((*PLAY, "--samples", "0"), "--samples must be at least 1, not 0"),
        ((*PLAY, "--scores", "none/x.json"), "the folder none does not exist"),
        ((*PLAY, "--judge", "http://127.0.0.1:9/v1"), "--judge needs --judge-model"),
        (
            ("eval", "one", "--policy", "bright", "--tool-results", "blank", "--workers", "2", "--executor", "ray"),
            "--workers spreads episodes that are played, and the policy goes on from a run in this process: leave it out",
        ),
        (("score", "none"), "none: there is no such run folder or trajectory file"),
        (("score", "mine.jsonl"), "there is no trajectory file"),
        (("score",), "name a run to score, or stored answers with --answers, and not both"),
        (
            ("score", "none", "--answers", "mine.jsonl"),
            "name a run to score, or stored answers with --answers, and not both",
        ),
        (("score", "--answers", "none"), "none: there is no such file or folder"),
        (("compare", "none", "none"), "there is no such run folder"),
    ],
)
def test_wrong_usage_is_one_sentence(run: Run, argv: tuple[str, ...], said: str) -> None:
    out, err = run(*argv, code=2)
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_pictures_that_are_all_the_same_cannot_be_shuffled(run: Run) -> None:
    rows = [{"image": "0.png", "question": f"Is {k} so?", "answer": "yes"} for k in range(3)]
    Path("one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    _, err = run(
        "eval", "--policy", "bright", "--tools", "", "--task-file", "one.jsonl", "--images", "shuffled", code=1
    )
    assert "no case could be shown" in err
    assert "other images to show" in err


def test_episodes_with_other_images_can_be_replayed(run: Run) -> None:
    run(*PLAY, "--run", "kept", "--images", "blank,shuffled,none", "--seed", "2")
    for file in sorted(Path("kept/trajectories").glob("*.jsonl")):
        assert run("replay", file)[0].strip().endswith("the same")
