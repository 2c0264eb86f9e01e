"""Bounds and defaults of arguments of plain types, told without pydantic, which takes time to ask."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from medvistagym_core.tools._signature import strip_annotated

_BOUNDS: Final[dict[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "Ge": ("ge", operator.ge),
    "Gt": ("gt", operator.gt),
    "Le": ("le", operator.le),
    "Lt": ("lt", operator.lt),
    "MinLen": ("min_length", lambda value, bound: len(value) >= bound),
    "MaxLen": ("max_length", lambda value, bound: len(value) <= bound),
}

_PLAIN: Final = (bool, int, float, str, list)


def to_python_value(default: Any) -> Any:
    """A number or array of NumPy's as numbers of Python's, which a schema can show; anything else as it is."""
    return default.tolist() if hasattr(default, "ndim") and hasattr(default, "tolist") else default


def stray_bound(annotation: Any) -> str:
    """A bound that no value of a plain type could be held against, such as the length of a number; empty for none."""
    bare = strip_annotated(annotation)
    kind = get_origin(bare) or bare
    if kind not in _PLAIN:
        return ""
    for mark in _marks(annotation):
        try:
            _is_within(mark, kind())
        except TypeError:
            return _BOUNDS[type(mark).__name__][0]
    return next(filter(None, map(stray_bound, get_args(bare))), "")


def surely_fits(annotation: Any, value: Any) -> bool:
    """Whether a value is one of a plain type, within its bounds; False where only pydantic can tell.

    Args:
        annotation: The type.
        value: The default.
    """
    bare = strip_annotated(annotation)
    kind = get_origin(bare) or bare
    if kind is Literal:
        return value in get_args(bare)
    if kind not in _PLAIN or type(value) not in ((int, float) if kind is float else (kind,)):
        return False
    if kind is float and not isfinite(value):
        return False
    if kind is list and not all(surely_fits(inner, item) for inner in get_args(bare) for item in value):
        return False
    return all(_is_within(mark, value) for mark in _marks(annotation))


def _marks(annotation: Any) -> list[Any]:
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return [part for mark in marks for part in getattr(mark, "metadata", [mark])]


def _is_within(mark: Any, value: Any) -> bool:
    if type(mark).__name__ not in _BOUNDS or type(mark).__module__ != "annotated_types":
        return False
    attribute, holds = _BOUNDS[type(mark).__name__]
    return holds(value, getattr(mark, attribute))
