"""What the tests of several tools share: a scan of known shapes, and the sentence of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import Tool, ToolError


@pytest.fixture
def scan() -> Callable[..., Image]:
    """A function that makes two noisy squares in air, in HU."""

    def make(height: int = 96, width: int = 128, **changes: Any) -> Image:
        pixels = np.full((height, width), -1000.0)
        pixels[height // 4 : height // 2, width // 4 : width // 2] = 40
        pixels[height // 2 : height * 3 // 4, width // 2 : width * 3 // 4] = 400
        pixels += np.random.default_rng(0).normal(0, 20, pixels.shape)
        attributes: dict[str, Any] = {
            "unit": "HU",
            "modality": "CT",
            "spacing": (0.5, 0.25),
            "window": Window(40, 400),
            **changes,
        }
        return Image(pixels=pixels.astype(np.int16), **attributes)

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
