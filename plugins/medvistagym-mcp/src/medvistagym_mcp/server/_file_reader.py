"""Reading files that nobody vouches for: in a process of its own, with a deadline and a limit of memory.

A file that makes its decoder crash, hang or take gigabytes costs one error and that process; the server and its other
clients go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

from medvistagym_core.execution import ImageStore, ProcessExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.tools import Toolbox, ToolCall, ToolError
from medvistagym_mcp._read_image_file import read_image_file
from medvistagym_mcp.server._session import SessionLimits

_PROCESSES: Final = 2
_MEMORY_FACTOR: Final = 3  # the file, its values as they are decoded, and the image


class FileReader:
    """Reads image files with the readers of the installed plugins.

    Args:
        plugins: Which plugins are loaded, as for `Registry.discover`.
        limits: `read_s`, `pixels` and `session_bytes`.
    """

    def __init__(self, plugins: str | None, limits: SessionLimits) -> None:
        self._arguments: dict[str, Any] = {
            "plugins": plugins,
            "max_pixels": limits.pixels,
            "max_bytes": limits.session_bytes,
            "memory_bytes": _MEMORY_FACTOR * limits.session_bytes,
        }
        reading = read_image_file.with_metadata(timeout_s=limits.read_s)
        self._executor = ProcessExecutor(Toolbox({reading.name: reading}), processes=_PROCESSES, cache_bytes=0)

    def __call__(self, path: Path) -> list[Image]:
        """The images of a file or folder.

        Raises:
            ToolError: It cannot be read; the message says why, without the path.
        """
        arguments = {name: value for name, value in self._arguments.items() if value is not None}
        call = ToolCall(name=read_image_file.name, arguments={"path": str(path), **arguments})
        ((result,),) = self._executor.run([(ImageStore(), [call])])
        if result.error is not None:
            message = result.error.message.removeprefix(f"{call.name}: ").replace(call.name, "its reader")
            raise ToolError(result.error.code, message)
        return list(result.images)

    def close(self) -> None:
        """End the processes."""
        self._executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
