"""`sharpen`: edges become steeper by the amount, within the type of the values."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_kornia import Sharpen

sharpen = cast(Tool, Sharpen)  # to a type checker a decorated class is still the class


def test_an_edge_becomes_steeper_by_the_amount() -> None:
    pixels = np.full((32, 32), 100.0, np.float32)
    pixels[:, 16:] = 200
    once, twice = (sharpen(Image(pixels=pixels), amount=amount).pixels for amount in (1.0, 2.0))
    assert once[5, 15] < 100
    assert once[5, 16] > 200
    np.testing.assert_allclose(twice - pixels, 2 * (once - pixels), atol=1e-3)
    assert np.array_equal(once[:, :4], pixels[:, :4])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.uint64, np.int64])
def test_integers_stay_within_their_type(kind: Any) -> None:
    top = np.iinfo(kind).max
    pixels = np.zeros((16, 16), kind)
    pixels[4:12, 4:12] = top
    sharp = sharpen(Image(pixels=pixels), amount=10.0).pixels
    assert sharp.dtype == kind
    assert sharp[0, 0] >= 0
    assert abs(int(sharp[8, 8]) - int(top)) <= int(top) // 2**20
