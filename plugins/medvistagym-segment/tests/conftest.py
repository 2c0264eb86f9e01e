"""What several tests share: a chest of known shapes, the sentence of a refusal, and a segmenter that the environment names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, Segmenter, Window
from medvistagym_core.tools import Tool, ToolError
from medvistagym_segment import SEGMENTERS_ENV_VAR, load_segmenter


@pytest.fixture
def chest() -> Callable[..., Image]:
    """A function that makes a body of 40 HU with two lungs of -800 HU, a spine of 600 HU, noise, and a table.

    1 mm in plane; with a number of slices a volume, 2 mm between them, of which three at the start and two at the end are air.
    """

    def make(slices: int | None = None, **changes: Any) -> Image:
        y, x = np.mgrid[:160, :200]
        plane = np.full((160, 200), -1000.0)
        plane[((x - 100) / 80) ** 2 + ((y - 75) / 60) ** 2 < 1] = 40
        for center in (65, 135):
            plane[((x - center) / 22) ** 2 + ((y - 75) / 35) ** 2 < 1] = -800
        plane[(x - 100) ** 2 + (y - 110) ** 2 < 100] = 600
        plane[148:150, 20:180] = 100
        attributes: dict[str, Any] = {
            "unit": "HU",
            "modality": "CT",
            "spacing": (1.0, 1.0),
            "window": Window(40, 400),
            **changes,
        }
        if slices is not None:
            volume = np.repeat(plane[None], slices, 0)
            volume[:3], volume[-2:] = -1000, -1000
            plane, attributes["spacing"] = volume, (2.0, 1.0, 1.0)
        plane = plane + np.random.default_rng(0).normal(0, 10, plane.shape)
        return Image(pixels=plane.astype(np.int16), **attributes)

    return make


@pytest.fixture
def refusal() -> Callable[..., str]:
    """A function that calls a tool, with its defaults, and gives the sentence by which it refuses."""

    def call(tool: Tool, **arguments: Any) -> str:
        defaults = {name: field.default for name, field in tool.arguments.model_fields.items()}
        error = tool.run({**defaults, **arguments}).error
        assert isinstance(error, ToolError)
        assert error.code == "bad_value", error
        return error.message

    return call


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object], Segmenter]]:
    """A function that loads a segmenter which the environment names by a target."""

    def call(target: object) -> Segmenter:
        monkeypatch.setenv(SEGMENTERS_ENV_VAR, f"mine={target}")
        load_segmenter.cache_clear()
        return load_segmenter("mine", "cpu")

    yield call
    load_segmenter.cache_clear()
