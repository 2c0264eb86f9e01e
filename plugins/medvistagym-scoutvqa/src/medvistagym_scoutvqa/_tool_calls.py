"""Calls of the tools that a policy calls, outside of an episode: a perception item shows what a call would show."""

from __future__ import annotations

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolCall, ToolResult


def run_tool(call: ToolCall, image: Image) -> ToolResult:
    """What a call of `window`, `zoom` or `measure` gives on `image`, whatever handle it names.

    Raises:
        ToolError: The tool does not take the arguments.
    """
    from medvistagym_dicom import measure, window, zoom

    tool = {"window": window, "zoom": zoom, "measure": measure}[call.name]
    result = tool.run({**tool.validate({"image": 0, **call.arguments}), "image": image})
    if result.error is not None:
        raise result.error
    return result


def tool_image(call: ToolCall, image: Image) -> Image:
    """The image that a call of `window` or `zoom` makes of `image`."""
    return run_tool(call, image).images[0]


def tool_text(call: ToolCall, image: Image) -> str:
    """The text that a call of `measure` returns."""
    return run_tool(call, image).text
