"""Recipes: read, changed, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvistagym_trl.recipe import Recipe, dump_recipe, load_recipe, recipe_names


def test_every_shipped_recipe_loads() -> None:
    assert {"chain", "scoutvqa"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).description


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = load_recipe("scoutvqa").overridden({"grpo.steps": 7, "tools": ["zoom"]})
    file = tmp_path / "mine.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(file) == recipe


def test_a_setting_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no setting 'grpo\.stesp'.*grpo\.steps"):
        Recipe(name="x").overridden({"grpo.stesp": 3})


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Recipe(name="x").overridden({"grpo.steps": -1})


def test_an_unknown_recipe_is_refused_with_those_shipped() -> None:
    with pytest.raises(ValueError, match="no recipe 'nothing'; shipped are chain, scoutvqa"):
        load_recipe("nothing")
