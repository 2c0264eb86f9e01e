"""Recipes: read, changed, refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import BaseModel

from medvistagym_core import Image, tool
from medvistagym_core.cli import main
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_trl._recipe import Recipe, RecipeError, check_rollouts, dump_recipe, load_recipe, recipe_names
from medvistagym_trl._recipe._reference import render_settings
from medvistagym_trl.rollout import make_toolbox


def test_every_shipped_recipe_loads() -> None:
    assert set(recipe_names()) == {
        "chain", "checkpoint", "lora-24gb", "paper", "qlora-24gb", "realsmoke", "scoutvqa", "scoutvqa-explored",
        "vllm-colocate", "vllm-server",
    }  # fmt: skip
    for name in recipe_names():
        assert load_recipe(name).description


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = load_recipe("scoutvqa").with_overrides({"grpo.steps": 7, "tools": ["zoom"]})
    file = tmp_path / "mine.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(file) == recipe


@pytest.mark.parametrize("setting", ["grpo.lr", "perception.matrix_lr", "model.detail_scale", "grpo.temperature"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_number_that_is_not_finite_is_refused(setting: str, value: str) -> None:
    with pytest.raises(RecipeError, match=rf"{setting.replace('.', '[.]')}: input should be .* not '?{value}"):
        load_recipe("chain").with_overrides({setting: float(value)})


def test_a_setting_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no setting 'grpo\.stesp'; did you mean grpo\.steps\?"):
        Recipe(name="x").with_overrides({"grpo.stesp": 3})
    with pytest.raises(RecipeError, match=r"no setting 'qqq'; settings are .*grpo\.steps"):
        Recipe(name="x").with_overrides({"qqq": 3})


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("grpo.steps", -1, "grpo.steps: input should be greater than or equal to 0, not '-1'"),
        ("grpo.lr", "fast", "grpo.lr: input should be a valid number, unable to parse string as a number, not 'fast'"),
        ("grpo", 3, "grpo: input should be a valid dictionary"),
        ("processes", 9, "processes: input should be 1 or 2, not '9'"),
        (
            "grpo.completions",
            30,
            "grpo: 30 completions cannot be split evenly with group 8; 24 can",
        ),
        ("grpo.parts", 3, "grpo: 128 completions cannot be split evenly with parts 3; 126 can"),
        ("sft.epochs", 1.0, "sft: give either steps or epochs, and null for the other"),
        ("sft.parts", 5, "sft: batch 48 is not a multiple of parts 5"),
        ("model.quantization", "4bit", "model: quantised weights cannot be trained themselves: set model.lora.rank"),
        ("model.frozen", ["vision", "projector", "language"], "model: every part of the model is frozen"),
        ("episode.tool_schemas", "compact", "episode: compact tool_schemas need the text format"),
        ("sft.filter", {"min_calls": 3, "max_calls": 1}, "sft.filter: min_calls 3 is more than max_calls 1"),
        ("grpo.tail", {"min_pass_rate": 0.5}, "grpo.tail: min_pass_rate 0.5 is more than max_pass_rate 0.375"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_sentence(setting: str, value: object, said: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(name="x").with_overrides({setting: value})
    assert str(refusal.value).startswith(f"the recipe: {said}")
    assert "\n" not in str(refusal.value)


EVERY_SETTING_OF_0_1 = """
name: everything
description: x
task: scoutvqa
tools: [window]
devices: cpu
seed: 3
processes: 2
threads: 1
model: {path: null, width: 64, layers: 2, vision_layers: 1, heads: 2, patch: 8, merge: 2, view_side: 32, position_scale: 1.0}
episode: {think: "off", max_calls: 3, reward_name: mine, reward: {right: 1.0, thrift: 0.3}}
perception: {steps: 1, batch: 2, matrix_lr: 0.1, other_lr: 0.2, weight_decay: 0.0, unclear_cells: 0.1}
sft: {steps: 1, batch: 2, matrix_lr: 0.1, other_lr: 0.2, looks: 0.1, hesitation: 0.2, skill: 0.3}
grpo:
  {steps: 1, completions: 64, parts: 2, group: 16, lr: 0.1, temperature: 0.7, beta: 0.1, max_completion: 99, save_every: 7,
  scale: none}
