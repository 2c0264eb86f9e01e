"""`crop_foreground`: what it takes away, and what the rest knows of where it lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_monai import crop_foreground

Scan = Callable[..., Image]
Refusal = Callable[..., str]
WHOLE = Box(0, 0, 1000, 1000)


def test_the_border_is_taken_away_and_the_rest_knows_where_it_lies(scan: Scan) -> None:
    part, text = crop_foreground(scan(), margin_mm=3.0)
    assert part.box_to_source(WHOLE) == (30 - 6, 20 - 4, 150 + 6, 60 + 4)
    assert (part.unit, part.spacing, part.window) == ("HU", (0.75, 0.5), Window(40, 400))
    assert np.array_equal(part.pixels, scan().pixels[16:64, 24:156])
    assert "66.0 x 36.0 mm" in text
    volume, _ = crop_foreground(scan(slices=12))
    assert volume.pixels.shape == (7, 40, 120)
    assert volume.attributes["slices"] == "2-8"


def test_thresholds_are_values_or_percentiles(scan: Scan, refusal: Refusal) -> None:
    pixels = scan().pixels.copy()
    pixels[5, 5] = -990  # a speck of noise
    image = scan().replace(pixels=pixels)
    assert crop_foreground(image)[0].shape == (55, 145)
    assert crop_foreground(image, above=-300.0)[0].shape == (40, 120)
    assert crop_foreground(image, percentile=76.0)[0].shape == (40, 120)
    assert "not both" in refusal(crop_foreground, image=image, above=0.0, percentile=5.0)
    assert "no pixel is above 100; the brightest is 40" in refusal(crop_foreground, image=image, above=100.0)


def test_bright_is_bright_whatever_the_photometric_sense(scan: Scan, refusal: Refusal) -> None:
    inverted = scan(unit="raw", photometric="MONOCHROME1").replace(pixels=-scan().pixels)
    assert crop_foreground(inverted)[0].shape == (40, 120)
    assert crop_foreground(inverted, above=300.0)[0].shape == (40, 120)
    assert "no pixel is below -100" in refusal(crop_foreground, image=inverted, above=-100.0)
    colour = Image(pixels=np.repeat(scan().view()[..., None], 3, -1), photometric="RGB")
    assert crop_foreground(colour)[0].pixels.shape == (40, 120, 3)
