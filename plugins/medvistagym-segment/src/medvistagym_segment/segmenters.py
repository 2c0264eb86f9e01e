"""What a segmenter is, and which there are.

Built in are the classical ones and, where its package is installed, the brain network. Others are named by the environment
variable MEDVISTAGYM_SEGMENTERS, `name=where` separated by semicolons, where `where` is the folder of a MONAI bundle or of a
SAM-family model of transformers, or `module:attribute` for a `Segmenter` in Python. Names become choices of the tools'
`method`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    import numpy as np

VARIABLE: Final = "MEDVISTAGYM_SEGMENTERS"
CLASSICAL: Final = ("body", "bone", "lung", "otsu", "region")
_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,31}$")


@dataclasses.dataclass(frozen=True)
class Where:
    """What a policy pointed at, in pixels of the frame that the image shows.

    Attributes:
        point: `(x, y)`, a pixel; or None.
        box: `(x0, y0, x1, y1)`, the last two exclusive; or None.
        tolerance: Greatest distance from the value at the point, in the image's unit; None to find it from the image.
    """

    point: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    tolerance: float | None = None


class Segmenter(Protocol):
    """Finds a structure in an image."""

    def __call__(self, image: Image, where: Where) -> np.ndarray:
        """The mask of what it found.

        Args:
            image: One frame, or a volume `(N, H, W)` with `spacing` of three; `where` lies in the slice `image.frame`.
            where: What was pointed at; a segmenter that needs a point or a box refuses to go without.

        Returns:
            Booleans of the shape `(H, W)` or `(N, H, W)`.

        Raises:
            ValueError: It cannot work on this image; a sentence that says what it takes.
        """
        ...


def available() -> tuple[str, ...]:
    """The names of the segmenters, sorted.

    Raises:
        ValueError: MEDVISTAGYM_SEGMENTERS is not written as it should be.
    """
    brain = ("brain",) if importlib.util.find_spec("deepbet") else ()
    return tuple(sorted({*CLASSICAL, *brain, *configured()}))


def configured() -> Mapping[str, str]:
    """The segmenters that the environment names: folder, or `module:attribute`, by name."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(";"))):
        name, equals, target = (piece.strip() for piece in part.partition("="))
        if not equals or not target or not _NAME.match(name):
            raise ValueError(
                f"{VARIABLE} is name=folder or name=module:attribute, separated by semicolons, not {part!r}"
            )
        if name in (*CLASSICAL, "brain") or name in found:
            raise ValueError(f"{VARIABLE} names {name!r}, which is taken already")
        found[name] = target
    return found


def bundles() -> Mapping[str, Path]:
    """The folders of the MONAI bundles among the configured segmenters, by name, sorted."""
    return {name: Path(where).expanduser() for name, where in sorted(configured().items()) if _is_bundle(where)}


def _is_bundle(target: str) -> bool:
    return (Path(target).expanduser() / "configs" / "metadata.json").is_file()


@functools.lru_cache(maxsize=8)
def segmenter(name: str, device: str) -> Segmenter:
    """A segmenter by its name, loaded; kept, so that tools share it.

    Raises:
        ValueError: It cannot be loaded; the sentence says why.
    """
    if name in CLASSICAL:
        classical = importlib.import_module("medvistagym_segment.classical")
        found: Segmenter = getattr(classical, name)
        return found
    if name == "brain":
        from medvistagym_segment.brain import Brain

        return Brain(device)
    target = configured().get(name)
    if target is None:
        raise ValueError(f"there is no segmenter {name}; the segmenters are {', '.join(available())}")
    folder = Path(target).expanduser()
    if _is_bundle(target):
        if not all(map(importlib.util.find_spec, ("monai", "torch"))):
            raise ValueError(
                f"the segmenter {name} is a MONAI bundle, which needs MONAI: pip install 'medvistagym-segment[bundle]'"
            )
        from medvistagym_segment.bundle import Bundle

        return Bundle(folder, device)
    if (folder / "config.json").is_file():
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type", "")
        if not str(kind).startswith(("sam", "edgetam")):
            raise ValueError(
                f"the segmenter {name} is a model of type {kind!r}, and models of the SAM family are taken"
            )
        from medvistagym_segment.sam import Sam

        return Sam(folder, device)
    module, colon, attribute = target.partition(":")
    if colon and re.match(r"^[A-Za-z_][\w.]*$", module) and attribute.isidentifier():
        given: Segmenter = getattr(importlib.import_module(module), attribute)
        return given
    raise ValueError(
        f"the segmenter {name} is not to be found: its folder has no configs/metadata.json (MONAI bundle) nor config.json"
    )
