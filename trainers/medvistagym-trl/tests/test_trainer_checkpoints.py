"""The trainer on checkpoints: all weights, adapters, quantised; what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medvistagym_core.rollouts import rollout
from medvistagym_trl import TrlTrainer
from medvistagym_trl._recipe import dump_recipe, load_recipe
from medvistagym_trl.model import tower_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
SMALL: dict[str, Any] = {
    "task": "toy",
    "tools": ["mirror", "shade"],
    "episode.max_calls": 2,
    "episode.think": "optional",
    "episode.reward": "scout",
    "model.view_side": 64,
    "model.max_pixels": None,
    "sft.steps": 2,
    "sft.epochs": None,
    "sft.batch": 4,
    "sft.parts": 2,
    "sft.lr": 1e-4,
    "sft.data": [],
    "grpo.steps": 2,
    "grpo.completions": 8,
    "grpo.group": 4,
    "grpo.parts": 2,
    "grpo.max_turn_tokens": 16,
    "grpo.save_every": 1,
    "grpo.tail.steps": 0,
    "evaluation.n": 4,
    "evaluation.batch": 4,
    "evaluation.max_tokens": 8,
    "evaluation.decodings": ["greedy"],
    "comparison.policies": [],
}


def train(registry: Any, path: Path, run: Path, recipe: str = "checkpoint", **changes: Any) -> Any:
    overrides = {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}}
    return TrlTrainer().train(registry, run=run, recipe=recipe, changes=overrides, model=path)


def metrics(run: Path, phase: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["phase"] == phase]


@pytest.mark.slow
def test_all_weights_of_a_bfloat16_checkpoint_are_trained_in_float32(
    registry: Any, make_checkpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_checkpoint("qwen3_vl", "qwen3_vl", dtype=torch.bfloat16)
    run = tmp_path / "run"
    results = train(registry, path, run, model__frozen=["vision"], report_to=[])
    assert {row.policy for row in results.rows} == {"SFT", "SFT + GRPO"}
    before = load_file(path / "model.safetensors")
    after = load_file(run / "checkpoints" / "sft" / "model.safetensors")
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    for name, weight in after.items():
        same = torch.equal(weight, before[name].float())
        assert same == ("visual" in name and "merger" not in name), name
    # The checkpoint given is named, not copied, and what only resuming needs is gone.
    assert {file.name for file in (run / "checkpoints" / "perception").iterdir()} == {"reference.json"}
    assert {folder.name for folder in (run / "checkpoints").iterdir()} == {"perception", "sft", "grpo"}
    progress = capsys.readouterr().err
    assert "the prompt takes" in progress
    assert "a completion may take" in progress


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_adapters_are_trained_saved_and_played(
    registry: Any, make_checkpoint: Any, task: Any, toolbox: Any, tmp_path: Path, quantization: str
) -> None:
    if quantization == "4bit":
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'medvistagym-trl[qlora]'")
    path = make_checkpoint("qwen3_vl", "qwen3_vl", dtype=torch.bfloat16)
    run = tmp_path / "run"
    changes = {"model__lora": {"rank": 4, "alpha": 8}, "model__quantization": quantization, "grpo__beta": 0.01}
    results = train(registry, path, run, **changes)
    for phase in ("sft", "grpo"):
        folder = run / "checkpoints" / phase
        assert not (folder / "model.safetensors").exists()
        saved = load_file(folder / "adapter_model.safetensors")
        assert {weight.dtype for weight in saved.values()} == {torch.float32}
        assert all("base_layer" not in name and ".ref." not in name for name in saved)
    assert all(line["grad_norm"] > 0 for line in metrics(run, "sft"))
    policy, settings = TrlTrainer().load_policy(registry, run, task, toolbox, temperature=0)
    policy._max_tokens = 8  # type: ignore[attr-defined]
    played = list(rollout(policy, task, toolbox, "test", range(4), settings, batch=4))
    assert sum(each.outcome.correct for each in played) == results.row("SFT + GRPO").correct


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "template", "processor"),
    [
        ("qwen2_5_vl", "qwen2_5_vl", "Qwen2_5_VLProcessor"),
        ("gemma4", "gemma4_v3", "Gemma4Processor"),
        ("internvl", "internvl", "InternVLProcessor"),
        ("smolvlm", "smolvlm", "SmolVLMProcessor"),
        ("lfm2_vl", "lfm2_2_5_vl", "Lfm2VlProcessor"),
    ],
)
def test_further_families_are_trained_to_their_end(
    registry: Any,
    make_checkpoint: Any,
    task: Any,
    toolbox: Any,
    tmp_path: Path,
    family: str,
    template: str,
    processor: str,
) -> None:
    path, run = make_checkpoint(family, template, dtype=torch.bfloat16), tmp_path / "run"
    changes = {"grpo__beta": 0.01, "model__frozen": ["vision"], "model__gradient_checkpointing": True}
    changes |= {"sft__warmup_steps": 0, "grpo__parity": {"logprobs_every": 1}}
    train(registry, path, run, sft__steps=2, grpo__steps=1, **changes)
    (step,) = metrics(run, "grpo")
    assert step["parity/rows"] == 8
    assert step["parity/canary_difference"] > 0
    before = load_file(path / "model.safetensors")
    folder = run / "checkpoints" / "sft"
    after = load_file(folder / "model.safetensors")
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name].float())}
    assert changed
    assert {tower_of(name) for name in changed} <= {"language", "projector"}
    settings = json.loads((folder / "processor_config.json").read_text("utf-8"))
    given = json.loads((path / "processor_config.json").read_text("utf-8")) if family == "gemma4" else {}
    assert settings["processor_class"] == processor
    assert all(settings[part] == given[part] for part in ("video_processor", "feature_extractor") if part in given)
    policy, rules = TrlTrainer().load_policy(registry, run, task, toolbox, temperature=0)
    policy._max_tokens = 8  # type: ignore[attr-defined]
    assert len(list(rollout(policy, task, toolbox, "test", range(2), rules, batch=2))) == 2


@pytest.mark.slow
def test_the_best_validation_is_what_a_stage_ends_with(
    registry: Any, make_checkpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_checkpoint("qwen3_vl", "qwen3_vl")
    run = tmp_path / "run"
    validation = {"every": 1, "n": 4, "patience": 2}
    train(registry, path, run, grpo__steps=4, grpo__validation=validation, evaluation__policies=[])
    validated = metrics(run, "grpo-validation")
    assert [line["step"] for line in validated] == [1, 2, 3]  # stopped: an untrained policy does not become better
    assert len(metrics(run, "grpo")) == 3
    assert "grpo ends with the weights of step 1, the best validation" in capsys.readouterr().err
    assert json.loads((run / "checkpoints" / "grpo" / "validation.json").read_text())["step"] == 1
    assert not (run / "checkpoints" / "grpo_best").exists()


@pytest.mark.slow
def test_metrics_reach_the_experiment_tracker(registry: Any, make_checkpoint: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = make_checkpoint("qwen3_vl", "qwen3_vl")
    run = tmp_path / "run"
    train(registry, path, run, report_to=["tensorboard"], evaluation__policies=[], sft__steps=1, grpo__steps=1)
    (folder,) = (run / "tensorboard").glob("grpo*")
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"train/reward", "train/loss", "train/accuracy", "train/tool/shade"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grpo__max_completion": 12}, r"grpo\.max_completion 12 is too little: a result of \w+ takes \d+ tokens"),
        ({"grpo__max_completion": 40000}, "are more than the 32768 that the model reads"),
        ({"model__lora": {"rank": 2, "targets": ["q_prj"]}, "sft__optimizer": "muon"}, "muon is for the tiny model"),
        ({"model__chat_template": "/nowhere.jinja"}, r"cannot be trained .* No such file .*nowhere\.jinja"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    registry: Any, make_checkpoint: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        train(registry, make_checkpoint("qwen3_vl", "qwen3_vl"), run, **changes)
    assert not run.exists()


def test_a_folder_with_a_tokenizer_and_no_processor_is_refused(
    registry: Any, make_checkpoint: Any, tmp_path: Path
) -> None:
    """transformers hands back the tokenizer alone, without a word."""
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(make_checkpoint("qwen3_5", "qwen3_5_nothink"), folder)
    for file in folder.glob("*processor*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"(has a tokenizer and no processor|does not load)"):
        train(registry, folder, tmp_path / "run")


@pytest.mark.slow
def test_a_tiny_model_given_by_its_folder_reads_the_words_that_it_learnt(
    registry: Any, recipe: Any, task: Any, toolbox: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown its own prompt and view, errors as their code and images without numbers."""
    file = tmp_path / "toy.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    small = {"grpo.steps": 0, "evaluation.policies": [], "comparison.policies": []}
    TrlTrainer().train(registry, run=tmp_path / "first", recipe=file, changes=small)
    prompt = next(line for line in capsys.readouterr().err.splitlines() if "the prompt takes" in line)
    path = tmp_path / "first" / "checkpoints" / "sft"
    again = {**small, "sft.steps": 1, "sft.lr": 1e-3, "model.view_side": 256}
    TrlTrainer().train(registry, run=tmp_path / "second", recipe=file, changes=again, model=path)
    assert prompt.partition("]")[2] in capsys.readouterr().err
    second = load_recipe(tmp_path / "second" / "recipe.yaml")
    assert (second.episode.compact, second.model.view_side) == (True, 32)
    _, settings = TrlTrainer().load_policy(registry, path, task, toolbox)
    assert (settings.compact, settings.view_side) == (True, 32)


