"""`morphology`: masks mended with a disc, and what of images it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from medvistagym_core.imaging import MASK_WINDOW, Image
from medvistagym_core.tools import Tool
from medvistagym_kornia import Morphology

morphology = cast(Tool, Morphology)  # to a type checker a decorated class is still the class


def test_a_mask_is_mended() -> None:
    pixels = np.zeros((40, 40), bool)
    pixels[10:30, 10:30] = True
    pixels[2, 2] = True
    pixels[20, 20] = False
    mask = Image(pixels=pixels, unit="mask", window=MASK_WINDOW)
    assert morphology(mask, operation="erode", radius=3).pixels.sum() < pixels.sum()
    assert not morphology(mask, operation="open", radius=2).pixels[2, 2]
    assert morphology(mask, operation="close", radius=2).pixels[20, 20]
    assert morphology(mask, operation="top_hat", radius=2).pixels[2, 2]
    assert morphology(mask, operation="dilate", radius=1).pixels.dtype == bool
    assert morphology(mask, operation="black_hat", radius=2).window == MASK_WINDOW


def test_where_low_is_bright_it_is_refused(scan: Callable[..., Image], refusal: Callable[..., str]) -> None:
    assert "MONOCHROME1" in refusal(morphology, image=scan(photometric="MONOCHROME1"), operation="erode")
