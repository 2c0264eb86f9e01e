"""Masks and boxes drawn on an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medvistagym_core.imaging import Box, Image, mask_image
from medvistagym_segment import overlay
from medvistagym_segment.tools._overlay import COLOURS, outline


def disc(image: Image, x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_outlines_lie_on_the_edges_of_masks_and_leave_the_rest(chest: Callable[..., Image]) -> None:
    image = chest()
    masks = [disc(image, 60, 70, 20), disc(image, 140, 70, 25)]
    result = overlay.run({"image": image, "masks": [mask_image(m, image) for m in masks], "boxes": None})
    assert result.text == "mask 0 in red, mask 1 in blue"
    (picture,) = result.images
    assert (picture.photometric, picture.pixels.dtype, picture.spacing) == ("RGB", np.uint8, image.spacing)
    drawn = np.zeros(image.shape, bool)
    for mask, colour in zip(masks, COLOURS, strict=False):
        edge = outline(mask, 1)
        assert (picture.pixels[edge] == colour).all()
        assert not edge[~mask].any()
        drawn |= edge
    assert np.array_equal(picture.pixels[~drawn], np.repeat(image.view()[~drawn][:, None], 3, 1))


def test_boxes_are_drawn_where_the_grid_says(chest: Callable[..., Image]) -> None:
    image = chest()  # 160 x 200
    result = overlay.run({"image": image, "masks": None, "boxes": [Box(100, 250, 500, 750)]})
    (picture,) = result.images
    red = (picture.pixels == COLOURS[0]).all(-1)
    ys, xs = red.nonzero()
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 99, 40, 119)
    assert not red[45:115, 25:95].any()
    assert result.text == "1 box"


def test_of_a_volume_the_slice_that_shows_the_mask_is_drawn(chest: Callable[..., Image]) -> None:
    volume = chest(slices=12)
    mask = np.zeros(volume.pixels.shape, bool)
    mask[8, 60:80, 50:70], mask[9, 60:90, 50:90] = True, True
    result = overlay.run({"image": volume, "masks": [mask_image(mask, volume)], "boxes": None})
    assert result.text == "mask 0 in red, on slice 9"
    assert result.images[0].pixels.shape == (160, 200, 3)
    assert result.images[0].attributes["frame"] == "9"


def test_what_cannot_be_drawn_is_refused(chest: Callable[..., Image], refusal: Callable[..., Any]) -> None:
    image = chest()
    assert "nothing to draw" in refusal(overlay, image=image)
    other = mask_image(disc(image, 60, 70, 20), image).crop(0, 0, 90, 90)
    assert "another region" in refusal(overlay, image=image, masks=[other])
