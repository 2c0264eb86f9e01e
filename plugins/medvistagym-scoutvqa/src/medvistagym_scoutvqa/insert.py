"""Inserts: what is painted into a real slice, in HU, with partial-volume edges and the slice's own noise.

The scout shows the mean of each 4 x 4 block of canvas pixels in steps of 16 HU (`LEVEL`). Two rules hide an answer from it
exactly. What differs between answers either keeps every block's mean (bars), or stays within one step (`level`). And the noise
that is laid over an insert has zero mean in every block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medvistagym_scoutvqa.studies import HIGH, LOW, SIDE

if TYPE_CHECKING:
    import numpy as np

BLOCK: Final = 4
"""Side in canvas pixels of the block that one scout pixel averages."""
LEVEL: Final = 16
"""HU of one grey level of the scout."""
ORIGIN: Final = -1032
"""HU in the middle of the scout's grey level 0."""
BARS: Final = ("horizontal", "vertical", "checked", "plain")

Span = tuple[int, int]


def level(value: float) -> int:
    """The HU in the middle of the scout's grey level that holds `value`: 16 k - 1032; the level reaches 8 HU to each side."""
    return round((value - ORIGIN) / LEVEL) * LEVEL + ORIGIN


def noise(pixels: np.ndarray, limit: float) -> np.ndarray:
    """The slice's own high frequencies: what is left without the mean of each block, cut at `limit` HU; zero mean in each.

    Args:
        pixels: `(H, W)` in HU, sides multiples of `BLOCK`.
        limit: Largest deviation kept, in HU, before the means are taken out again.
    """
    import numpy as np

    h, w = pixels.shape
    blocks = pixels.reshape(h // BLOCK, BLOCK, w // BLOCK, BLOCK)
    rest = np.clip(blocks - blocks.mean((1, 3), keepdims=True), -limit, limit)
    flat: np.ndarray = (rest - rest.mean((1, 3), keepdims=True)).reshape(h, w)
    return flat


def drift(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """Low-frequency noise: one value within `limit` HU for each block of an area of `shape` pixels."""
    import numpy as np

    coarse = rng.uniform(-limit, limit, (shape[0] // BLOCK, shape[1] // BLOCK)).astype(np.float32)
    return coarse.repeat(BLOCK, 0).repeat(BLOCK, 1)


def aligned(low: float, high: float) -> Span:
    """The least span of whole blocks within the canvas that holds `low` to `high` pixels."""
    return max(0, int(low // BLOCK * BLOCK)), min(SIDE, int(-(-high // BLOCK) * BLOCK))


def disc(rows: Span, columns: Span, centre: tuple[float, float], radius: float) -> np.ndarray:
    """How much of each pixel a disc covers, 0 to 1; `centre` is (row, column) in pixel-edge coordinates, in pixels."""
    import numpy as np

    y = np.arange(*rows, dtype=np.float32)[:, None] + 0.5 - centre[0]
    x = np.arange(*columns, dtype=np.float32)[None] + 0.5 - centre[1]
    covered: np.ndarray = np.clip(radius + 0.5 - np.sqrt(y * y + x * x), 0, 1)
    return covered


def rectangle(rows: Span, columns: Span, place: tuple[float, float, float, float]) -> np.ndarray:
    """How much of each pixel a rectangle `(y0, x0, y1, x1)` covers, 0 to 1; pixel-edge coordinates, in pixels."""
    import numpy as np

    def along(span: Span, low: float, high: float) -> np.ndarray:
        edge = np.arange(*span, dtype=np.float32)
        part: np.ndarray = np.clip(np.minimum(edge + 1, high) - np.maximum(edge, low), 0, 1)
        return part

    covered: np.ndarray = along(rows, place[0], place[2])[:, None] * along(columns, place[1], place[3])[None]
    return covered


def bars(kind: str, rows: Span, columns: Span) -> np.ndarray:
    """A pattern of -1 and 1 with a period of `BLOCK` pixels, or zeros for "plain"; its mean over any whole block is zero."""
    import numpy as np

    if kind == "plain":
        return np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.float32)
    y = np.arange(*rows) % BLOCK < BLOCK // 2
    x = np.arange(*columns) % BLOCK < BLOCK // 2
    high = {"horizontal": y[:, None] & np.ones_like(x), "vertical": x[None] & np.ones_like(y)[:, None]}.get(kind)
    if high is None:
        high = y[:, None] ^ x[None]
    pattern: np.ndarray = np.where(high, np.float32(1), np.float32(-1))
    return pattern


def blend(canvas: np.ndarray, rows: Span, columns: Span, values: np.ndarray, covered: np.ndarray) -> None:
    """Paint `values` over an area of `canvas` (float32, HU) as far as `covered` says: partial volume."""
    import numpy as np

    area = canvas[rows[0] : rows[1], columns[0] : columns[1]]
    np.clip(area + covered * (values - area), LOW, HIGH, out=area)
