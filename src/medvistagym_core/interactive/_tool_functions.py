"""Tools called as functions, by the way that a policy's calls go.

`mv.tools().zoom(image, box=[0, 0, 500, 500])` makes a `ToolCall` in which the image is a handle, and hands it to an executor,
which validates it, runs it and caches it. So a person reads the sentences that a policy reads.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.interactive._registry import installed_registry
from medvistagym_core.tools import Toolbox, ToolCall, ToolError, ToolResult, closest_match, to_json_value

if TYPE_CHECKING:
    from medvistagym_core.plugins import Registry
    from medvistagym_core.tools import Tool


def toolbox(
    select: str | Iterable[str] = "*",
    *,
    device: str | Mapping[str, str] | None = None,
    registry: Registry | None = None,
) -> ToolFunctions:
    """The installed tools as functions: `toolbox().window(image, center=40, width=400)`.

    Args:
        select: Names, ids or patterns, as of `--tools`: "window,zoom", "dicom:*", "alias=plugin:name", "!name".
        device: Where tools that hold a model are set up: "cpu", "cuda:0", or a mapping by name or pattern.
        registry: Whose tools; those of the installed plugins when None.

    Raises:
        SelectionError: A part of the selection matches nothing, or a name is offered by two plugins.
    """
    devices = {"*": device} if isinstance(device, str) else device
    return ToolFunctions((registry or installed_registry()).toolbox(select, devices=devices))


class ToolFunctions(Mapping[str, "ToolFunction"]):
    """Tools as functions, by attribute or by name; `toolbox` is the toolbox that they are.

    A tool whose name is that of an attribute of this class, such as `get` or `keys`, is had by its name alone: `tools["get"]`.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self._executor: LocalExecutor | None = None

    def __getitem__(self, name: str) -> ToolFunction:
        return ToolFunction(self.toolbox[name], self._run)

    def __iter__(self) -> Iterator[str]:
        return iter(self.toolbox)

    def __len__(self) -> int:
        return len(self.toolbox)

    def __getattr__(self, name: str) -> ToolFunction:
        if name.startswith("_") or name == "toolbox":
            raise AttributeError(name)
        if name not in self.toolbox:
            suggestion = closest_match(name, list(self.toolbox))
            guess = f"did you mean {suggestion}?" if suggestion else f"there are: {', '.join(self.toolbox) or 'none'}."
            raise AttributeError(f"there is no tool {name!r}; {guess}")
        return self[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.toolbox]

    def __repr__(self) -> str:
        return f"<tools {', '.join(self) or 'none'}>"

    def _repr_html_(self) -> str:
        return self.toolbox._repr_html_()

    def _run(self, images: list[Image], call: ToolCall) -> ToolResult:
        if self._executor is None:
            self._executor = LocalExecutor(self.toolbox, workers=4)
            weakref.finalize(self, self._executor.close)
        ((result,),) = self._executor.run([(ImageStore(images), [call])])
        if result.error is not None:
            raise result.error
        return result


class ToolFunction:
    """One tool as a function of images and plain values.

    An image is an `Image`, or a result that holds one. Other arguments are the JSON values of a policy's call: numbers,
    text,
    lists; tuples, arrays of NumPy and `Box` are taken as such lists.

    Args:
        tool: The tool.
        run: Makes a call, whose handles are positions among the images that it is given.
    """

    def __init__(self, tool: Tool, run: Callable[[list[Image], ToolCall], ToolResult]) -> None:
        self.tool = tool
        self._run = run
        self.__name__ = tool.name
        self.__doc__ = _documentation(tool)
        self.__signature__ = _signature(tool)

    def __call__(self, *images: Any, **arguments: Any) -> ToolResult:
        """Call the tool.

        Args:
            images: The images, in the order of the tool's arguments, and after them other arguments in their order.
            arguments: Arguments by name.

        Raises:
            ToolError: The call is not valid, or failed; the sentence is the one that a policy reads.
            TypeError: There are too many arguments, or one is given twice or is of a type that no call can hold.
        """
        try:
            bound = self.__signature__.bind_partial(*images).arguments
        except TypeError:
            names = ", ".join(self.__signature__.parameters)
            raise TypeError(f"{self.__name__} takes {names}; {len(images)} values were given without a name") from None
        for name in bound:
            if name in arguments:
                raise TypeError(f"{self.__name__} was given {name} twice")
        store: list[Image] = []
        given = {name: self._plain(name, value, store) for name, value in {**bound, **arguments}.items()}
        return self._run(store, ToolCall(name=self.tool.name, arguments=given))

    def _plain(self, name: str, value: Any, store: list[Image]) -> Any:
        """A value as a policy would write it: an image as its handle."""
        if name in self.tool.image_arguments:
            if isinstance(value, list | tuple):
                return [self._plain(name, one, store) for one in value]
            image = value.image if isinstance(value, ToolResult) else value
            if not isinstance(image, Image):
                message = (
                    f"{self.__name__}: {name} is an Image, such as mv.open(...) gives, not {type(value).__name__}."
                )
                raise ToolError("bad_arguments", message)
            store.append(image)
            return len(store) - 1
        try:
            return to_json_value(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.__name__}: {name}: {error}, which no call can hold") from None

    def __repr__(self) -> str:
        return f"<tool {self.tool.id}{self.__signature__}>"


def _signature(tool: Tool) -> inspect.Signature:
    """The tool's arguments, required ones first, so that a notebook completes and shows them."""
    properties, required = tool.spec.parameters["properties"], tool.spec.parameters.get("required", ())
    names = sorted(properties, key=lambda name: name not in required)
    missing = inspect.Parameter.empty
    return inspect.Signature([
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=missing if name in required else properties[name].get("default"),
        )
        for name in names
    ])  # fmt: skip


def _documentation(tool: Tool) -> str:
    lines = [tool.description, "", "Args:"]
    for name, schema in tool.spec.parameters["properties"].items():
        lines.append(f"    {name}: {schema.get('description', '')}")
    return "\n".join(lines)
