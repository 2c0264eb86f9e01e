"""The filters on a CPU, plane by plane through OpenCV."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from medvistagym_core.imaging import native_kernels, pooled_empty
from medvistagym_core.tools import use_one_thread
from medvistagym_kornia.backends._base import (
    MorphologyOperation,
    disk_element,
    gaussian_kernel_size,
    to_pixel_centers,
)

if TYPE_CHECKING:
    from medvistagym_core.imaging import Affine

    Plane = np.ndarray

use_one_thread("cv2")

_GRADIENT_SCALE: Final = (
    16.0  # Canny takes 16-bit gradients: grey levels in sixteenths use them fully and cannot overflow
)
_MORPHOLOGY: Final = {
    "erode": cv2.MORPH_ERODE,
    "dilate": cv2.MORPH_DILATE,
    "open": cv2.MORPH_OPEN,
    "close": cv2.MORPH_CLOSE,
    "gradient": cv2.MORPH_GRADIENT,
    "top_hat": cv2.MORPH_TOPHAT,
    "black_hat": cv2.MORPH_BLACKHAT,
}


class OpenCVBackend:
    """See `FilterBackend`."""

    prefers_batches = False

    def gaussian(self, planes: np.ndarray, sigma: float) -> np.ndarray:
        size = (gaussian_kernel_size(sigma),) * 2
        return _map_planes(
            planes, lambda p, out: cv2.GaussianBlur(p, size, sigma, out, borderType=cv2.BORDER_REPLICATE)
        )

    def median(self, planes: np.ndarray, radius: int) -> np.ndarray:
        return _map_planes(planes, lambda p, out: cv2.medianBlur(p, 2 * radius + 1, out))

    def bilateral(self, planes: np.ndarray, radius: int, tolerances: np.ndarray) -> np.ndarray:
        out = pooled_empty(planes.shape, planes.dtype)
        for plane, tolerance, target in zip(planes, tolerances, out, strict=True):
            cv2.bilateralFilter(
                plane, 2 * radius + 1, float(tolerance), float(radius), target, borderType=cv2.BORDER_REPLICATE
            )
        return out

    def clahe(self, planes: np.ndarray, limit: float, tiles: tuple[int, int]) -> np.ndarray:
        down, across = tiles
        h, w = planes.shape[1:]
        if planes.dtype == np.uint8 and h % down == 0 and w % across == 0 and (clahe := _native_clahe()) is not None:
            return _map_planes(planes, lambda p, out: clahe(p, out, limit, down, across))
        return _map_planes(planes, cv2.createCLAHE(clipLimit=limit, tileGridSize=(across, down)).apply)

    def equalize(self, planes: np.ndarray) -> np.ndarray:
        return _map_planes(planes, cv2.equalizeHist)

    def gradient(self, planes: np.ndarray) -> np.ndarray:
        across, down = np.empty(planes.shape[1:], np.float32), np.empty(planes.shape[1:], np.float32)

        def steepness(plane: Plane, out: Plane) -> None:
            cv2.Sobel(plane, cv2.CV_32F, 1, 0, across, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
            cv2.Sobel(plane, cv2.CV_32F, 0, 1, down, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
            _magnitude(across, down, out)

        return _map_planes(planes, steepness)

    def canny(self, planes: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
        x, y, magnitude = (np.empty(planes.shape[1:], np.float32) for _ in range(3))

        def edges(plane: Plane, out: Plane) -> None:
            cv2.Sobel(plane, cv2.CV_32F, 1, 0, x, scale=_GRADIENT_SCALE, borderType=cv2.BORDER_REPLICATE)
            cv2.Sobel(plane, cv2.CV_32F, 0, 1, y, scale=_GRADIENT_SCALE, borderType=cv2.BORDER_REPLICATE)
            across, down = (np.rint(part).astype(np.int16) for part in (x, y))
            steepest = float(_magnitude(x, y, magnitude).max())
            if steepest < _GRADIENT_SCALE / 2:
                out[:] = 0
                return
            lines = cv2.Canny(across, down, low * steepest, high * steepest, L2gradient=True)
            np.minimum(lines, 1, out=out)

        return _map_planes(self.gaussian(planes, sigma), edges, np.uint8)

    def morphology(self, planes: np.ndarray, operation: MorphologyOperation, radius: int) -> np.ndarray:
        element, kind = disk_element(radius), _MORPHOLOGY[operation]
        return _map_planes(planes, lambda p, out: cv2.morphologyEx(p, kind, element, out))

    def warp_affine(self, planes: np.ndarray, to_input: Affine, shape: tuple[int, int], fill: float) -> np.ndarray:
        out = pooled_empty((len(planes), *shape), np.float32)
        matrix = np.array(to_pixel_centers(to_input)).reshape(2, 3)
        for plane, target in zip(planes, out, strict=True):
            cv2.warpAffine(
                np.ascontiguousarray(plane), matrix, shape[::-1], target, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                cv2.BORDER_CONSTANT, (fill,),
            )  # fmt: skip
        return out


def _native_clahe() -> Callable[[Plane, Plane, float, int, int], None] | None:
    """The kernel in C, where it is installed and gives the bits of this OpenCV."""
    c = native_kernels()
    return c.clahe if c is not None and _matches_opencv(c.clahe) else None


@functools.cache
def _matches_opencv(clahe: Callable[[Plane, Plane, float, int, int], None]) -> bool:
    """Whether a kernel gives what OpenCV gives: one that was compiled to contract products and sums gives other bits."""
    probe = np.random.default_rng(0).integers(0, 256, (128, 128), np.uint8)
    out = np.empty_like(probe)
    clahe(probe, out, 2.0, 8, 8)
    return np.array_equal(out, cv2.createCLAHE(2.0, (8, 8)).apply(probe))


def _map_planes(planes: np.ndarray, kernel: Callable[[Plane, Plane], object], dtype: Any = None) -> np.ndarray:
    """What a function of a plane and its output writes for each plane, in one array."""
    out = pooled_empty(planes.shape, dtype or planes.dtype)
    for plane, target in zip(planes, out, strict=True):
        kernel(np.ascontiguousarray(plane), target)
    return out


def _magnitude(x: Plane, y: Plane, out: Plane) -> Plane:
    """Lengths of vectors; `x` and `y` are used up."""
    # cv2.magnitude rounds by where an array happens to lie in memory, and a tool gives the same bits each time
    np.multiply(x, x, out=x)
    np.multiply(y, y, out=y)
    np.add(x, y, out=x)
    np.sqrt(x, out=out)
    return out
