"""Volumes that know where they lie, and how these tests look at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolResult

Write = Callable[..., Path]
Named = Callable[[str], Image]
# Plane -> patient axis (0 left, 1 back, 2 head) that it is counted along, that its columns run along, and its rows, with sign.
VIEWS = {"axial": (2, (0, 1), (1, 1)), "coronal": (1, (0, 1), (2, -1)), "sagittal": (0, (1, 1), (2, -1))}
PLANES = list(VIEWS)
WEIGHTS = np.array([1.0, 3.0, 10.0])
HEAD = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # directions of a row, a column and the step between slices


def lying(
    directions: np.ndarray,
    spacing: Sequence[float] = (2.5, 0.75, 0.5),
    shape: tuple[int, int, int] = (9, 20, 26),
    **more: Any,
) -> Image:
    """A volume whose values are WEIGHTS times the place in the patient, in mm, so that every pixel tells where it lies."""
    row, column, step = directions
    k, j, i = np.indices(shape)
    places = [
        index[..., None] * unit * s for index, unit, s in zip((k, j, i), (step, column, row), spacing, strict=True)
    ]
    normal = np.cross(row, column)
    height = spacing[0] * abs(float(step @ normal))
    told = " ".join(f"{v:.9g}" for v in directions.ravel())
    attributes = {"direction": told, **more.pop("attributes", {})}
    return Image(
        pixels=sum(places) @ WEIGHTS, unit="HU", spacing=(height, *spacing[1:]), attributes=attributes, **more
    )  # fmt: skip


def run(tool: Any, **arguments: Any) -> tuple[Image, ToolResult]:
    result = tool.run(arguments)
    assert result.error is None, result.error
    return result.images[0], result


def turned(degrees: float, axis: Sequence[float]) -> np.ndarray:
    """Directions turned about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    turn = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return np.asarray(HEAD @ turn.T)
