"""`difference`: one image minus another, after the other was moved into place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_kornia import difference

Scan = Callable[..., Image]
Refusal = Callable[..., str]


def shift_pixels(image: Image, x: int, y: int) -> Image:
    return image.replace(pixels=np.roll(image.pixels, (y, x), (0, 1)))


def blobs(side: int = 200, **changes: Any) -> Image:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side]
    pixels = sum(
        rng.uniform(100, 500) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * rng.uniform(5, 15) ** 2))
        for cx, cy in rng.uniform(50, side - 50, (12, 2))
    )
    return Image(pixels=np.asarray(pixels, np.float32), **{"unit": "HU", "spacing": (0.5, 0.5), **changes})


def test_an_image_does_not_differ_from_itself() -> None:
    result, text, data = difference(blobs(), blobs())
    assert np.abs(result.pixels).max() < 0.5
    assert data["correlation"] > 0.999
    assert "moved 0.0 px to the right" in text.replace("-0.0", "0.0")


@pytest.mark.parametrize("register", ["shift", "rigid"])
@pytest.mark.parametrize("shift", [(7, -4), (-25, 18)])
def test_a_shift_is_undone_and_told(register: Any, shift: tuple[int, int]) -> None:
    lesion = blobs().pixels.copy()
    lesion[90:100, 90:100] += 300
    image = blobs().replace(pixels=lesion)
    result, text, data = difference(image, shift_pixels(blobs(), *shift), register=register)
    assert data["right_px"] == pytest.approx(-shift[0], abs=0.3)
    assert data["down_px"] == pytest.approx(-shift[1], abs=0.3)
    assert result.pixels[90:100, 90:100].mean() == pytest.approx(300, rel=0.1)
    assert np.abs(result.pixels[60:80, 60:140]).mean() < 10
    assert "mm)" in text


def test_a_turn_is_undone_and_told() -> None:
    import PIL.Image

    turned = np.asarray(PIL.Image.fromarray(blobs().pixels).rotate(5, PIL.Image.Resampling.BICUBIC))
    _, _, data = difference(blobs(), blobs().replace(pixels=turned))
    assert data["turned_degrees"] == pytest.approx(5, abs=0.2)
    assert data["correlation"] > 0.98


def test_another_spacing_is_brought_to_the_same_scale(refusal: Refusal) -> None:
    coarse = blobs().resized(100, 100).replace(detail=None)
    assert coarse.spacing == (1.0, 1.0)
    result, _, data = difference(blobs(), coarse)
    assert result.shape == (200, 200)
    assert data["mean"] < 5
    message = refusal(difference, image=blobs(spacing=None), other=coarse, register="none")
    assert "their spacing is not known" in message


def test_images_that_do_not_belong_together_are_refused(scan: Scan, refusal: Refusal) -> None:
    noise = np.random.default_rng(0)
    one, other = (Image(pixels=noise.normal(0, 1, (64, 64)).astype(np.float32)) for _ in range(2))
    assert "could not be brought together" in refusal(difference, image=one, other=other, register="rigid")
    assert "different units" in refusal(difference, image=blobs(), other=scan(unit="raw"), register="none")
    flat = Image(pixels=np.zeros((64, 64), np.float32))
    assert "all values are equal" in refusal(difference, image=one, other=flat, register="shift")
    assert difference(one, flat, register="none")[2]["largest"] == pytest.approx(np.abs(one.pixels).max())


def test_of_stacks_the_displayed_frames_are_compared_and_that_is_told() -> None:
    stack = blobs().replace(pixels=np.stack([blobs().pixels, blobs().pixels + 100]), frame=1)
    result, text, _ = difference(stack, blobs(), register="none")
    assert result.pixels == pytest.approx(100, abs=1e-3)
    assert text.endswith("; of image, frame 1 of 0 to 1")


def test_regions_of_very_different_size_are_refused_along_either_side(refusal: Refusal) -> None:
    for shape in ((4, 400), (400, 4)):
        narrow = Image(pixels=np.zeros(shape, np.float32), unit="HU", spacing=(1.0, 1.0))
        other = Image(pixels=np.zeros((400, 400), np.float32), unit="HU", spacing=(1.0, 1.0))
        assert "very different size" in refusal(difference, image=narrow, other=other, register="none")
        assert "very different size" in refusal(difference, image=other, other=narrow, register="none")


def test_images_are_brought_together_the_same_with_any_number_of_threads() -> None:
    program = """
import numpy as np
from medvistagym_core.imaging import Image
from medvistagym_kornia import difference
for seed in range(3):
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:407, :513]
    waves = (rng.normal() * np.sin(x * rng.uniform(0.02, 0.1) + y * rng.uniform(-0.1, 0.1)) for _ in range(9))
    pixels = sum(waves).astype(np.float32) * 100
    other = np.roll(pixels, (3, -2), (0, 1)) + rng.normal(0, 5, pixels.shape).astype(np.float32)
    print(difference(Image(pixels=pixels, unit="HU"), Image(pixels=other, unit="HU"), register="shift")[2])
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(said) == 1