@pytest.mark.slow
def test_the_papers_recipe_runs_to_its_end(
    registry: Any, make_checkpoint: Any, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A teacher's trajectories, SFT, GRPO with two calls a turn, its tail, and the table."""
    run = tmp_path / "run"
    smoke = {
        **SMALL,
        "sft.data": [str(samples)],
        "sft.steps": None,
        "sft.epochs": 1.0,
        "sft.filter.well_formed": False,
        "episode.max_calls_per_turn": 2,
        "episode.think": "required",
        "episode.reward": "paper",
        "grpo.tail.steps": 1,
        "grpo.tail.candidates": 4,
        "grpo.tail.min_pass_rate": 0.0,
        "grpo.tail.max_pass_rate": 1.0,
        "comparison.policies": ["untrained"],
    }
    path = make_checkpoint("qwen3_vl", "qwen3_vl", dtype=torch.bfloat16)
    results = TrlTrainer().train(registry, run=run, recipe="paper", changes=smoke, model=path)
    assert {row.policy for row in results.rows} == {"tools without training", "SFT", "SFT + GRPO"}
    assert {line["phase"] for line in map(json.loads, (run / "metrics.jsonl").open())} == {
        "sft-data", "sft", "grpo", "grpo_tail",
    }  # fmt: skip
    assert "tail curriculum: 4 of 4 cases" in capsys.readouterr().err
    assert (run / "checkpoints" / "grpo_tail" / "model.safetensors").is_file()
