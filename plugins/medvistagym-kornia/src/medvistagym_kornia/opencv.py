"""The kernels on a CPU, plane by plane through OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from medvistagym_kornia.kernels import Operation, disc, gaussian_size

if TYPE_CHECKING:
    Plane = np.ndarray

# The executor runs calls in threads of its own; OpenCV's own pool would fight them for the same cores.
cv2.setNumThreads(1)

_FINE: Final = 16.0  # Canny takes 16-bit gradients: grey levels in sixteenths use them fully and cannot overflow
_MORPHOLOGY: Final = {
    "erode": cv2.MORPH_ERODE,
    "dilate": cv2.MORPH_DILATE,
    "open": cv2.MORPH_OPEN,
    "close": cv2.MORPH_CLOSE,
    "gradient": cv2.MORPH_GRADIENT,
    "top_hat": cv2.MORPH_TOPHAT,
    "black_hat": cv2.MORPH_BLACKHAT,
}


class OpenCV:
    """See `Kernels`."""

    stacks = False

    def gaussian(self, planes: np.ndarray, sigma: float) -> np.ndarray:
        size = (gaussian_size(sigma),) * 2
        return _each(planes, lambda p: cv2.GaussianBlur(p, size, sigma, borderType=cv2.BORDER_REPLICATE))

    def median(self, planes: np.ndarray, radius: int) -> np.ndarray:
        return _each(planes, lambda p: cv2.medianBlur(p, 2 * radius + 1))

    def bilateral(self, planes: np.ndarray, radius: int, tolerances: np.ndarray) -> np.ndarray:
        out = np.empty_like(planes)
        for plane, tolerance, target in zip(planes, tolerances, out, strict=True):
            target[:] = cv2.bilateralFilter(
                plane, 2 * radius + 1, float(tolerance), float(radius), borderType=cv2.BORDER_REPLICATE
            )
        return out

    def clahe(self, planes: np.ndarray, limit: float, tiles: tuple[int, int]) -> np.ndarray:
        return _each(planes, cv2.createCLAHE(clipLimit=limit, tileGridSize=tiles[::-1]).apply)

    def equalize(self, planes: np.ndarray) -> np.ndarray:
        return _each(planes, cv2.equalizeHist)

    def gradient(self, planes: np.ndarray) -> np.ndarray:
        def steepness(plane: Plane) -> Plane:
            x = cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
            y = cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
            return _length(x, y)

        return _each(planes, steepness)

    def canny(self, planes: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
        def edges(plane: Plane) -> Plane:
            x = cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=_FINE, borderType=cv2.BORDER_REPLICATE)
            y = cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=_FINE, borderType=cv2.BORDER_REPLICATE)
            steepest = float(_length(x, y).max())
            if steepest < _FINE / 2:
                return np.zeros(plane.shape, np.uint8)
            x, y = np.rint(x).astype(np.int16), np.rint(y).astype(np.int16)
            return cv2.Canny(x, y, low * steepest, high * steepest, L2gradient=True) // np.uint8(255)

        return _each(self.gaussian(planes, sigma), edges)

    def morphology(self, planes: np.ndarray, operation: Operation, radius: int) -> np.ndarray:
        element, kind = disc(radius), _MORPHOLOGY[operation]
        return _each(planes, lambda p: cv2.morphologyEx(p, kind, element))


def _each(planes: np.ndarray, kernel: Callable[[Plane], Plane]) -> np.ndarray:
    return np.stack([kernel(np.ascontiguousarray(plane)) for plane in planes])


def _length(x: Plane, y: Plane) -> Plane:
    # cv2.magnitude rounds by where an array happens to lie in memory, and a tool gives the same bits each time
    length: np.ndarray = np.sqrt(x * x + y * y)
    return length
