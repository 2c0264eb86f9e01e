"""What a backend is: filters of planes.

Planes are float32 or uint8 arrays `(B, H, W)`; every plane is worked on for itself, and where a kernel looks beyond the border
it sees the outermost pixels repeated, unless it says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging import Affine

MorphologyOperation = Literal["erode", "dilate", "open", "close", "gradient", "top_hat", "black_hat"]


class FilterBackend(Protocol):
    """Filters of planes.

    Attributes:
        prefers_batches: Whether planes of several calls are worth stacking: on a GPU yes; on a CPU the copying costs more than
            it saves.
    """

    prefers_batches: bool

    def gaussian(self, planes: np.ndarray, sigma: float) -> np.ndarray:
        """Float32 planes smoothed by a Gaussian of `sigma` pixels, cut off at three of them.

        Args:
            planes: Float32 `(B, H, W)`.
            sigma: Standard deviation in pixels.
        """
        ...

    def median(self, planes: np.ndarray, radius: int) -> np.ndarray:
        """Float32 medians over squares of `2 radius + 1` pixels.

        Args:
            planes: Float32 `(B, H, W)`.
            radius: Pixels on each side of a centre, 1 or more.
        """
        ...

    def bilateral(self, planes: np.ndarray, radius: int, tolerances: np.ndarray) -> np.ndarray:
        """Float32 averages over discs, by Gaussian weights of distance (`radius`) and of value (`tolerances`, one a plane).

        Source: Tomasi and Manduchi, Bilateral filtering for gray and color images, ICCV 1998.

        Args:
            planes: Float32 `(B, H, W)`.
            radius: Radius of the discs in pixels, which sets the weights of distance.
            tolerances: Float32 `(B,)`: the standard deviation of the weights of value, in the values of each plane.
        """
        ...

    def clahe(self, planes: np.ndarray, limit: float, tiles: tuple[int, int]) -> np.ndarray:
        """Uint8 planes, equalized in `(rows, columns)` tiles that divide their size, with clipped histograms.

        Source: Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV, 1994.

        Args:
            planes: Uint8 `(B, H, W)`.
            limit: What a bin of a histogram may hold at most, as a multiple of the mean of its bins.
            tiles: Rows and columns of tiles.
        """
        ...

    def equalize(self, planes: np.ndarray) -> np.ndarray:
        """Uint8 planes with flat histograms."""
        ...

    def gradient(self, planes: np.ndarray) -> np.ndarray:
        """Float32 length of the Sobel gradient, in values per pixel."""
        ...

    def canny(self, planes: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
        """Edges of float32 planes as uint8 0 or 1, the thresholds as fractions of each plane's steepest gradient.

        Source: Canny, A computational approach to edge detection, IEEE TPAMI 8(6), 1986.

        Args:
            planes: Float32 `(B, H, W)`.
            sigma: Standard deviation in pixels of the Gaussian that smooths first.
            low: Gradient from which a pixel that touches an edge belongs to it, 0 to 1.
            high: Gradient from which a pixel begins an edge, `low` to 1.
        """
        ...

    def morphology(self, planes: np.ndarray, operation: MorphologyOperation, radius: int) -> np.ndarray:
        """Float32 planes after an operation with a disc; pixels beyond the border take no part.

        Args:
            planes: Float32 `(B, H, W)`.
            operation: Which one.
            radius: Radius of the disc in pixels.
        """
        ...

    def warp_affine(self, planes: np.ndarray, to_input: Affine, shape: tuple[int, int], fill: float) -> np.ndarray:
        """Float32 planes at other places, linear between pixels; beyond the border all of them are `fill`.

        Args:
            planes: `(B, H, W)`.
            to_input: From pixel edges of the result to those of the planes, as `Image.to_source` is written.
            shape: Rows and columns of the result.
            fill: The value outside.
        """
        ...


def to_pixel_centers(affine: Affine) -> Affine:
    """A map between pixel edges as one between the centres of pixels, where the first pixel's lies at 0, 0."""
    a, b, c, d, e, f = affine
    return a, b, c + (a + b - 1) / 2, d, e, f + (d + e - 1) / 2


def disk_element(radius: int) -> np.ndarray:
    """Uint8 `(2 radius + 1, 2 radius + 1)`, 1 within `radius` pixels of the centre."""
    import numpy as np

    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk: np.ndarray = (x * x + y * y <= radius * radius).astype(np.uint8)
    return disk


def gaussian_kernel_size(sigma: float) -> int:
    """Odd number of taps that reach three sigmas."""
    return 2 * max(1, round(3 * sigma)) + 1
