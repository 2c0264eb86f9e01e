"""The tool protocol: from a typed function to a checked, described, callable tool.

`@tool` reads a function's signature and Google docstring once and makes everything else from them: the pydantic model
of its arguments (`Tool.arguments`, which forbids what it does not know), its JSON Schema (`ToolSpec.parameters`), and
through those the prompt, every dialect, the command line's flags and the trainer. In the schema an `Image` parameter
is an integer handle.

The life of a call: `ToolCall` (name, arguments as JSON values) -> `Tool.validate` -> handles become images ->
`Tool.run` or `Tool.run_batch` -> `ToolResult`. Errors: authors raise `ValueError` for a value they cannot take
(`bad_value`) and anything else for a failure (`tool_failed`); the boundary in `Tool.run` turns either into a
`ToolError`, one short sentence for the policy.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import re
import threading
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.errors import ErrorCode, ToolError, classified, explained, nearest
from medvistagym_core.image import Image
from medvistagym_core.signature import (
    LOCAL,
    NAME,
    ArgumentsForm,
    ToolDefinitionError,
    checked_signature,
    documentation,
    returned_kinds,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from medvistagym_core.spec import ToolCall, ToolSpec

__all__ = [
    "ErrorCode",
    "Tool",
    "ToolCall",
    "ToolDefinitionError",
    "ToolError",
    "ToolResult",
    "ToolSpec",
    "nearest",
    "tool",
]


@dataclasses.dataclass(frozen=True, eq=False)
class ToolResult:
    """What a call gave back.

    Attributes:
        images: New images, in order.
        text: What the policy reads.
        data: The same facts for programs, JSON values by name; or None.
        error: Why there is no result; then the rest is empty.
        handles: Handles given to `images` by the episode's store.
        seconds: Wall time of the kernel, shared evenly within a batch.
        cached: Whether it was taken from an earlier identical call.
    """

    images: tuple[Image, ...] = ()
    text: str = ""
    data: dict[str, Any] | None = None
    error: ToolError | None = None
    handles: tuple[int, ...] = ()
    seconds: float = 0.0
    cached: bool = False

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None


class _State:
    """What a class tool keeps once it is set up, shared by every copy of the tool (`Tool.described`)."""

    def __init__(self) -> None:
        self.instance: Any = None
        self.lock = threading.Lock()


class Tool:
    """A tool: its spec, its arguments model and its kernels. Calling it calls the author's function."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        deterministic: bool = True,
        timeout_s: float | None = 30.0,
        modalities: Sequence[str] = (),
    ) -> None:
        self._origin = function
        self._state = _State()
        self._batch: Callable[..., Any] | None = None
        self._check: Callable[[Mapping[str, Any]], None] | None = None
        body = function
        if inspect.isclass(function):
            if not callable(getattr(function, "run", None)):
                raise ToolDefinitionError(
                    f"the tool class {function.__name__} needs a method run(self, ...) that does the work"
                )
            body = getattr(function, "run")  # noqa: B009
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__ or body.__doc__
        name = name or _snake(function.__name__)
        if not NAME.match(name):
            raise ToolDefinitionError(
                f"the tool name {name!r} is not one: use a lower-case letter, then letters, digits or _, 64 at most"
            )
        description, parameters = documentation(name, [body.__doc__, function.__doc__])
        signature = checked_signature(name, body, skip_self=inspect.isclass(function))
        self._form: ArgumentsForm | None = ArgumentsForm(name, signature, parameters)
        self.image_arguments = self._form.images
        self._said: dict[str, Any] = {
            "name": name,
            "description": description,
            "images": self.image_arguments,
            "returns": returned_kinds(signature.return_annotation),
            "deterministic": deterministic,
            "timeout_s": timeout_s,
            "modalities": tuple(modalities),
        }

    @classmethod
    def from_schema(
        cls, spec: ToolSpec, kernel: Callable[..., Any], check: Callable[[Mapping[str, Any]], None]
    ) -> Tool:
        """A tool whose arguments a JSON Schema describes rather than a signature, such as one of a remote server.

        Args:
            spec: `parameters` is the schema; the arguments in `images` are handles (or lists of them) in it.
            kernel: Called with the arguments given, images in place of handles and None for an image left out; returns
                what tools return.
            check: Raises ValueError, a sentence without the tool's name, for arguments that the schema does not allow.
        """
        new = cls.__new__(cls)
        new.__dict__.update(
            _origin=kernel,
            _state=_State(),
            _batch=None,
            _check=check,
            _form=None,
            image_arguments=spec.images,
            _said=dict(spec),
        )
        new.__name__ = new.__qualname__ = spec.name
        new.__module__, new.__doc__ = type(kernel).__module__, spec.description
        return new

    # -- identity

    @functools.cached_property
    def spec(self) -> ToolSpec:
        """What it says of itself."""
        from medvistagym_core.spec import ToolSpec

        schema = {} if self._form is None else {"parameters": self._form.schema}
        return ToolSpec(**{**schema, **self._said})

    @property
    def arguments(self) -> type[BaseModel]:
        """The pydantic model of its arguments; one that allows anything where a JSON Schema describes them."""
        if self._form is None:
            import pydantic

            return pydantic.create_model(f"{self.name}_arguments", __config__=pydantic.ConfigDict(extra="allow"))
        return self._form.model

    @property
    def name(self) -> str:
        """The name a policy calls it by."""
        return str(self._said["name"])

    @property
    def plugin(self) -> str:
        """The plugin it comes from."""
        return str(self._said.get("plugin", LOCAL))

    @property
    def id(self) -> str:
        """Canonical id, `plugin:name`."""
        return f"{self.plugin}:{self.name}"

    @property
    def description(self) -> str:
        """What it does and when to use it."""
        return str(self._said["description"])

    @property
    def batched(self) -> bool:
        """Whether it has a kernel for several calls at once."""
        return self._batch is not None

    def described(self, **changes: Any) -> Tool:
        """The same tool under another plugin, version or name; kernels and state are shared."""
        new = Tool.__new__(Tool)
        new.__dict__.update(self.__dict__, _said={**self._said, **changes})
        new.__dict__.pop("spec", None)
        return new

    def __repr__(self) -> str:
        return f"<tool {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._check is not None:
            return Tool.from_schema, (self.spec, self._origin, self._check)
        changes = {"plugin": self.spec.plugin, "version": self.spec.version, "name": self.spec.name}
        return _restore, (self.__module__, self.__qualname__, changes)

    # -- running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._kernel()(*args, **kwargs)

    def batch(self, kernel: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        """Decorator: a kernel over several calls' arguments; the i-th result, or exception, belongs to the i-th call."""
        self._batch = kernel
        return kernel

    def setup(self, device: str = "cpu") -> None:
        """Load what a stateful tool keeps; called once, before its first run."""
        if self._state.instance is not None or not isinstance(self._origin, type):
            return
        with self._state.lock:
            if self._state.instance is None:
                instance = self._origin()
                if hasattr(instance, "setup"):
                    instance.setup(device)
                self._state.instance = instance

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments, defaults filled in, image arguments still handles.

        Raises:
            ToolError: `bad_arguments`, naming the argument and what is accepted.
        """
        raw = self._json(arguments)
        if self._check is not None:
            values: dict[str, Any] = json.loads(raw)
            try:
                self._check(values)
            except ValueError as error:
                raise ToolError("bad_arguments", f"{self.name}: {error}") from None
            return {**dict.fromkeys(self.image_arguments), **values}
        assert self._form is not None
        try:
            model = self._form.validate_json(raw)
        except self._form.invalid as error:
            raise explained(self.name, self.arguments, error) from None
        return dict(model.__dict__)

    def _json(self, arguments: Mapping[str, Any]) -> bytes | str:
        try:
            return _json_writer()(arguments)
        except (ValueError, RecursionError):  # a lone surrogate, perhaps, which is JSON all the same
            pass
        try:
            return json.dumps(arguments)
        except (TypeError, ValueError, RecursionError):
            raise ToolError("bad_arguments", f"{self.name}: the arguments are not JSON values.") from None

    def run(self, arguments: Mapping[str, Any]) -> ToolResult:
        """Run on validated arguments in which handles are already images; a failure is in the result's `error`."""
        began = time.perf_counter()
        try:
            return self._normalised(self._kernel()(**arguments), began)
        except Exception as error:  # noqa: BLE001 the one boundary between authors' code and ours
            return ToolResult(error=classified(self.name, error), seconds=time.perf_counter() - began)

    def run_batch(self, calls: Sequence[Mapping[str, Any]]) -> list[ToolResult]:
        """`run` for several calls, in one kernel where the tool has one. A batch that fails is run one by one."""
        if self._batch is None or len(calls) < 2:
            return [self.run(arguments) for arguments in calls]
        try:
            self.setup()
            instance = self._state.instance
            values = list(self._batch(calls) if instance is None else self._batch(instance, calls))
        except Exception:  # noqa: BLE001 a poisoned batch must not cost the others their result
            return [self.run(arguments) for arguments in calls]
        if len(values) != len(calls):
            error = ToolError("tool_failed", f"{self.name} gave {len(values)} results for {len(calls)} calls.")
            return [ToolResult(error=error) for _ in calls]
        return [self._settled(value) for value in values]

    def _kernel(self) -> Callable[..., Any]:
        if not isinstance(self._origin, type):
            return self._origin
        self.setup()
        return typing.cast(Callable[..., Any], self._state.instance.run)

    def _settled(self, value: Any) -> ToolResult:
        if isinstance(value, Exception):
            return ToolResult(error=classified(self.name, value))
        try:
            return self._normalised(value)
        except ToolError as error:
            return ToolResult(error=error)

    def _normalised(self, value: Any, began: float | None = None) -> ToolResult:
        seconds = 0.0 if began is None else time.perf_counter() - began
        if isinstance(value, ToolResult):
            return dataclasses.replace(value, seconds=seconds)
        if isinstance(value, str):
            return ToolResult(text=value, seconds=seconds)
        if isinstance(value, Image):
            return ToolResult(images=(value,), seconds=seconds)
        if isinstance(value, int | float):
            return ToolResult(text=_number(value), data={"value": value}, seconds=seconds)
        images: list[Image] = []
        texts: list[str] = []
        facts: dict[str, Any] = {}
        pending = list(value) if isinstance(value, list | tuple) else [value]
        for part in pending:
            if isinstance(part, Image):
                images.append(part)
            elif isinstance(part, str):
                texts.append(part)
            elif isinstance(part, bool | int | float):
                facts["value"] = part
            elif isinstance(part, dict):
                facts.update(part)
            elif _is_model(part):
                facts.update(part.model_dump(mode="json"))
            else:
                raise ToolError(
                    "tool_failed",
                    f"{self.name} returned {type(part).__name__}; a tool returns an Image, text, number or dict, or a list.",
                )
        if not pending:
            raise ToolError("tool_failed", f"{self.name} returned nothing.")
        if facts:
            try:
                written = json.dumps(facts)
            except (TypeError, ValueError):
                raise ToolError("tool_failed", f"{self.name} returned a dict with values that are not JSON.") from None
            if not texts:
                texts.append(_number(facts["value"]) if facts.keys() == {"value"} else written)
        return ToolResult(tuple(images), "\n".join(texts), facts or None, seconds=seconds)


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


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool) else str(value)


def __getattr__(name: str) -> Any:
    if name in ("ToolCall", "ToolSpec"):
        return getattr(importlib.import_module("medvistagym_core.spec"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _json_writer() -> Callable[[Any], bytes]:
    from pydantic_core import to_json

    return to_json


def _is_model(value: Any) -> bool:
    from pydantic import BaseModel

    return isinstance(value, BaseModel)


def _restore(module: str, qualname: str, changes: dict[str, Any]) -> Tool:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tool):
        raise TypeError(f"{module}.{qualname} is not a tool")
    return found.described(**changes)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
