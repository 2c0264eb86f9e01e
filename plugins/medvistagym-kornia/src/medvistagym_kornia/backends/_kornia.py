"""The filters on a device of torch, all planes at once, through kornia."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import kornia
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medvistagym_kornia.backends._base import (
    MorphologyOperation,
    disk_element,
    gaussian_kernel_size,
    to_pixel_centers,
)

if TYPE_CHECKING:
    from medvistagym_core.imaging import Affine

_MORPHOLOGY: Final = {
    "erode": kornia.morphology.erosion,
    "dilate": kornia.morphology.dilation,
    "open": kornia.morphology.opening,
    "close": kornia.morphology.closing,
    "gradient": kornia.morphology.gradient,
    "top_hat": kornia.morphology.top_hat,
    "black_hat": kornia.morphology.bottom_hat,
}


class KorniaBackend:
    """See `FilterBackend`."""

    prefers_batches = True

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def gaussian(self, planes: np.ndarray, sigma: float) -> np.ndarray:
        with _no_tf32():
            return _to_array(_gaussian(self._tensor(planes), sigma))

    def median(self, planes: np.ndarray, radius: int) -> np.ndarray:
        # kornia's border is not the one that is wanted here, so it is given one that it cannot see
        x = functional.pad(self._tensor(planes), (radius,) * 4, mode="replicate")
        x = kornia.filters.median_blur(x, 2 * radius + 1)
        return _to_array(x[..., radius:-radius, radius:-radius])

    def bilateral(self, planes: np.ndarray, radius: int, tolerances: np.ndarray) -> np.ndarray:
        # kornia's neighbourhood is a square; a disc is what OpenCV takes, and what does not favour diagonals
        x = self._tensor(planes)
        rows, columns = x.shape[-2:]
        padded = functional.pad(x, (radius,) * 4, mode="replicate")
        falling = -0.5 / torch.as_tensor(tolerances, device=x.device, dtype=x.dtype).square()[:, None, None, None]
        total, weights = torch.zeros_like(x), torch.zeros_like(x)
        for i, j in np.argwhere(disk_element(radius)).tolist():
            neighbours = padded[..., i : i + rows, j : j + columns]
            distance = (i - radius) ** 2 + (j - radius) ** 2
            weight = torch.exp((neighbours - x).square() * falling - 0.5 * distance / radius**2)
            total += weight * neighbours
            weights += weight
        return _to_array(total / weights)

    def clahe(self, planes: np.ndarray, limit: float, tiles: tuple[int, int]) -> np.ndarray:
        x = kornia.enhance.equalize_clahe(self._tensor(planes) / 255, float(limit), tiles)
        return _to_array((x * 255).round()).astype(np.uint8)

    def equalize(self, planes: np.ndarray) -> np.ndarray:
        # kornia.enhance.equalize follows Pillow, where the largest class is the background's and not left out as it is here
        x = torch.as_tensor(planes, device=self._device).long().flatten(1)
        offsets = 256 * torch.arange(len(x), device=x.device)[:, None]
        counts = torch.bincount((x + offsets).flatten(), minlength=256 * len(x)).view(len(x), 256)
        first = (counts > 0).int().argmax(1, keepdim=True)
        below = counts.cumsum(1) - counts.gather(1, first)
        rest = (x.shape[1] - counts.gather(1, first)).clamp(min=1)
        table = (below * (255.0 / rest.float())).round().clamp(0, 255)
        flat = counts.amax(1, keepdim=True) == x.shape[1]
        table = torch.where(flat, torch.arange(256, device=x.device, dtype=table.dtype), table)
        levels: np.ndarray = table.to(torch.uint8).gather(1, x).view(planes.shape).cpu().numpy()
        return levels

    def gradient(self, planes: np.ndarray) -> np.ndarray:
        with _no_tf32():
            both = kornia.filters.spatial_gradient(self._tensor(planes))
        return _to_array(torch.hypot(both[:, :, 0], both[:, :, 1]))

    def canny(self, planes: np.ndarray, sigma: float, low: float, high: float) -> np.ndarray:
        with _no_tf32():
            x = _gaussian(self._tensor(planes), sigma)
            both = kornia.filters.spatial_gradient(x, normalized=False)
            steepest = torch.hypot(both[:, :, 0], both[:, :, 1]).amax((-3, -2, -1))
            out = np.zeros(planes.shape, np.uint8)
            for k, most in enumerate(steepest.tolist()):
                if most >= 0.5:  # thresholds differ from plane to plane, and kornia takes one pair
                    _, edges = kornia.filters.canny(x[k : k + 1] / most, low, high, (1, 1), (1.0, 1.0))
                    out[k] = _to_array(edges)[0]
        return out

    def morphology(self, planes: np.ndarray, operation: MorphologyOperation, radius: int) -> np.ndarray:
        x = self._tensor(planes)
        element = torch.as_tensor(disk_element(radius), device=x.device, dtype=x.dtype)
        return _to_array(_MORPHOLOGY[operation](x, element))

    def warp_affine(self, planes: np.ndarray, to_input: Affine, shape: tuple[int, int], fill: float) -> np.ndarray:
        a, b, c, d, e, f = to_pixel_centers(to_input)
        x, y = np.arange(shape[1]), np.arange(shape[0])[:, None]
        # one more than in the plane, since that gets a border: kornia cannot place anything along a side of one pixel
        across, down = (
            torch.as_tensor((p * x + q * y + r + 1).astype(np.float32), device=self._device).expand(len(planes), -1, -1)
            for p, q, r in ((a, b, c), (d, e, f))
        )
        padded = functional.pad(self._tensor(planes) - fill, (1, 1, 1, 1))
        return _to_array(kornia.geometry.remap(padded, across, down, align_corners=True) + fill)

    def _tensor(self, planes: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(planes, np.float32), device=self._device)[:, None]


def _gaussian(x: Tensor, sigma: float) -> Tensor:
    size = (gaussian_kernel_size(sigma),) * 2
    # replicated here: kornia refuses borders wider than the picture
    reach = size[0] // 2
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    smooth = kornia.filters.gaussian_blur2d(padded, size, (sigma, sigma), border_type="constant")
    return smooth[..., reach:-reach, reach:-reach]


def _to_array(x: Tensor) -> np.ndarray:
    values: np.ndarray = x[:, 0].cpu().numpy()
    return values


@contextlib.contextmanager
def _no_tf32() -> Iterator[None]:
    """Convolutions in full float32: the ten bits of TF32 are less than a CT's Hounsfield units need."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
