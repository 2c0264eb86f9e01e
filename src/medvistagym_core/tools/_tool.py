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

import functools
import importlib
import inspect
import json
import re
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from medvistagym_core.tools._devices import CPU, unavailable_reason
from medvistagym_core.tools._errors import ToolError, from_validation_error, wrap_exception
from medvistagym_core.tools._out_of_memory import free_unused_memory, is_out_of_memory
from medvistagym_core.tools._result import ToolResult, coerce_result
from medvistagym_core.tools._signature import (
    JSON_SCALARS,
    LOCAL_PLUGIN,
    TOOL_NAME_PATTERN,
    ArgumentsSchema,
    ToolDefinitionError,
    is_plain_list,
    parse_docstring,
    result_kinds,
    validated_signature,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from medvistagym_core.tools._spec import ToolSpec


class _DeviceInstances:
    """What a class tool keeps once it is set up, by device, shared by every copy of the tool (`Tool.with_metadata`)."""

    def __init__(self) -> None:
        self.instances: dict[str, Any] = {}
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
        self._function = function
        self._stateless = not inspect.isclass(function)
        self._state = _DeviceInstances()
        self.device = CPU
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
        name = name or _to_snake_case(function.__name__)
        if not TOOL_NAME_PATTERN.match(name):
            raise ToolDefinitionError(
                f"the tool name {name!r} is not one: use a lower-case letter, then letters, digits or _, 64 at most"
            )
        description, parameters = parse_docstring(name, [body.__doc__, function.__doc__])
        signature = validated_signature(name, body, skip_self=inspect.isclass(function))
        self.name = name
        self._arguments_schema: ArgumentsSchema | None = ArgumentsSchema(name, signature, parameters)
        self.image_arguments = self._arguments_schema.images
        self._metadata: dict[str, Any] = {
            "name": name,
            "description": description,
            "images": self.image_arguments,
            "returns": result_kinds(signature.return_annotation),
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
            _function=kernel,
            _stateless=True,
            _state=_DeviceInstances(),
            name=spec.name,
            device=CPU,
            _batch=None,
            _check=check,
            _arguments_schema=None,
            image_arguments=spec.images,
            _metadata=dict(spec),
        )
        new.__name__ = new.__qualname__ = spec.name
        new.__module__, new.__doc__ = type(kernel).__module__, spec.description
        return new

    # -- identity

    @functools.cached_property
    def spec(self) -> ToolSpec:
        """What it says of itself."""
        from medvistagym_core.tools._spec import ToolSpec

        schema = {} if self._arguments_schema is None else {"parameters": self._arguments_schema.schema}
        return ToolSpec(**{**schema, **self._metadata})

    @property
    def arguments(self) -> type[BaseModel]:
        """The pydantic model of its arguments; one that allows anything where a JSON Schema describes them."""
        if self._arguments_schema is None:
            import pydantic

            return pydantic.create_model(f"{self.name}_arguments", __config__=pydantic.ConfigDict(extra="allow"))
        return self._arguments_schema.model

    @property
    def plugin(self) -> str:
        """The plugin it comes from."""
        return str(self._metadata.get("plugin", LOCAL_PLUGIN))

    @property
    def id(self) -> str:
        """Canonical id, `plugin:name`."""
        return f"{self.plugin}:{self.name}"

    @property
    def description(self) -> str:
        """What it does and when to use it."""
        return str(self._metadata["description"])

    @property
    def batched(self) -> bool:
        """Whether it has a kernel for several calls at once."""
        return self._batch is not None

    def with_metadata(self, **changes: Any) -> Tool:
        """The same tool under another plugin, version or name; kernels and state are shared."""
        new = Tool.__new__(Tool)
        said = {**self._metadata, **changes}
        new.__dict__.update(self.__dict__, _metadata=said, name=str(said["name"]))
        new.__dict__.pop("spec", None)
        return new

    def on_device(self, device: str) -> Tool:
        """The same tool, whose class is set up on `device` ("cpu", "cuda:0", ...); a function has no device."""
        new = self.with_metadata()
        new.device = device
        return new

    def __repr__(self) -> str:
        return f"<tool {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._check is not None:
            return Tool.from_schema, (self.spec, self._function, self._check)
        changes = {"plugin": self.spec.plugin, "version": self.spec.version, "name": self.spec.name}
        return _unpickle_tool, (self.__module__, self.__qualname__, changes, self.device)

    # -- running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.kernel()(*args, **kwargs)

    def batch(self, kernel: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        """Decorator: a kernel over several calls' arguments; the i-th result, or exception, belongs to the i-th call."""
        self._batch = kernel
        return kernel

    def setup(self, device: str | None = None) -> None:
        """Load what a stateful tool keeps on a device, its own unless one is named; called once, before its first run.

        Raises:
            ToolError: `tool_failed`, since this machine has no such device.
        """
        device = device or self.device
        if self._stateless or device in self._state.instances:
            return
        with self._state.lock:
            if device not in self._state.instances:
                if missing := unavailable_reason(device):
                    raise ToolError("tool_failed", f"{self.name} cannot be set up: {missing}.")
                instance = self._function()
                if hasattr(instance, "setup"):
                    instance.setup(device)
                self._state.instances[device] = instance

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments in a new dict, defaults filled in, image arguments still handles.

        Raises:
            ToolError: `bad_arguments`, naming the argument and what is accepted.
        """
        check = self.validate_fast
        if check is not None and type(arguments) is dict:
            for value in arguments.values():
                if type(value) not in JSON_SCALARS and not is_plain_list(value):
                    break
            else:
                try:
                    return check(arguments)
                except ValueError:  # pydantic's; its validator of JSON text says why
                    pass
        return self._validated(arguments)

    @functools.cached_property
    def validate_fast(self) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
        """The quick way of `validate`, for arguments that are plain JSON values; see `ArgumentsForm.check`."""
        return None if self._arguments_schema is None else self._arguments_schema.validate_fast

    def _validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        raw = self._json(arguments)
        if self._check is not None:
            values: dict[str, Any] = json.loads(raw)
            try:
                self._check(values)
            except ValueError as error:
                raise ToolError("bad_arguments", f"{self.name}: {error}") from None
            return {**dict.fromkeys(self.image_arguments), **values}
        assert self._arguments_schema is not None
        try:
            model = self._arguments_schema.validate_json(raw)
        except self._arguments_schema.invalid as error:
            raise from_validation_error(self.name, self.arguments, error) from None
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
        began = perf_counter()
        try:
            kernel = self._function if self._stateless else self.kernel()
            return coerce_result(self.name, kernel(**arguments), perf_counter() - began)
        except Exception as error:  # noqa: BLE001 the one boundary between authors' code and ours
            return ToolResult(error=wrap_exception(self.name, error), seconds=perf_counter() - began)

    def run_batch(self, calls: Sequence[Mapping[str, Any]]) -> list[ToolResult]:
        """`run` for several calls, in one kernel where the tool has one.

        A batch that exhausts memory is run again in halves, one that fails otherwise call by call.
        """
        if self._batch is None or len(calls) < 2:
            return [self.run(arguments) for arguments in calls]
        try:
            values = list(self._run_kernel_batch(calls))
        except Exception as error:  # noqa: BLE001 a poisoned batch must not cost the others their result
            halves = is_out_of_memory(error)
        else:
            return self._split_results(values, len(calls))
        if not halves:  # outside of the handler, whose error keeps alive what the kernel had allocated
            return [self.run(arguments) for arguments in calls]
        free_unused_memory()
        middle = len(calls) // 2
        return self.run_batch(calls[:middle]) + self.run_batch(calls[middle:])

    def _run_kernel_batch(self, calls: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        assert self._batch is not None
        if self._stateless:
            return typing.cast(Sequence[Any], self._batch(calls))
        self.setup()
        return typing.cast(Sequence[Any], self._batch(self._state.instances[self.device], calls))

    def _split_results(self, values: Sequence[Any], count: int) -> list[ToolResult]:
        if len(values) == count:
            return [self._coerce_item(value) for value in values]
        error = ToolError("tool_failed", f"{self.name} gave {len(values)} results for {count} calls.")
        return [ToolResult(error=error) for _ in range(count)]

    def _coerce_item(self, value: Any) -> ToolResult:
        if isinstance(value, Exception):
            return ToolResult(error=wrap_exception(self.name, value))
        try:
            return coerce_result(self.name, value, 0.0)
        except ToolError as error:
            return ToolResult(error=error)

    def kernel(self) -> Callable[..., Any]:
        """The author's function, or the `run` of a class that is set up."""
        if self._stateless:
            return self._function
        self.setup()
        return typing.cast(Callable[..., Any], self._state.instances[self.device].run)


@functools.cache
def _json_writer() -> Callable[[Any], bytes]:
    from pydantic_core import to_json

    return to_json


def _unpickle_tool(module: str, qualname: str, changes: dict[str, Any], device: str = CPU) -> Tool:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tool):
        raise TypeError(f"{module}.{qualname} is not a tool")
    return found.with_metadata(**changes).on_device(device)


def _to_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
