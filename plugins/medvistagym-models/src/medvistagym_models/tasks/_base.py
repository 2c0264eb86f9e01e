"""What a task makes of a model: the arguments that a policy may set, and the results of calls that run together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Image
from medvistagym_models._entry import ModelEntry

Call = Mapping[str, Any]


class TaskKind(Protocol):
    """What a task makes of a model.

    Attributes:
        returns: Annotation of what its tool returns.
    """

    returns: Any

    def parameters(self, entry: ModelEntry, labels: Sequence[str]) -> list[inspect.Parameter]:
        """The tool's arguments after the image.

        Args:
            entry: What models.toml says of the model.
            labels: What the model can find; empty where a phrase says it.
        """
        ...

    def results(self, entry: ModelEntry, model: Any, calls: Sequence[Call]) -> list[Any]:
        """For each call what its tool returns, or the exception that says why there is nothing.

        Args:
            entry: What models.toml says of the model.
            model: The loaded model, as `networks` describes it for the task.
            calls: Arguments of the calls.
        """
        ...


def parameter(
    name: str, annotation: Any, description: str, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """An argument of a tool, described."""
    described = Annotated[annotation, Field(description=description)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=described, default=default)


def image_parameter(description: str) -> inspect.Parameter:
    """The argument `image`."""
    return parameter("image", Image, description)


def threshold_parameter(entry: ModelEntry, default: float) -> inspect.Parameter:
    """The argument `threshold`."""
    value = default if entry.threshold is None else entry.threshold
    return parameter(
        "threshold",
        Annotated[float, Field(ge=0.01, le=0.99)],
        "Least probability that is reported: lower shows more that may be wrong, higher less.",
        max(0.01, min(0.99, value)),
    )


def labels_parameter(labels: Sequence[str]) -> list[inspect.Parameter]:
    """The argument `labels`, where there are several to choose among."""
    if len(labels) < 2:
        return []
    names: Any = Literal[tuple(labels)]
    return [
        parameter(
            "labels", Annotated[list[names], Field(min_length=1)] | None, "Report only these; all unless given.", None
        )
    ]


def frame_note(image: Image, frame: Image) -> str:
    """Which frame of a stack was looked at, as a sentence; empty where all were."""
    stack = image.detail or image
    if frame.is_stack or not stack.is_stack:
        return ""
    return f" Only frame {frame.attributes['frame']} of 0 to {stack.frames - 1} was looked at."


GridPoint = Annotated[list[Annotated[int, Field(ge=0, le=BOX_GRID_SIZE)]], Field(min_length=2, max_length=2)]


def each(calls: Sequence[Call], make: Callable[[Call], Any]) -> tuple[list[Any], list[int], list[Any]]:
    """What `make` gives for each call that it does not refuse.

    Returns:
        Results so far, with the exception of each call that was refused; the positions of the others; what was made for them.
    """
    results: list[Any] = [None] * len(calls)
    positions: list[int] = []
    values: list[Any] = []
    for position, call in enumerate(calls):
        try:
            values.append(make(call))
            positions.append(position)
        except ValueError as error:
            results[position] = error
    return results, positions, values
