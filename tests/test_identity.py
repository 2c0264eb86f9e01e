"""`Image.identity` tells images apart as `digest` does, and finds the same way to the same image the same."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from medvistagym_core import Image
from medvistagym_core.image import Window

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
    assert way(scan()).identity == way(scan()).identity
    assert hash(way(scan()).identity) == hash(way(scan()).identity)


def test_other_ways_lead_to_other_images() -> None:
    made = [way(scan()) for way in WAYS]
    assert len({image.digest for image in made}) == len(made)
    assert len({image.identity for image in made}) == len(made)
    assert scan().with_pixels(scan().pixels * 2).crop(0, 0, 5, 5).identity != scan().crop(0, 0, 5, 5).identity


def test_an_image_travels_without_the_one_that_it_was_made_of() -> None:
    part = Image(pixels=np.zeros((1000, 1000), np.int16)).crop(0, 0, 5, 5)
    sent = pickle.dumps(part)
    assert len(sent) < 5000
    assert pickle.loads(sent).digest == part.digest
