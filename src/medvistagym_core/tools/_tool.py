"""The tool protocol: a checked, described, callable tool.

`@tool` reads a function's signature and Google docstring once and makes everything else from them: the pydantic model
of its arguments (`Tool.arguments`, which forbids what it does not know), its JSON Schema (`ToolSpec.parameters`), and
through those the prompt, every dialect, the command line's flags and the trainer. In the schema an `Image` parameter
is an integer handle.

The life of a call: `ToolCall` (name, arguments as JSON values) -> `Tool.validate` -> handles become images ->
`Tool.run` or `Tool.run_batch` -> `ToolResult`. Authors raise `ValueError` for a value they cannot take (`bad_value`)
and anything else for a failure (`tool_failed`); `Tool.run` is the one boundary that turns either into a `ToolError`,
one short sentence for the policy.

How a tool runs is declared by its author. A function keeps nothing between calls and may run in several threads at
once. A class keeps something (`setup` loads it, once for each device), so its instance is called by one thread at a time
unless the tool is declared `concurrent`. A tool declared `light` takes well under a millisecond and never waits, so an
executor may run it in the calling thread, where no time limit can end it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from medvistagym_core.tools._arguments import (
    Arguments,
    CheckedArguments,
    JsonSchemaArguments,
    check_arguments,
)
from medvistagym_core.tools._devices import CPU, unavailable_reason
from medvistagym_core.tools._errors import ToolError, wrap_exception
from medvistagym_core.tools._out_of_memory import free_unused_memory, is_out_of_memory
from medvistagym_core.tools._result import ToolResult, coerce_result
from medvistagym_core.tools._signature import LOCAL_PLUGIN
from medvistagym_core.tools._version import UNVERSIONED

if TYPE_CHECKING:
    from pydantic import BaseModel

    from medvistagym_core.tools._spec import ToolSpec


@dataclasses.dataclass(frozen=True)
class ToolOptions:
    """How a tool is described and run beyond its arguments; see `tool`."""

    name: str
    description: str
    returns: tuple[str, ...]
    plugin: str = LOCAL_PLUGIN
    version: str = UNVERSIONED
    deterministic: bool = True
    timeout_s: float | None = 30.0
    modalities: tuple[str, ...] = ()
    light: bool = False
    concurrent: bool = False
    ragged: bool = False
    python: str | None = None
    weights: tuple[str, ...] = ()


_HOW_IT_RUNS = ("light", "concurrent", "ragged", "python", "weights")
"""Options that are nothing a policy sees, and so no part of the spec."""


class ToolInstances:
    """The instances of a class tool, one for each device that it was set up on; shared by every copy of the tool."""

    def __init__(self, origin: Callable[[], Any]) -> None:
        self._origin = origin
        self._instances: dict[str, tuple[Any, threading.RLock]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, device: str) -> tuple[Any, threading.RLock]:
        """The instance on a device, set up when it is first asked for, and the lock of those who call it.

        Raises:
            ToolError: `tool_failed`, since this machine has no such device.
        """
        with self._lock:
            if device not in self._instances:
                if missing := unavailable_reason(device):
                    raise ToolError("tool_failed", f"{name} cannot be set up: {missing}.")
                instance = self._origin()
                if hasattr(instance, "setup"):
                    instance.setup(device)
                self._instances[device] = instance, threading.RLock()
            return self._instances[device]


class Tool:
    """A tool: its spec, its arguments and its kernels. Calling it calls the author's function.

    It is made by `@tool`, or of a JSON Schema by `from_schema`.

    Attributes:
        name: The name a policy calls it by.
        plugin: The plugin it comes from.
        id: Canonical id, `plugin:name`.
        version: Version of what it comes from.
        device: Where a class is set up, in torch's spelling; a function has no device.
        light: Whether it may run in the calling thread: it takes well under a millisecond and never waits.
        ragged: Whether its kernel for several calls takes images of different shapes and types of value together.
        deterministic: Whether equal arguments always give equal results.
        timeout_s: Seconds after which a call is given up; None for none.
        image_arguments: The arguments that are images by handle, or lists of them.

    Args:
        function: The author's function, or what calls the instance of a class.
        arguments: What it takes.
        options: How it is described and run.
        instances: The instances of a class tool; None for a function.
        batch: The kernel for several calls: arguments as lists, a result for each; None where there is none.
        device: Where a class is set up.
        maker: What makes it anew where it is unpickled, and the arguments of that; None where its module holds it by name.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Arguments,
        options: ToolOptions,
        *,
        instances: ToolInstances | None = None,
        batch: Callable[..., Sequence[Any]] | None = None,
        device: str = CPU,
        maker: tuple[Callable[..., Tool], tuple[Any, ...]] | None = None,
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._options = options
        self._instances = instances
        self._batch = batch
        self._maker = maker
        self.device = device
        self.name = options.name
        self.plugin = options.plugin
        self.id = f"{options.plugin}:{options.name}"
        self.version = options.version
        self.light = options.light
        self.ragged = options.ragged
        self.deterministic = options.deterministic
        self.timeout_s = options.timeout_s
        self.image_arguments = arguments.images
        self.__name__ = str(getattr(function, "__name__", options.name))
        self.__qualname__ = str(getattr(function, "__qualname__", options.name))
        self.__module__ = str(getattr(function, "__module__", type(function).__module__))
        self.__doc__ = function.__doc__ or options.description

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
        options = ToolOptions(
            name=spec.name,
            description=spec.description,
            returns=spec.returns,
            plugin=spec.plugin,
            version=spec.version,
            deterministic=spec.deterministic,
            timeout_s=spec.timeout_s,
            modalities=spec.modalities,
        )
        return cls(kernel, JsonSchemaArguments(spec.name, spec.images, spec.parameters, check), options)

    # -- identity

    @functools.cached_property
    def spec(self) -> ToolSpec:
        """What it says of itself."""
        from medvistagym_core.tools._spec import ToolSpec

        described = dataclasses.asdict(self._options)
        for option in _HOW_IT_RUNS:
            del described[option]
        return ToolSpec(parameters=self._arguments.schema, images=self.image_arguments, **described)

    @property
    def arguments(self) -> type[BaseModel]:
        """The pydantic model of its arguments; one that allows anything where a JSON Schema describes them."""
        return self._arguments.model

    @property
    def function(self) -> Callable[..., Any]:
        """The author's function or class."""
        return self._function

    @property
    def description(self) -> str:
        """What it does and when to use it."""
        return self._options.description

    @property
    def modalities(self) -> tuple[str, ...]:
        """DICOM modalities that it is made for; empty for any."""
        return self._options.modalities

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call it at once: a function, or a class that says so."""
        return self._instances is None or self._options.concurrent

    @property
    def batched(self) -> bool:
        """Whether it has a kernel for several calls at once."""
        return self._batch is not None

    @property
    def batch_kernel(self) -> Callable[..., Sequence[Any]] | None:
        """The kernel for several calls at once, as `batch` was given it; None where there is none."""
        return self._batch

    @property
    def python(self) -> str | None:
        """The interpreter whose packages it needs, run as a process of its own; None for this one."""
        return self._options.python

    @property
    def weights(self) -> tuple[str, ...]:
        """Files that its results depend on, such as those of a network; the lock of a toolbox holds their hash."""
        return self._options.weights

    def with_metadata(self, **changes: Any) -> Tool:
        """The same tool under another plugin, version or name; kernels and state are shared.

        Args:
            **changes: `plugin`, `version`, `name` or others of `ToolOptions`.
        """
        return self._copy(dataclasses.replace(self._options, **changes), self.device)

    def on_device(self, device: str) -> Tool:
        """The same tool, whose class is set up on `device` ("cpu", "cuda:0", ...); a function has no device."""
        return self._copy(self._options, device)

    def made_by(self, make: Callable[..., Tool], *arguments: Any) -> Tool:
        """The same tool, which is made anew by `make(*arguments)` where it is unpickled, as no module holds it by name.

        Args:
            make: A function at the top of a module.
            *arguments: What it is given; they can be pickled.
        """
        return self._copy(self._options, self.device, (make, arguments))

    def _copy(
        self,
        options: ToolOptions,
        device: str,
        maker: tuple[Callable[..., Tool], tuple[Any, ...]] | None = None,
    ) -> Tool:
        return Tool(
            self._function, self._arguments, options, instances=self._instances, batch=self._batch, device=device,
            maker=maker or self._maker,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<tool {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._arguments, JsonSchemaArguments):
            return Tool.from_schema, (self.spec, self._function, self._arguments.check)
        changes = {"plugin": self.plugin, "version": self._options.version, "name": self.name}
        if self._maker is not None:
            return _make_tool_anew, (*self._maker, changes, self.device)
        return _unpickle_tool, (self.__module__, self.__qualname__, changes, self.device)

    # -- running

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:  # an argument may be called `self`
        if self._instances is None:
            return self._function(*args, **kwargs)
        instance, lock = self._instance()
        with lock:
            return instance.run(*args, **kwargs)

    def batch(self, kernel: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        """Decorator: a kernel over several calls' arguments; the i-th result, or exception, belongs to the i-th call."""
        self._batch = kernel
        return kernel

    def setup(self, device: str | None = None) -> None:
        """Load what a class keeps on a device, its own unless one is named; called once, before its first run.

        Raises:
            ToolError: `tool_failed`, since this machine has no such device.
        """
        if self._instances is not None:
            self._instances.get(self.name, device or self.device)

    def _instance(self) -> tuple[Any, AbstractContextManager[Any]]:
        """The instance, and what is held while it runs."""
        assert self._instances is not None
        instance, lock = self._instances.get(self.name, self.device)
        return instance, contextlib.nullcontext() if self._options.concurrent else lock

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments in a new dict, defaults filled in, image arguments still handles.

        Raises:
            ToolError: `bad_arguments`, naming the argument and what is accepted.
        """
        return self.check(arguments).values

    def check(self, arguments: Mapping[str, Any]) -> CheckedArguments:
        """As `validate`, with the JSON values that were found valid and what had to be mended in them."""
        return check_arguments(self.name, self._arguments, arguments)

    def run(self, arguments: Mapping[str, Any]) -> ToolResult:
        """Run on validated arguments in which handles are already images; a failure is in the result's `error`."""
        began = perf_counter()
        try:
            return coerce_result(self.name, self(**arguments), perf_counter() - began)
        except Exception as error:  # noqa: BLE001 the one boundary between authors' code and ours
            return ToolResult(error=wrap_exception(self.name, error), seconds=perf_counter() - began)

    def run_batch(self, calls: Sequence[Mapping[str, Any]]) -> list[ToolResult]:
        """`run` for several calls, in one kernel where the tool has one.

        A batch that exhausts memory is run again in halves, one that fails otherwise call by call.
        """
        if self._batch is None or len(calls) < 2:
            return [self.run(arguments) for arguments in calls]
        try:
            values = list(self._run_kernel_batch(self._batch, calls))
        except Exception as error:  # noqa: BLE001 a poisoned batch must not cost the others their result
            out_of_memory = is_out_of_memory(error)
        else:
            return self._split_results(values, len(calls))
        if not out_of_memory:  # outside of the handler, whose error keeps alive what the kernel had allocated
            return [self.run(arguments) for arguments in calls]
        free_unused_memory()
        middle = len(calls) // 2
        return self.run_batch(calls[:middle]) + self.run_batch(calls[middle:])

    def _run_kernel_batch(
        self, kernel: Callable[..., Sequence[Any]], calls: Sequence[Mapping[str, Any]]
    ) -> Sequence[Any]:
        if self._instances is None:
            return kernel(calls)
        instance, lock = self._instance()
        with lock:
            return kernel(instance, calls)

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


def _make_tool_anew(
    make: Callable[..., Tool], arguments: tuple[Any, ...], changes: dict[str, Any], device: str
) -> Tool:
    return make(*arguments).with_metadata(**changes).on_device(device)


def _unpickle_tool(module: str, qualname: str, changes: dict[str, Any], device: str = CPU) -> Tool:
    attribute: Any = importlib.import_module(module)
    for part in qualname.split("."):
        attribute = getattr(attribute, part)
    if not isinstance(attribute, Tool):
        raise TypeError(f"{module}.{qualname} is not a tool")
    return attribute.with_metadata(**changes).on_device(device)
