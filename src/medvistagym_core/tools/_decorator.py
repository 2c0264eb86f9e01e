"""`@tool`: the decorator that makes a tool of a typed function or class."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any

from medvistagym_core.tools._arguments import SignatureArguments
from medvistagym_core.tools._signature import (
    TOOL_NAME_PATTERN,
    ToolDefinitionError,
    parse_docstring,
    result_kinds,
    validated_signature,
)
from medvistagym_core.tools._tool import Tool, ToolInstances, ToolOptions


@typing.overload
def tool(function: Callable[..., Any] | type, /) -> Tool: ...
@typing.overload
def tool(
    *,
    name: str | None = None,
    deterministic: bool = True,
    timeout_s: float | None = 30.0,
    modalities: Sequence[str] = (),
    light: bool = False,
    concurrent: bool = False,
    ragged: bool = False,
    python: str | None = None,
    weights: Sequence[str] = (),
) -> Callable[[Callable[..., Any] | type], Tool]: ...
def tool(function: Callable[..., Any] | type | None = None, /, **options: Any) -> Any:
    """Make a tool of a typed function, or of a class with `run(self, ...)` and, for state, `setup(self, device)`.

    Args:
        function: Its parameters carry type annotations and are described in a Google docstring. An `Image` (or
            `list[Image]`) parameter is named by handle; `Box` is a rectangle on the 0-1000 grid; anything else is what
            pydantic knows, with constraints through `Annotated[..., Field(...)]`. It returns an `Image`, text, a number, a
            dict, a pydantic model, or a sequence of those; numbers and dicts become `data`, and the text where there is none;
            those of a sequence that share a name become the list `values` in it.
        **options: `name` (that of the function unless given); `deterministic` (equal arguments give equal results, which are
            kept); `timeout_s`, seconds after which a call is given up; `modalities` it is meant for; `light` (it takes well
            under a millisecond and never waits, so it may run in the calling thread, without a time limit); `concurrent`
            (several threads may call one instance of the class at once); `ragged` (its batched kernel takes images of
            different shapes together); `python` (the interpreter of a virtual environment that holds its packages, where
            they clash with those here: it runs there, as a process of its own); `weights` (files that its results depend on,
            whose hash the lock of a toolbox holds).

    Raises:
        ToolDefinitionError: Something is missing; the sentence says what.
    """
    if function is None:
        return lambda decorated: _make_tool(decorated, **options)
    return _make_tool(function, **options)


def _make_tool(
    function: Callable[..., Any] | type,
    *,
    name: str | None = None,
    deterministic: bool = True,
    timeout_s: float | None = 30.0,
    modalities: Sequence[str] = (),
    light: bool = False,
    concurrent: bool = False,
    ragged: bool = False,
    python: str | None = None,
    weights: Sequence[str] = (),
) -> Tool:
    is_class = inspect.isclass(function)
    body = function
    takes_self = False
    if is_class:
        body = getattr(function, "run", None)  # type: ignore[assignment]
        if not callable(body):
            raise ToolDefinitionError(
                f"the tool class {function.__name__} needs a method run(self, ...) that does the work"
            )
        takes_self = not isinstance(inspect.getattr_static(function, "run"), (staticmethod, classmethod))
    name = name or _to_snake_case(function.__name__)
    if not TOOL_NAME_PATTERN.match(name):
        raise ToolDefinitionError(
            f"the tool name {name!r} is not one: use a lower-case letter, then letters, digits or _, 64 at most"
        )
    if inspect.iscoroutinefunction(body):
        raise ToolDefinitionError(f"the tool {name} is async def, which is not awaited; define it with def")
    if timeout_s is not None and not (type(timeout_s) in (int, float) and timeout_s > 0):
        raise ToolDefinitionError(
            f"timeout_s of the tool {name} must be a number of seconds above 0, or None for no limit, not {timeout_s!r}"
        )
    if isinstance(modalities, str):
        raise ToolDefinitionError(f"modalities of the tool {name} must be a list, such as [{modalities!r}]")
    description, parameters = parse_docstring(name, [body.__doc__, function.__doc__])
    signature = validated_signature(name, body, skip_self=takes_self)
    options = ToolOptions(
        name=name,
        description=description,
        returns=result_kinds(signature.return_annotation),
        deterministic=deterministic,
        timeout_s=timeout_s,
        modalities=tuple(modalities),
        light=light,
        concurrent=concurrent,
        ragged=ragged,
        python=python,
        weights=tuple(weights),
    )
    instances = ToolInstances(function) if is_class else None
    return Tool(function, SignatureArguments(name, signature, parameters), options, instances=instances)


def _to_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
