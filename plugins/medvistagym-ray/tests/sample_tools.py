"""Tools that the tests have run in workers, which load this file."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import Tool, tool


@tool
def crop(image: Image, box: Box) -> Image:
    """Cut out a part of an image.

    Args:
        image: The image.
        box: What to cut out.
    """
    return image.crop(*image.box_to_pixels(box))


@tool
def invert(image: Image) -> Image:
    """Invert an image.

    Args:
        image: The image.
    """
    return image.with_pixels(image.pixels.max() + image.pixels.min() - image.pixels)


@tool
class Mean:
    """The mean of an image, in the type of its values, so that it depends on the order in which they are added."""

    def setup(self, device: str) -> None:
        self.calls = 0

    def run(self, image: Image) -> dict[str, float]:
        """The mean of an image.

        Args:
            image: The image.
        """
        return {"mean": float(np.mean(image.pixels))}


@tool
class Total:
    """The sum of an image, by a kernel for many."""

    def run(self, image: Image) -> dict[str, float]:
        """The sum of an image.

        Args:
            image: The image.
        """
        return {"total": float(np.sum(image.pixels))}


@cast(Tool, Total).batch  # to a type checker a decorated class is still the class
def total_of_many(self: Any, calls: Any) -> Any:
    return [{"total": float(np.sum(call["image"].pixels))} for call in calls]


@tool(deterministic=False)
class Together:
    """Says how many calls its kernel was given."""

    def run(self, image: Image) -> int:
        """Say how many calls the kernel was given.

        Args:
            image: The image.
        """
        return 1


@cast(Tool, Together).batch
def together(self: Any, calls: Any) -> Any:
    return [len(calls)] * len(calls)


@tool(deterministic=False, timeout_s=1.0)
class Trouble:
    """Does what it should not."""

    def run(self, how: str, log: str = "") -> str:
        """Do what one should not.

        Args:
            how: What.
            log: File in which each try is noted.
        """
        if log:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{how}\n")
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "die once" and Path(log).read_text("utf-8").count(how) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            ctypes.PyDLL(None).sleep(30)  # and keeps the interpreter to itself
        if how == "exit":
            raise SystemExit(3)
        if how == "raise":
            raise RuntimeError("out of order")
        return how


@tool(deterministic=False, timeout_s=None)
class Where:
    """Says who runs it."""

    def run(self, seconds: float = 0.0) -> dict[str, Any]:
        """Say who runs it.

        Args:
            seconds: How long it takes.
        """
        began = time.time()
        time.sleep(seconds)
        return {"process": os.getpid(), "began": began, "ended": time.time()}


@tool(deterministic=False)
class Nap:
    """Takes 50 ms."""

    def run(self, image: Image) -> str:
        """Take 50 ms.

        Args:
            image: The image.
        """
        time.sleep(0.05)
        return "well rested"


@tool
def huge() -> Image:
    """Make an image of 64 MiB."""
    return Image(pixels=np.zeros((64, 1024, 1024), np.uint8))
