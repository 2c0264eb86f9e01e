"""A call as text to copy: as a policy writes it, as Python, and, by whoever knows the shell, as a command.

Images are named by handles, so a text that stands alone also makes the images that the call needs, from their files on.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medvistagym_core.interactive import ToolFunctions
from medvistagym_core.tools import Toolbox


@dataclasses.dataclass(frozen=True)
class OpenedImage:
    """An image that was opened from a file.

    Attributes:
        path: The file or folder.
        index: Its place among the images there, from 0.
        of: How many images there are.
    """

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
    """A program that opens the files and makes the calls; its images are named by the handles of the session."""
    used = {h for call in calls for h in call.named}
    names = ",".join(dict.fromkeys(call.name for call in calls))
    lines = ["import medvistagym_core as mv", "", f"tools = mv.tools({names!r})"]
    for handle, image in opened.items():
        if handle in used:
            index = "" if image.of == 1 else f", index={image.index}"
            lines.append(f"image_{handle} = mv.open({str(image.path)!r}{index})")
    for call in calls:
        lines.append(f"result = {_python_call(call)}")
        lines += [
            f"image_{handle} = result.images[{place}]" for place, handle in enumerate(call.handles) if handle in used
        ]
    lines += ['print(result.text or "no text")', "for image in result.images:", '    image.save("result.png")']
    return "\n".join(lines) + "\n"


def _python_call(call: ScriptCall) -> str:
    """A call as Python, images first, in the order of the tool's arguments."""
    by_attribute = (
        call.name.isidentifier() and not keyword.iskeyword(call.name) and not hasattr(ToolFunctions, call.name)
    )
    arguments = [f"{name}={_image_names(value)}" for name, value in call.images.items()]
    arguments += [f"{name}={value!r}" for name, value in call.arguments.items() if name not in call.images]
    return f"tools{f'.{call.name}' if by_attribute else f'[{call.name!r}]'}({', '.join(arguments)})"


def _image_names(handles: int | list[int]) -> str:
    return f"[{', '.join(f'image_{h}' for h in handles)}]" if isinstance(handles, list) else f"image_{handles}"
