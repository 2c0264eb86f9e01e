"""Recipes: read, changed, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medvistagym_core import Image, ImageStore, Toolbox, ToolCall, tool
from medvistagym_core.cli import main
from medvistagym_core.environment import Task
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_trl.recipe import Recipe, RecipeError, dump_recipe, load_recipe, recipe_names
from medvistagym_trl.world import make_toolbox, make_world


def test_every_shipped_recipe_loads() -> None:
    assert set(recipe_names()) == {"chain", "checkpoint", "scoutvqa"}
    for name in recipe_names():
        assert load_recipe(name).description


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = load_recipe("scoutvqa").overridden({"grpo.steps": 7, "tools": ["zoom"]})
    file = tmp_path / "mine.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(file) == recipe


def test_a_setting_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no setting 'grpo\.stesp'; did you mean grpo\.steps\?"):
        Recipe(name="x").overridden({"grpo.stesp": 3})
    with pytest.raises(RecipeError, match=r"no setting 'qqq'; settings are .*grpo\.steps"):
        Recipe(name="x").overridden({"qqq": 3})


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("grpo.steps", -1, "grpo.steps: input should be greater than or equal to 0, not '-1'"),
        ("grpo.lr", "fast", "grpo.lr: input should be a valid number, unable to parse string as a number, not 'fast'"),
        ("grpo", 3, "grpo: input should be a valid dictionary"),
        ("processes", 9, "processes: input should be 1 or 2, not '9'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_sentence(setting: str, value: object, said: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        Recipe(name="x").overridden({setting: value})
    assert str(refusal.value).startswith(f"the recipe: {said}")
    assert "\n" not in str(refusal.value)


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


def test_an_unknown_recipe_is_refused_with_those_shipped() -> None:
    with pytest.raises(RecipeError, match="no recipe 'nothing'; shipped are chain, checkpoint, scoutvqa"):
        load_recipe("nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is no YAML file"),
        ("- 1\n", "holds no settings"),
        ("task: scoutvqa\n", "name: field required"),
        ("name: x\nstesp: 1\n", "stesp: extra inputs are not permitted"),
        ("name: \xff", "cannot be read as text"),
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
        (["--set", "grpo.stesp=1"], "did you mean grpo.steps?"),
        (["--set", "grpo.steps=-1"], "grpo.steps: input should be greater than or equal to 0"),
        (["--set", 'devices="gpu"'], "'gpu' places nothing"),
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


def test_results_are_made_wrong_while_training_only(recipe: Recipe, task: Task, toolbox: Toolbox) -> None:
    wrong = recipe.overridden({"perturb": "rate=1,kinds=dropped,tools=shade"})
    assert make_world(wrong, task, toolbox).result_filter is None
    world = make_world(wrong, task, toolbox, perturbed=True)
    image = task.case("train", 0).images[0]
    call = ToolCall(name="shade", arguments={"image": 0, "box": [0, 0, 500, 500]})
    ((result,),) = world.executor.run([(ImageStore([image]), [call])])
    assert result.perturbation == "dropped"
    with pytest.raises(RecipeError, match="the recipe: perturb: rate=2: a rate lies between 0 and 1"):
        make_world(recipe.overridden({"perturb": "rate=2"}), task, toolbox, perturbed=True)
