"""Calls of tools, and the images they are called on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import ToolResult

Named = Callable[[str], Image]
Write = Callable[..., Path]
WHOLE = Box(0, 0, 1000, 1000)
grid_points = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(list)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(st.integers(0, 999)), draw(st.integers(0, 999))
    return Box(x0, y0, draw(st.integers(x0 + 1, 1000)), draw(st.integers(y0 + 1, 1000)))


def ct_slice(height: int = 200, width: int = 300, **changes: Any) -> Image:
    """A noisy slice in HU."""
    pixels = np.random.default_rng(0).normal(40, 200, (height, width)).astype(np.int16)
    changes = {"unit": "HU", "modality": "CT", "spacing": (0.5, 0.25), "window": Window(40, 400), **changes}
    return Image(pixels=pixels, **changes)


def text_and_data(tool: Any, **arguments: Any) -> tuple[str, dict[str, Any]]:
    result: ToolResult = tool.run(arguments)
    assert result.error is None, result.error
    assert result.data is not None
    json.dumps(result.data, allow_nan=False)
    return result.text, result.data


def error_message(tool: Any, **arguments: Any) -> str:
    error = tool.run(arguments).error
    assert error is not None
    assert error.code == "bad_value"
    return str(error.message)
