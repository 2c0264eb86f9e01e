"""A wrapper that checks what a plugin's reader returns: images, None, or a `ValueError` with a sentence."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvistagym_core.imaging import Image, Reader
from medvistagym_core.plugins._hooks import contribution_name


class PluginWarning(UserWarning):
    """Something that a plugin offers does not do what it promises; it was left out of what was asked for."""


@dataclasses.dataclass(frozen=True)
class GuardedReader:
    """A reader that costs no more than itself when it fails.

    What a reader says of a file of its kind (ValueError, OSError) is passed on, and so is a MemoryError. One that breaks in
    any other way, ends the program or returns what are no images is named in a `PluginWarning`, and the next reader is asked.

    Attributes:
        reader: The plugin's reader.
        plugin: Name of the plugin.
    """

    reader: Reader
    plugin: str

    @property
    def name(self) -> str:
        """Its name within the plugin."""
        return contribution_name(self.reader)

    def __call__(self, path: Path) -> Sequence[Image] | None:
        """The images in a file or folder; None where it is not of this reader's kind, or the reader is broken."""
        images: Any  # what a plugin gives may be anything
        try:
            images = self.reader(path)
        except (ValueError, OSError, MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 a plugin's fault, SystemExit too
            self._warn(path, f"failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return None
        if images is None:
            return None
        if not isinstance(images, Sequence) or isinstance(images, str | bytes):
            self._warn(path, f"gave {type(images).__name__}, not a list of images or None,")
            return None
        strays = [type(image).__name__ for image in images if not isinstance(image, Image)]
        if strays:
            self._warn(path, f"gave {strays[0]} among its images,")
            return None
        return images

    def _warn(self, path: Path, what: str) -> None:
        warnings.warn(
            f"the reader {self.name} of the plugin {self.plugin} {what} for {path.name}, and was left out",
            PluginWarning,
            stacklevel=3,
        )
