"""Reading and writing recipes."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import yaml

from medvistagym_trl._recipe._errors import RecipeError
from medvistagym_trl._recipe._names import validate
from medvistagym_trl._recipe._recipe import Recipe


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that ship with the trainer."""
    folder = importlib.resources.files("medvistagym_trl") / "recipes"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_recipe(source: str | Path) -> Recipe:
    """Read a recipe by name or from a YAML file.

    Raises:
        RecipeError: There is no such recipe, or it does not validate; the message says what is accepted.
    """
    path = Path(source)
    if str(source) in recipe_names():
        text = (importlib.resources.files("medvistagym_trl") / "recipes" / f"{source}.yaml").read_text("utf-8")
    elif path.suffix in {".yaml", ".yml"} and path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path} cannot be read as text ({error})") from None
    else:
        raise RecipeError(
            f"no recipe {str(source)!r}; shipped are {', '.join(recipe_names())}, or give the path of a .yaml file"
        )
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{path} is no YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path} holds no settings; begin it with `name: ...`")
    return validate(Recipe, {str(key): value for key, value in data.items()}, str(source))


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
