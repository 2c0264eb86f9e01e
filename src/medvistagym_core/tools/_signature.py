"""Reading a tool's signature and docstring: the arguments model, its JSON Schema and what the tool returns.

The signature is read once, when `@tool` is applied; what an author must mend is a `ToolDefinitionError`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    pass


LOCAL_PLUGIN: Final = "local"
TOOL_NAME_PATTERN: Final = re.compile(r"^[a-z][a-z0-9_]{0,63}$")


class ToolDefinitionError(TypeError):
    """A tool that its author must mend: the sentence says what and how."""


def parse_docstring(name: str, texts: Sequence[str | None]) -> tuple[str, dict[str, str]]:
    """The description and the arguments' descriptions in the first of `texts` (Google docstrings) that has one."""
    import docstring_parser

    for text in texts:
        if not text:
            continue
        parsed = docstring_parser.parse(inspect.cleandoc(text), docstring_parser.DocstringStyle.GOOGLE)
        description = " ".join(" ".join(filter(None, [parsed.short_description, parsed.long_description])).split())
        if description:
            return description, {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    raise ToolDefinitionError(
        f"the tool {name} needs a docstring: a first line that tells a policy what it does, then Args:"
    )


def validated_signature(name: str, body: Callable[..., Any], *, skip_self: bool) -> inspect.Signature:
    """The signature with annotations evaluated, refused unless every argument has a name and a type."""
    try:
        signature = inspect.signature(body, eval_str=True)
    except NameError as error:
        raise ToolDefinitionError(f"the tool {name} has an annotation that cannot be resolved: {error}") from None
    if skip_self and not signature.parameters:
        raise ToolDefinitionError(f"the method run of the tool {name} needs self as its first argument")
    parameters = list(signature.parameters.values())[skip_self:]
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY):
            raise ToolDefinitionError(
                f"the tool {name} takes {p}; give every argument a name of its own, without * or /"
            )
        if p.annotation is p.empty:
            raise ToolDefinitionError(f"the argument {p.name} of the tool {name} needs a type annotation")
    return signature.replace(parameters=parameters)


def strip_annotated(annotation: Any) -> Any:
    """`X` of `Annotated[X, ...]`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def without_none(annotation: Any) -> Any:
    """`X | None` as `X`: an argument that may be left out is left out, not sent as null."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return Annotated[(without_none(inner), *metadata)]
    if get_origin(annotation) in (Union, types.UnionType):
        rest = tuple(a for a in get_args(annotation) if a is not type(None))
        return Union[rest] if len(rest) < len(get_args(annotation)) else annotation  # noqa: UP007
    return annotation


def is_image_list(annotation: Any) -> bool:
    """Whether it is `list[Image]`, or that or None."""
    bare = strip_annotated(without_none(annotation))
    return get_origin(bare) is list and strip_annotated(get_args(bare)[0]) is Image


def mentions_image(annotation: Any) -> bool:
    """Whether an annotation is `Image`, or is made of it at any depth, as the type of a model's field too."""
    left, looked_into = [annotation], set[type]()
    while left:
        part = left.pop()
        if part is Image:
            return True
        left += get_args(part)
        if isinstance(part, type) and part not in looked_into:
            looked_into.add(part)
            left += _field_types(part)
    return False


def _field_types(kind: type) -> list[Any]:
    """The types of the fields of a pydantic model, a dataclass, a `TypedDict` or a `NamedTuple`; none of other classes."""
    if hasattr(kind, "model_fields"):
        return [field.annotation for field in kind.model_fields.values()]
    if not (dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields")):
        return []
    try:
        return list(get_type_hints(kind).values())
    except (AttributeError, NameError, TypeError):  # of types that only their author can tell
        return []


def result_kinds(annotation: Any) -> tuple[Literal["image", "text", "data"], ...]:
    """What a return annotation says a result may hold."""
    kinds: set[str] = set()
    pending = [annotation]
    while pending:
        part = strip_annotated(pending.pop())
        if part is Image:
            kinds.add("image")
        elif part is str:
            kinds.add("text")
        elif part in (inspect.Signature.empty, Any) or getattr(part, "__name__", "") == "ToolResult":
            kinds |= {"image", "text", "data"}
        elif get_origin(part) in (Union, types.UnionType, list, tuple, Sequence):
            pending.extend(a for a in get_args(part) if a not in (..., type(None)))
        else:
            kinds |= {"text", "data"}
    return tuple(kind for kind in ("image", "text", "data") if kind in kinds)
