"""What these tests serve, and how they read the answers."""

from __future__ import annotations

import base64
import io
from typing import Annotated

import numpy as np
import PIL.Image
from mcp import types
from pydantic import Field

from medvistagym_core import Box, Image, Toolbox, tool

TOKEN = "a-token-for-the-tests"


@tool
def cut(image: Image, box: Box, gain: Annotated[float, Field(gt=0)] = 1.0) -> tuple[Image, dict[str, float]]:
    """Cut out a part.

    Args:
        image: The image.
        box: What to cut out.
        gain: A factor.
    """
    return image.crop(*image.box_to_pixels(box)), {"mean": float("nan"), "gain": gain}


@tool
def noise(image: Image, seed: int = 0) -> Image:
    """Make another image, of 8 KB.

    Args:
        image: Any image.
        seed: Which.
    """
    return image.with_pixels(np.full((64, 128), seed, np.uint8))


@tool
def leak(image: Image) -> str:
    """Fail, and say where.

    Args:
        image: Any image.
    """
    raise RuntimeError("weights are missing at /opt/secret/place/weights.pt, or 3/4 of them")


@tool
def words(image: Image) -> str:
    """Say much.

    Args:
        image: Any image.
    """
    return "word " * 20_000


def grey(height: int = 64, width: int = 128) -> Image:
    return Image(pixels=(np.arange(height * width) % 251).astype(np.uint8).reshape(height, width))


TOOLBOX = Toolbox({t.name: t for t in (cut, noise, leak, words)})


def pictures(result: types.CallToolResult) -> list[np.ndarray]:
    blocks = [block for block in result.content if isinstance(block, types.ImageContent)]
    assert all(block.mime_type == "image/png" for block in blocks)
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(block.data)))) for block in blocks]


def said(result: types.CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, types.TextContent)]
