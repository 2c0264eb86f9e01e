"""Inserts: what is painted into a real slice, in HU, with partial-volume edges and the slice's own noise.

The scout shows the mean of each 4 x 4 block of canvas pixels in steps of 16 HU (`LEVEL_HU`). Two rules hide an answer from it
exactly. What differs between answers either keeps every block's mean (bars), or stays within one step (`snap_to_level`). And
the noise that is laid over an insert has zero mean in every block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medvistagym_scoutvqa._studies import CANVAS_SIDE, MAX_HU, MIN_HU

if TYPE_CHECKING:
    import numpy as np

BLOCK_SIDE: Final = 4
"""Canvas pixels of the block that one scout pixel averages."""
LEVEL_HU: Final = 16
"""HU of one grey level of the scout."""
LEVEL_0_HU: Final = -1032
"""HU in the middle of the scout's grey level 0."""
BAR_PATTERNS: Final = ("horizontal", "vertical", "checked", "plain")

Span = tuple[int, int]
"""First pixel, and the one after the last."""


def snap_to_level(value_hu: float) -> int:
    """The HU in the middle of the scout's grey level that holds a value: 16 k - 1032; it reaches 8 HU to each side."""
    return round((value_hu - LEVEL_0_HU) / LEVEL_HU) * LEVEL_HU + LEVEL_0_HU


def extract_noise(pixels: np.ndarray, limit_hu: float) -> np.ndarray:
    """A slice's own high frequencies: what is left without the mean of each block, clipped; zero mean in each.

    Args:
        pixels: `(H, W)` in HU, sides multiples of `BLOCK_SIDE`.
        limit_hu: Largest deviation kept, before the means are taken out again.
    """
    import numpy as np

    h, w = pixels.shape
    blocks = pixels.reshape(h // BLOCK_SIDE, BLOCK_SIDE, w // BLOCK_SIDE, BLOCK_SIDE)
    rest = np.clip(blocks - blocks.mean((1, 3), keepdims=True), -limit_hu, limit_hu)
    noise: np.ndarray = (rest - rest.mean((1, 3), keepdims=True)).reshape(h, w)
    return noise


def low_frequency_noise(rng: np.random.Generator, shape: tuple[int, int], limit_hu: float) -> np.ndarray:
    """Float32 of `shape`: one value within `limit_hu` for each block."""
    import numpy as np

    coarse = rng.uniform(-limit_hu, limit_hu, (shape[0] // BLOCK_SIDE, shape[1] // BLOCK_SIDE)).astype(np.float32)
    return coarse.repeat(BLOCK_SIDE, 0).repeat(BLOCK_SIDE, 1)


def align_to_blocks(low: float, high: float) -> Span:
    """The least span of whole blocks within the canvas that holds `low` to `high` pixels."""
    return (
        max(0, int(low // BLOCK_SIDE * BLOCK_SIDE)),
        min(CANVAS_SIDE, int(-(-high // BLOCK_SIDE) * BLOCK_SIDE)),
    )


def disc_coverage(rows: Span, columns: Span, centre: tuple[float, float], radius: float) -> np.ndarray:
    """How much of each pixel a disc covers, 0 to 1; `centre` is (row, column) in pixel-edge coordinates, in pixels."""
    import numpy as np

    y = np.arange(*rows, dtype=np.float32)[:, None] + 0.5 - centre[0]
    x = np.arange(*columns, dtype=np.float32)[None] + 0.5 - centre[1]
    coverage: np.ndarray = np.clip(radius + 0.5 - np.sqrt(y * y + x * x), 0, 1)
    return coverage


def rectangle_coverage(rows: Span, columns: Span, rectangle: tuple[float, float, float, float]) -> np.ndarray:
    """How much of each pixel a rectangle `(y0, x0, y1, x1)` covers, 0 to 1; pixel-edge coordinates, in pixels."""
    import numpy as np

    def along(span: Span, low: float, high: float) -> np.ndarray:
        edge = np.arange(*span, dtype=np.float32)
        share: np.ndarray = np.clip(np.minimum(edge + 1, high) - np.maximum(edge, low), 0, 1)
        return share

    y0, x0, y1, x1 = rectangle
    coverage: np.ndarray = along(rows, y0, y1)[:, None] * along(columns, x0, x1)[None]
    return coverage


def bar_pattern(kind: str, rows: Span, columns: Span) -> np.ndarray:
    """-1 and 1 with a period of `BLOCK_SIDE` pixels, or zeros for "plain"; the mean over any whole block is zero."""
    import numpy as np

    if kind == "plain":
        return np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.float32)
    y = np.arange(*rows) % BLOCK_SIDE < BLOCK_SIDE // 2
    x = np.arange(*columns) % BLOCK_SIDE < BLOCK_SIDE // 2
    if kind == "horizontal":
        high = np.broadcast_to(y[:, None], (len(y), len(x)))
    elif kind == "vertical":
        high = np.broadcast_to(x[None], (len(y), len(x)))
    else:
        high = y[:, None] ^ x[None]
    pattern: np.ndarray = np.where(high, np.float32(1), np.float32(-1))
    return pattern


def composite(canvas: np.ndarray, rows: Span, columns: Span, values: np.ndarray, coverage: np.ndarray) -> None:
    """Paint `values` over an area of `canvas` (float32, HU) as far as they cover it: partial volume."""
    import numpy as np

    area = canvas[rows[0] : rows[1], columns[0] : columns[1]]
    np.clip(area + coverage * (values - area), MIN_HU, MAX_HU, out=area)
