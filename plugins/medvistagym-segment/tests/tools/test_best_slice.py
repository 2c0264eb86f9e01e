"""The slice that shows a mask best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medvistagym_core.imaging import Image, mask_image
from medvistagym_segment import best_slice, measure_mask


def test_the_slice_with_most_of_the_mask_is_given(chest: Callable[..., Image]) -> None:
    volume = chest(slices=10)
    inside = np.zeros(volume.pixels.shape, bool)
    inside[3:7, 40:60, 100:120] = True
    inside[5, 40:70, 100:140] = True
    mask = mask_image(inside, volume)
    result = best_slice.run({"image": volume, "mask": mask})
    assert result.data == {"slice": 5, "pixels": 1200, "box": [500, 250, 700, 438], "slices": [3, 6]}
    assert (
        result.text
        == "slice 5 of 0 to 9 shows most of it, 1200 mm2 at box [500, 250, 700, 438]; it lies in slices 3 to 6"
    )
    (frame,) = result.images
    assert np.array_equal(frame.pixels, volume.pixels[5])
    assert (frame.spacing, frame.window) == (volume.spacing[-2:], volume.window)  # type: ignore[index]
    # the mask of the volume fits the slice, which knows which one it is
    assert measure_mask.run({"image": frame, "mask": mask}).data["pixels"] == 1200  # type: ignore[index]


def test_a_single_image_is_its_own_best_slice(chest: Callable[..., Image], refusal: Callable[..., Any]) -> None:
    image, volume = chest(), chest(slices=4)
    inside = np.zeros(image.shape, bool)
    inside[20:30, 20:30] = True
    mask = mask_image(inside, image)
    result = best_slice.run({"image": image, "mask": mask})
    assert np.array_equal(result.images[0].pixels, image.pixels)
    assert "single frame" in result.text
    assert "of the whole volume" in refusal(best_slice, image=volume, mask=mask)
