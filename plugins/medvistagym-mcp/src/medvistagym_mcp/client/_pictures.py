"""Pictures that a server sends, decoded in a process of their own: one that crashes its decoder fails its own call alone."""

from __future__ import annotations

import atexit
import tempfile
import threading
import time
from typing import Final

from medvistagym_core.execution import ImageStore, ProcessExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.tools import Toolbox, ToolCall, ToolError
from medvistagym_mcp._read_image_file import read_picture_file

MAX_IMAGE_BYTES: Final = 64 * 2**20
MAX_PIXELS: Final = 80_000_000
_MEMORY_BYTES: Final = 2**30
READ_S: Final = 60.0
"""For all pictures of a result: there is one process for those of all servers."""
_lock: Final = threading.Lock()
_executors: Final[list[ProcessExecutor]] = []


def decode_picture(tool: str, data: bytes, deadline: float) -> Image:
    """The image of a picture's bytes.

    Args:
        tool: Name of the tool that returned it, for errors.
        data: A PNG, JPEG, WebP, GIF, BMP or TIFF.
        deadline: When the result that it belongs to is given up, as `time.monotonic` counts.

    Raises:
        ToolError: It cannot be read, or not in time.
    """
    late = ToolError("timeout", f"{tool} returned images that take more than {READ_S:g} s to read.")
    if (left_s := deadline - time.monotonic()) <= 0:
        raise late
    with tempfile.NamedTemporaryFile(prefix="medvistagym-") as file:
        file.write(data)
        file.flush()
        arguments = {"path": file.name, "max_pixels": MAX_PIXELS, "memory_bytes": _MEMORY_BYTES}
        call = ToolCall(name=read_picture_file.name, arguments=arguments)
        ((result,),) = _executor().run([(ImageStore(), [call])], max_timeout_s=left_s)
    if result.error is None:
        return result.images[0]
    if result.error.code == "timeout":
        raise late
    if "that may be opened" in result.error.message or "is the most" in result.error.message:
        reason = result.error.message.partition(": ")[2] or result.error.message
        raise ToolError("tool_failed", f"{tool} returned an image that is too large: {reason}")
    raise ToolError("tool_failed", f"{tool} returned an image that cannot be read.")


def _executor() -> ProcessExecutor:
    with _lock:
        if not _executors:
            reading = read_picture_file.with_metadata(timeout_s=READ_S)
            _executors.append(ProcessExecutor(Toolbox({reading.name: reading}), processes=1, cache_bytes=0))
        return _executors[0]


def close_reader() -> None:
    """End the process that decodes pictures; the next picture starts another."""
    with _lock:
        while _executors:
            _executors.pop().close()


atexit.register(close_reader)
