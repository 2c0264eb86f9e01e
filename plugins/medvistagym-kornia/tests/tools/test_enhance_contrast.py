"""`enhance_contrast`: grey levels of the displayed picture, spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import Tool
from medvistagym_kornia import EnhanceContrast

Scan = Callable[..., Image]
enhance_contrast = cast(Tool, EnhanceContrast)  # to a type checker a decorated class is still the class


@pytest.mark.parametrize("method", ["clahe", "equalize", "gamma"])
def test_contrast_is_spread_over_what_is_displayed(scan: Scan, method: str) -> None:
    image = scan(unit="raw", window=Window(40, 8000))
    spread = enhance_contrast(image, method=method)
    assert (spread.unit, spread.window, spread.pixels.dtype) == ("grey", None, np.uint8)
    assert (spread.to_source, spread.spacing) == (image.to_source, image.spacing)
    if method != "gamma":
        assert spread.view().std() > image.view().std()
    else:
        assert np.array_equal(spread.view(), np.rint(255 * (image.view() / 255) ** 0.5))


def test_where_low_is_bright_the_picture_stays_as_it_was(scan: Scan) -> None:
    image = scan(photometric="MONOCHROME1", window=None)
    spread = enhance_contrast(image, method="gamma", gamma=1.0)
    assert spread.photometric == "MONOCHROME2"
    assert np.array_equal(spread.view(), image.view())


def test_colours_keep_their_hue() -> None:
    pixels = np.random.default_rng(0).integers(90, 140, (32, 40, 3), dtype=np.uint8)
    spread = enhance_contrast(Image(pixels=pixels, photometric="RGB")).pixels.astype(int)
    shift = spread - pixels
    inside = (spread > 0).all(-1) & (spread < 255).all(-1)
    assert np.ptp(shift[inside], axis=-1).max() == 0


def test_gamma_goes_with_its_method_alone(scan: Scan, refusal: Callable[..., str]) -> None:
    assert "gamma goes with" in refusal(enhance_contrast, image=scan(), method="clahe", gamma=2.0)
