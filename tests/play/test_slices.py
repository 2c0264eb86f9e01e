"""Slices as pictures: what they show, and that they take no more memory than they may."""

import io

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import Image, Window
from medvistagym_core.play._slices import SliceCache, SliceKey

VOLUME = Image(
    pixels=np.random.default_rng(0).integers(-1000, 1000, (40, 64, 64), np.int16), unit="HU", window=Window(40, 400)
)


def pixels(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def test_a_slice_is_what_a_view_shows():
    cache = SliceCache()
    assert np.array_equal(pixels(cache.png(VOLUME, SliceKey(7))), VOLUME.replace(frame=7).view())
    other = VOLUME.replace(frame=7).with_window(Window(-600, 1500, "linear_exact"))
    assert np.array_equal(pixels(cache.png(VOLUME, SliceKey(7, (-600.0, 1500.0)))), other.view())
    assert pixels(cache.png(VOLUME, SliceKey(7, side=32))).shape == (32, 32)
    assert pixels(cache.png(VOLUME, SliceKey(7, side=2048))).shape == (64, 64)


def test_without_a_window_every_slice_has_the_range_of_the_whole_volume():
    ramp = Image(pixels=np.repeat(np.arange(4, dtype=np.float32), 16).reshape(4, 4, 4), unit="raw", frame=0)
    assert [pixels(SliceCache().png(ramp, SliceKey(k)))[0, 0] for k in range(4)] == [0, 85, 170, 255]


def test_what_was_shown_last_is_kept_up_to_a_number_of_bytes():
    size = len(SliceCache().png(VOLUME, SliceKey(0)))
    cache = SliceCache(max_bytes=int(size * 3.5))
    kept = [cache.png(VOLUME, SliceKey(k)) for k in range(20)]
    assert cache.kept_bytes <= size * 3.5
    assert cache.png(VOLUME, SliceKey(19)) is kept[19]
    assert cache.png(VOLUME, SliceKey(0)) is not kept[0]
    cache.clear()
    assert cache.kept_bytes == 0


@pytest.mark.parametrize("key", [SliceKey(40), SliceKey(0, side=0), SliceKey(0, side=5000), SliceKey(0, (0.0, -1.0))])
def test_what_cannot_be_is_refused(key):
    with pytest.raises(ValueError, match=r"slice|side|width"):
        SliceCache().png(VOLUME, key)
