"""The images of one episode, by handle, and which of them a call names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, ToolCall, ToolError


class StoredImage(NamedTuple):
    """An image of an episode, and where it came from.

    Attributes:
        image: The image.
        parent: Handle of the image that it was made from; None for an image of the case.
        call: The call that made it; None for an image of the case.
    """

    image: Image
    parent: int | None = None
    call: ToolCall | None = None


class ImageStore:
    """The images of one episode by handle: 0, 1, ..."""

    def __init__(self, images: Sequence[Image] = ()) -> None:
        self._images: Sequence[Image] = images if type(images) is tuple else [*images]
        self._origins: dict[int, tuple[int | None, ToolCall | None]] = {}  # of those that were added later

    def add(self, image: Image, parent: int | None = None, call: ToolCall | None = None) -> int:
        """Store an image; its handle.

        Args:
            image: The image.
            parent: Handle of the image that it was made from, if any.
            call: The call that made it, if any.
        """
        handle = len(self._images)
        if not isinstance(self._images, list):  # those of a case are shared by its episodes, most of which add none
            self._images = [*self._images]
        self._images.append(image)
        self._origins[handle] = parent, call
        return handle

    @property
    def images(self) -> tuple[Image, ...]:
        """The images, by handle."""
        return tuple(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, handle: int) -> Image:
        return self._images[handle]

    def __iter__(self) -> Iterator[StoredImage]:
        for handle, image in enumerate(self._images):
            yield StoredImage(image, *self._origins.get(handle, ()))

    def describe_handles(self) -> str:
        """Which handles there are, for a sentence about one that is not there."""
        if len(self) < 2:
            return "the only image is 0" if len(self) else "there are no images"
        return f"the images are 0 to {len(self) - 1}"

    def resolve(self, tool: Tool, arguments: dict[str, Any]) -> list[Any] | int:
        """Put images in place of the handles in a call's arguments.

        Args:
            tool: The tool that is called.
            arguments: Its checked arguments; changed in place.

        Returns:
            The images in order, with the length of each list before it and None for one left out; or the first handle that
            does not exist.
        """
        images: list[Any] = []
        available = len(self._images)
        for name in tool.image_arguments:
            value = arguments[name]
            if isinstance(value, list):
                for handle in value:
                    if handle >= available:
                        return int(handle)
                arguments[name] = resolved = [self._images[handle] for handle in value]
                images += [len(resolved), *resolved]
            elif value is None:
                images.append(None)
            elif value >= available:
                return int(value)
            else:
                arguments[name] = image = self._images[value]
                images.append(image)
        return images


def referenced_handles(toolbox: Mapping[str, Tool], call: ToolCall) -> tuple[int, ...]:
    """The handles that a call names, in the order of its tool's arguments, whether they exist or not.

    Args:
        toolbox: The tools by name.
        call: A call as it was written, checked or not.
    """
    tool = toolbox.get(call.name)
    if tool is None:
        return ()
    sent: Mapping[str, Any] = call.arguments
    named = [sent.get(name) for name in tool.image_arguments]
    if any(isinstance(one, str | float) for value in named for one in (value if isinstance(value, list) else (value,))):
        with contextlib.suppress(ToolError):  # handles written as text, or as 1.0
            sent = tool.check(sent).sent
    return tuple(named_handles(tool, sent))


def named_handles(tool: Tool, sent: Mapping[str, Any]) -> Iterator[int]:
    """The handles in a call's arguments that are written as whole numbers, in the order of its tool's arguments."""
    for name in tool.image_arguments:
        value = sent.get(name)
        for handle in value if isinstance(value, list) else (value,):
            if isinstance(handle, int) and not isinstance(handle, bool) and handle >= 0:
                yield handle