comparison: {no_tools_steps: 1, untrained_steps: 2}
evaluation: {n: 3, split: test, batch: 2, max_tokens: 9, decodings: [greedy]}
"""


def test_recipes_written_for_the_first_release_keep_their_meaning(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(EVERY_SETTING_OF_0_1, encoding="utf-8")
    written = yaml.safe_load(dump_recipe(load_recipe(file)))

    def assert_holds(whole: Mapping[str, object], part: Mapping[str, object]) -> None:
        for key, value in part.items():
            if isinstance(value, dict):
                assert isinstance(whole[key], dict)
                assert_holds(whole[key], value)
            else:
                assert whole[key] == value, key

    assert_holds(written, yaml.safe_load(EVERY_SETTING_OF_0_1))


def test_fields_of_trl_set_the_recipes_own_where_it_has_them() -> None:
    recipe = Recipe(name="x").with_overrides(
        {"trl.grpo.learning_rate": 1e-5, "trl.sft.max_steps": 9, "trl.grpo.epsilon": 0.3}
    )
    assert recipe.grpo.lr == 1e-5
    assert recipe.sft.steps == 9
    assert recipe.trl.grpo == {"epsilon": 0.3}


def test_one_setting_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: x\ngrpo: {lr: 1.0e-3}\ntrl: {grpo: {learning_rate: 1.0e-4}}\n", encoding="utf-8")
    with pytest.raises(
        RecipeError, match=r"trl\.grpo\.learning_rate and grpo\.lr are the same setting, given as 0\.0001 and"
    ):
        load_recipe(file)


def test_every_setting_is_described() -> None:
    def undescribed(model: type[BaseModel], prefix: str = "") -> list[str]:
        missing = []
        for name, field in model.model_fields.items():
            missing += [] if field.description else [prefix + name]
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                missing += undescribed(field.annotation, f"{prefix}{name}.")
        return missing

    assert undescribed(Recipe) == []


def test_the_reference_of_settings_is_up_to_date() -> None:
    written = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text("utf-8")
    assert written == render_settings(), "run `make docs`"


def test_the_papers_recipe_has_the_papers_figures() -> None:
    recipe = load_recipe("paper")
    assert (recipe.sft.epochs, recipe.sft.batch, recipe.sft.lr) == (1.0, 128, 2e-6)
    assert (recipe.grpo.group, recipe.grpo.beta, recipe.grpo.lr, recipe.grpo.steps) == (8, 1e-3, 5e-7, 300)
    assert (recipe.grpo.tail.min_pass_rate, recipe.grpo.tail.max_pass_rate) == (0.125, 0.375)
    assert (recipe.episode.reward, recipe.grpo.scale) == ("paper", "group")
    assert recipe.tasks == ("vqa_rad", "slake", "path_vqa")


class Counter:
    """Says where it was set up."""

    def setup(self, device: str) -> None:
        self.device = device

    def run(self, image: Image) -> str:
        """Say where this runs.

        Args:
            image: The image.
        """
        return self.device


@pytest.mark.parametrize("wanted", ["auto", "cpu", "where=cpu"])
def test_tools_are_set_up_where_the_recipe_says(wanted: str) -> None:
    registry = Registry()
    registry.add_tool(tool(name="where")(Counter))
    toolbox = make_toolbox(Recipe(name="x", tools=("where",), devices=wanted), registry)
    expected = "cuda" if wanted == "auto" and torch.cuda.is_available() else "cpu"
    assert toolbox["where"].run({"image": Image(pixels=np.zeros((2, 2), np.uint8))}).text == expected


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("cuda:99", "devices: .*cuda:99"), ("gpu", "'gpu' places nothing"), ("wher=cpu", "no tool matches")],
)
def test_a_device_that_cannot_be_had_is_refused(wanted: str, said: str) -> None:
    registry = Registry()
    registry.add_tool(tool(name="where")(Counter))
    with pytest.raises(SelectionError, match=said):
        make_toolbox(Recipe(name="x", tools=("where",), devices=wanted), registry)


LOSSES = ("bnpo", "cispo", "dapo", "dr_grpo", "grpo", "luspo", "sapo", "vespo")


@pytest.mark.parametrize("loss", [None, *LOSSES])
def test_groups_can_be_skipped_where_the_loss_is_a_mean_over_the_tokens_of_a_step(loss: str | None) -> None:
    own = {} if loss is None else {"trl.grpo.loss_type": loss}
    recipe = Recipe(name="x").with_overrides(own)
    for way in ("keep", "drop", "redraw"):
        check_rollouts(recipe.with_overrides({"grpo.zero_variance": way}))
    skip = recipe.with_overrides({"grpo.zero_variance": "skip"})
    if loss in (None, "cispo", "dapo", "vespo"):
        check_rollouts(skip)
        return
    with pytest.raises(RecipeError) as refusal:
        check_rollouts(skip)
    assert str(refusal.value) == (
        "the recipe: grpo.zero_variance skip leaves tokens in the mean over all tokens of a step, and trl.grpo.loss_type "
        f"{loss} takes no such mean (dapo, cispo and vespo do): set it to drop"
    )
    check_rollouts(skip.with_overrides({"grpo.steps": 0}))


def test_an_unknown_recipe_is_refused_with_those_shipped() -> None:
    with pytest.raises(RecipeError, match="no recipe 'nothing'; shipped are chain, checkpoint, lora-24gb, paper, "):
        load_recipe("nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is no YAML file"),
        ("- 1\n", "holds no settings"),
        ("task: scoutvqa\n", "name: field required"),
        ("name: x\nstesp: 1\n", "stesp: there is no such setting"),
        ("name: \xff", "cannot be read as text"),
        ("name: x\ntools: &a [a]\nplugins: *a\n", r"aliases \(\*name\) are not taken"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", r"aliases \(\*name\) are not taken"),
        ("name: !!python/object/apply:os.getcwd []\n", "is no YAML file"),
        ("[" * 5_000, "is no YAML file"),
        ("# " * 200_000, "a recipe has at most 200000"),
    ],
)
def test_a_recipe_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match=said) as refusal:
        load_recipe(file)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "nothing"], "no recipe 'nothing'; shipped are chain"),
        (["papr"], "no recipe 'papr'; did you mean paper? shipped are chain"),
        (["--set", "grpo.stesp=1"], "did you mean grpo.steps?"),
        (["--set", "evaluation.decodings=[t1]"], "--set evaluation.decodings: '[t1]' is no JSON; quote it as in --set"),
        (["--set", "grpo.steps=-1"], "grpo.steps: input should be greater than or equal to 0"),
        (["--set", 'devices="gpu"'], "'gpu' places nothing"),
        (["--executor", "proces"], "did you mean process?"),
        (["--set", "episode.reward=scout,brevty=1"], "there is no reward term 'brevty'"),
        (["checkpoint"], "trains a checkpoint (it sets model.gradient_checkpointing)"),
        (["lora-24gb"], "the recipe lora-24gb trains a checkpoint (it sets model."),
        (["--set", "trl.grpo.epsilonn=0.3"], "TRL's GRPOConfig has no field 'epsilonn'; did you mean epsilon?"),
        (["--set", "trl.sft.output_dir=x"], "trl.sft.output_dir cannot be set: it is the run folder"),
        (["--set", "trl.grpo.temperatur=1"], "did you mean temperature?"),
        (["--set", "trl.grpo.top_p=high"], "trl.grpo.top_p: Input should be a valid number"),
        (["--set", "trl.grpo.generation_batch_size=7"], "trl.grpo: "),
        (
            ["--set", "grpo.zero_variance=skip", "--set", "trl.grpo.loss_type=grpo"],
            "trl.grpo.loss_type grpo takes no such mean",
        ),
        (["--set", "perturb=rate=2"], "the recipe: perturb: rate=2: a rate lies between 0 and 1"),
        (["--set", 'report_to=["trackio"]'], "trackio is not installed: pip install trackio"),
        (["--set", "evaluation.split=held-out"], "has no split 'held-out'; its splits are train"),
        (["--set", "grpo.validation.every=5", "--set", "grpo.validation.split=x"], "grpo.validation.split: the task"),
        (["--sft-data", "nowhere"], "sft.data: "),
        (["--model", "nowhere"], "nowhere holds no config.json"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--trainer", "trl", "--run", str(tmp_path / "run"), *options]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("medvistagym: ")]
    assert said in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ([], "scoutvqa-explored"),
        (["--seed", "1", "--tools", "zoom", "--task", "scoutvqa"], "scoutvqa-explored"),
        (["scoutvqa"], "scoutvqa"),
        (["--task", "scoutvqa_chain"], "scoutvqa"),
    ],
)
def test_the_embedded_run_is_that_of_exploration_unless_another_recipe_or_task_is_named(
    options: list[str], recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--dry-run", *options]) == 0
    assert capsys.readouterr().out.startswith(f"recipe {recipe} on ")


def test_data_that_are_not_here_are_missed_before_torch_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("medvistagym_vqa", reason="needs the benchmarks of medvistagym-vqa")
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(tmp_path))
    monkeypatch.setattr("medvistagym_trl._trainer.configure_libraries", lambda: pytest.fail("torch comes next"))
    assert main(["train", "--task", "vqa_rad", "--set", "sft.steps=0", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "VQA-RAD is not on this machine" in error
    assert "--debug" not in error
