"""`@tool`: the decorator that makes a tool of a typed function or class."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any

from medvistagym_core.tools._tool import Tool


@typing.overload
def tool(function: Callable[..., Any] | type, /) -> Tool: ...
@typing.overload
def tool(
    *,
    name: str | None = None,
    deterministic: bool = True,
    timeout_s: float | None = 30.0,
    modalities: Sequence[str] = (),
) -> Callable[[Callable[..., Any] | type], Tool]: ...
def tool(function: Callable[..., Any] | type | None = None, /, **options: Any) -> Any:
    """Make a tool of a typed function, or of a class with `run(self, ...)` and, for state, `setup(self, device)`.

    Args:
        function: Its parameters carry type annotations and are described in a Google docstring. An `Image` (or
            `list[Image]`) parameter is named by handle; `Box` is a rectangle on the 0-1000 grid; anything else is what
            pydantic knows, with constraints through `Annotated[..., Field(...)]`. It returns an `Image`, text, a number, a
            dict, a pydantic model, or a sequence of those; numbers and dicts become `data`, and the text where there is none.
        **options: `name` (that of the function unless given), `deterministic`, `timeout_s`, `modalities`.

    Raises:
        ToolDefinitionError: Something is missing; the sentence says what.
    """
    if function is None:
        return lambda f: Tool(f, **options)
    return Tool(function, **options)
