"""`Image.cache_key` tells images apart as `digest` does, and finds the same way to the same image the same."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image
from medvistagym_core.imaging import Window

WAYS: list[Callable[[Image], Image]] = [
    lambda image: image,
    lambda image: image.with_window(Window(5, 10)),
    lambda image: image.with_window(Window(5, 10, "sigmoid")),
    lambda image: image.replace(window=None, unit="raw"),
    lambda image: image.crop(1, 2, 30, 40),
    lambda image: image.crop(1, 2, 30, 41),
    lambda image: image.resized(30, 40),
    lambda image: image.resized(30, 40, lambda pixels, h, w: np.zeros((h, w), np.float32)),
    lambda image: image.crop(1, 2, 30, 40).resized(50, 60).with_window(Window(1, 2)),
    lambda image: image.with_pixels(image.pixels + 1),
    lambda image: image.replace(overlay=np.ones(image.shape, bool)),
    lambda image: image.replace(attributes={"part": "head"}),
]


def scan() -> Image:
    return Image(pixels=np.arange(4800, dtype=np.int16).reshape(60, 80), unit="HU", window=Window(40, 400))


@pytest.mark.parametrize("way", WAYS[:7] + WAYS[8:])
def test_the_same_way_leads_to_the_same_image(way: Callable[[Image], Image]) -> None:
    assert way(scan()).cache_key == way(scan()).cache_key
    assert hash(way(scan()).cache_key) == hash(way(scan()).cache_key)


def test_other_ways_lead_to_other_images() -> None:
    made = [way(scan()) for way in WAYS]
    assert len({image.digest for image in made}) == len(made)
    assert len({image.cache_key for image in made}) == len(made)
    assert scan().with_pixels(scan().pixels * 2).crop(0, 0, 5, 5).cache_key != scan().crop(0, 0, 5, 5).cache_key


def test_an_image_travels_without_the_one_that_it_was_made_of() -> None:
    part = Image(pixels=np.zeros((1000, 1000), np.int16)).crop(0, 0, 5, 5)
    sent = pickle.dumps(part)
    assert len(sent) < 5000
    assert pickle.loads(sent).digest == part.digest


def test_equal_numbers_that_a_tool_writes_differently_are_told_apart() -> None:
    whole, real = scan().with_window(Window(40, 80)), scan().with_window(Window(40.0, 80))
    assert whole.digest != real.digest
    assert whole.cache_key != real.cache_key
    assert scan().replace(spacing=(1, 1)).cache_key != scan().replace(spacing=(1.0, 1.0)).cache_key


@dataclasses.dataclass
class Constant:
    value: float

    def __call__(self, pixels: np.ndarray, height: int, width: int) -> np.ndarray:
        return np.full((height, width), self.value, np.float32)


def test_every_identity_can_be_a_key() -> None:
    odd: Any = [0.5, 0.5]
    assert hash(scan().replace(spacing=odd).cache_key)
    one, other = (scan().crop(0, 0, 50, 50).resized(5, 5, Constant(value)) for value in (1, 2))
    assert hash(one.cache_key) != hash(other.cache_key)


def test_a_long_way_is_no_trouble() -> None:
    image = scan()
    for k in range(3000):
        image = image.with_window(Window(k, 10))
    assert image.cache_key == scan().with_window(Window(0, 10)).with_window(Window(2999, 10)).digest
    for k in range(3000):
        image = image.with_window(Window(k, 10))
        assert hash(image.cache_key)
