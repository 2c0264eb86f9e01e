"""The tools that looks are made with: the very ones a policy calls, so that a look shows what a call will show."""

from __future__ import annotations

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolCall, ToolResult


def result(call: ToolCall, image: Image) -> ToolResult:
    """What a call of `window`, `zoom` or `measure` gives on `image`, whatever handle it names.

    Raises:
        ToolError: The tool does not take the arguments.
    """
    from medvistagym_dicom import measure, window, zoom

    tool = {"window": window, "zoom": zoom, "measure": measure}[call.name]
    given = tool.run({**tool.validate({"image": 0, **call.arguments}), "image": image})
    if given.error is not None:
        raise given.error
    return given


def picture(call: ToolCall, image: Image) -> Image:
    """The picture that a call of `window` or `zoom` makes of `image`."""
    return result(call, image).images[0]


def reading(call: ToolCall, image: Image) -> str:
    """The text that a call of `measure` returns."""
    return result(call, image).text
