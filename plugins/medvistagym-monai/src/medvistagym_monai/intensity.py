"""The tool `scale_intensity`: values of any scale as greys."""

from __future__ import annotations

from typing import Final, Literal

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool

Method = Literal["percentiles", "range", "zscore"]
LARGEST: Final = 2**26
_MOST: Final = 1e30  # float32 ends at 3e38
_ENDS: Final = {"percentiles": (1.0, 99.0), "zscore": (-3.0, 3.0)}
_WHOLE: Final = {"percentiles": (0.0, 100.0)}


@tool
def scale_intensity(
    image: Image, method: Method = "percentiles", low: float | None = None, high: float | None = None
) -> tuple[Image, str]:
    """Turn values into grey levels from 0 to 255; the unit is lost.

    Use it on MR and raw counts, whose values mean nothing by themselves, to bring images to one scale. Where values have a unit
    (HU) use window, which keeps it; measure on the original.

    Args:
        image: The image, or volume, to scale; a volume as a whole.
        method: "percentiles" of the image's own values, a fixed "range" of values, or "zscore", standard deviations from the
            mean.
        low: What becomes black: a percentile (1 unless given), a value in the image's unit, or standard deviations (-3 unless
            given).
        high: What becomes white, likewise; 99 and 3 unless given.
    """
    import numpy as np

    if image.photometric == "RGB":
        raise ValueError("the colours of this image are on a scale from 0 to 255 already; use enhance_contrast")
    source = image.detail or image
    if source.pixels.size > LARGEST:
        raise ValueError(
            f"the image has {source.pixels.size:,} pixels, the most is {LARGEST:,}; take a part of it with zoom first"
        )
    first, last = _ends(method, low, high)
    with np.errstate(over="ignore"):
        values = source.pixels.astype(np.float32)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"{bad} of {values.size} pixels have no value (NaN or infinite); take a part without them")
    if method == "percentiles":
        first, last = (float(end) for end in np.percentile(values, (first, last)))
    elif method == "zscore":
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        first, last = mean + first * deviation, mean + last * deviation
    if not last > first:
        raise ValueError(
            f"black and white would both be {first:g}: the values of the image are all alike there; choose others"
        )
    steepness = 255 / (last - first)
    if not (1 / _MOST < steepness < _MOST and abs(first) < _MOST):
        raise ValueError(
            f"{first:g} and {last:g} are too close together or too far apart for greys between; choose others"
        )
    with np.errstate(over="ignore"):  # what is beyond float32 is beyond black or white
        values -= np.float32(first)
        values *= np.float32(steepness)
    greys = np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8)
    if image.photometric == "MONOCHROME1":
        greys = 255 - greys
    made = source.with_pixels(greys, unit="grey", photometric="MONOCHROME2", window=None, windows=())
    unit = "" if image.unit in ("raw", "grey") else f" {image.unit}"
    black, white = (last, first) if image.photometric == "MONOCHROME1" else (first, last)
    return made, f"Black is {black:.5g}{unit}, white is {white:.5g}{unit}; the greys between have no unit"


def _ends(method: Method, low: float | None, high: float | None) -> tuple[float, float]:
    if method == "range":
        if low is None or high is None:
            raise ValueError('the method "range" needs low and high, values in the image\'s unit')
        first, last = low, high
    else:
        usual = _ENDS[method]
        first, last = usual[0] if low is None else low, usual[1] if high is None else high
    least, most = _WHOLE.get(method, (first, last))
    if not (least <= first < last <= most):
        within = " within 0 to 100" if method == "percentiles" else ""
        raise ValueError(f"low must be below high{within}, not {first:g} and {last:g}")
    return first, last
