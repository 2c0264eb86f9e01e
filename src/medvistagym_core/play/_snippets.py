"""A call as text to copy: as a policy writes it, as Python, and, by whoever knows the shell, as a command.

Images are named by handles, so a text that stands alone also makes the images that the call needs, from their files on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medvistagym_core.tools import Toolbox


@dataclasses.dataclass(frozen=True)
class OpenedImage:
    """An image that was opened from a file: where it is, and its place among the images there."""

    path: Path
    index: int
    of: int

    @property
    def name(self) -> str:
        """What the page calls it: the file's name, and its place among several images."""
        name = self.path.resolve().name
        return name if self.of == 1 else f"{name} [{self.index}]"


@dataclasses.dataclass(frozen=True)
class ScriptCall:
    """A call with what its images are.

    Attributes:
        name: The tool.
        arguments: As they were sent, with handles of the session.
        images: The handles it names, by argument: one, or a list.
        handles: Handles of the images it made; empty for one that has not run.
    """

    name: str
    arguments: Mapping[str, Any]
    images: Mapping[str, int | list[int]]
    handles: tuple[int, ...] = ()

    @property
    def named(self) -> list[int]:
        """The handles it names, in order."""
        return [h for value in self.images.values() for h in (value if isinstance(value, list) else [value])]


ShellWriter = Callable[[Toolbox, Mapping[int, OpenedImage], Sequence[ScriptCall]], str]
"""Writes commands that make the calls, of the opened images by handle and the calls in order, the last one being asked for."""


def needed_calls(calls: Sequence[ScriptCall], last: ScriptCall) -> list[ScriptCall]:
    """The calls that make the images of `last`, in order, and `last` itself."""
    wanted, needed = set(last.named), [last]
    for call in reversed(calls):
        if wanted & set(call.handles):
            wanted |= set(call.named)
            needed.append(call)
    return needed[::-1]


def python_script(opened: Mapping[int, OpenedImage], calls: Sequence[ScriptCall]) -> str:
    """A program that opens the files and makes the calls; handles are counted anew, as in an episode of these alone."""
    used = {h for call in calls for h in call.named}
    sources = {handle: image for handle, image in opened.items() if handle in used}
    renamed = {handle: position for position, handle in enumerate(sources)}
    lines = [
        "from pathlib import Path", "", "from medvistagym_core import ImageStore, LocalExecutor, Registry, ToolCall",
        "from medvistagym_core.imaging import read_raster", "", "registry = Registry.discover()", "", "", "def read(path):",
        "    readers = (*registry.readers, read_raster)",
        "    return next(images for reader in readers if (images := reader(Path(path))) is not None)", "", "",
    ]  # fmt: skip
    images = ", ".join(f"read({str(image.path)!r})[{image.index}]" for image in sources.values())
    lines.append(f"store = ImageStore([{images}])")
    lines.append("calls = [")
    count = len(sources)
    for call in calls:
        lines.append(f"    ToolCall(name={call.name!r}, arguments={_renamed(call, renamed)!r}),")
        for handle in call.handles:
            renamed[handle], count = count, count + 1
    names = ",".join(dict.fromkeys(call.name for call in calls))
    lines += [
        "]", "", f"with LocalExecutor(registry.toolbox({names!r})) as executor:", "    for call in calls:",
        "        ((result,),) = executor.run([(store, [call])])", '        print(result.error or result.text or "no text")',
        "for image in result.images:", '    image.save("result.png")',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _renamed(call: ScriptCall, renamed: Mapping[int, int]) -> dict[str, Any]:
    """The arguments with handles of the program in place of those of the session."""
    arguments = dict(call.arguments)
    for name, value in call.images.items():
        new = [renamed.get(h, h) for h in value] if isinstance(value, list) else renamed.get(value, value)
        arguments[name] = new
    return arguments
