"""The reference of all settings of a recipe, as Markdown: `python -m medvistagym_trl._recipe._reference docs/recipes.md`."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medvistagym_trl._recipe._load import load_recipe, recipe_names
from medvistagym_trl._recipe._recipe import Recipe

_HEAD: Final = """\
# Recipes

Generated from the settings themselves by `python -m medvistagym_trl._recipe._reference docs/recipes.md`. A recipe is a YAML
file of these sections; what it leaves out has the value given here. `--set SECTION.NAME=VALUE` changes one.
"""


def render_settings() -> str:
    """The reference."""
    lines = [_HEAD, "| recipe | |", "| --- | --- |"]
    lines += [f"| `{name}` | {load_recipe(name).description} |" for name in recipe_names()]
    sections: list[tuple[str, type[BaseModel]]] = [("", Recipe), *_sections(Recipe)]
    for path, section in sections:
        lines += ["", f"## {path or 'The recipe'}", "", _one_line(section.__doc__ or ""), ""]
        lines += ["| setting | values | default | |", "| --- | --- | --- | --- |"]
        lines += [_row(name, field) for name, field in section.model_fields.items() if _section(field) is None]
    return "\n".join(lines) + "\n"


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield f"{prefix}{name}", section
            yield from _sections(section, f"{prefix}{name}.")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"`{_value(field.default)}`"
    text = _one_line(field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_values(field.annotation)} | {default} | {text} |"


def _values(kind: Any) -> str:
    """The accepted values of an annotation, in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return ", ".join(f"`{_value(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {_values(arguments[0])}"
    if origin is dict:
        return f"{_values(arguments[1])} by name"
    if arguments:
        return " or ".join(_values(each) for each in arguments)
    names = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`", type(None): "`null`"}
    return names.get(kind, "any")


def _value(value: Any) -> str:
    import yaml

    if isinstance(value, tuple):
        value = list(value)
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_settings(), encoding="utf-8")
