"""Reading and writing recipes."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any, Final

import yaml

from medvistagym_core.tools import closest_match
from medvistagym_trl._recipe._errors import RecipeError
from medvistagym_trl._recipe._names import validate
from medvistagym_trl._recipe._recipe import Recipe

_MAX_CHARS: Final = 200_000  # of a recipe's file; those that ship have a few thousand


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
        near = closest_match(str(source), recipe_names())
        guess = f"did you mean {near}? " if near else ""
        raise RecipeError(
            f"no recipe {str(source)!r}; {guess}shipped are {', '.join(recipe_names())}, or give the path of a .yaml file"
        )
    try:
        data = _parse_yaml(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{path} is no YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path} holds no settings; begin it with `name: ...`")
    return validate(Recipe, {str(key): value for key, value in data.items()}, str(source))


class _RecipeLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values without aliases: with them, a few lines can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "aliases (*name) are not taken", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


def _parse_yaml(text: str) -> Any:
    if len(text) > _MAX_CHARS:
        raise ValueError(f"it has {len(text)} characters, and a recipe has at most {_MAX_CHARS}")
    return yaml.load(text, Loader=_RecipeLoader)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
