"""The brain in T1-weighted MR volumes of the head, by the pretrained networks that the package `deepbet` holds.

Source: Fisch et al., deepbet: fast brain extraction of T1-weighted MRI using convolutional neural networks, Computers in
Biology and Medicine 179, 2024. Its two TorchScript files are run here directly, so that none of the package's own dependencies
is needed: one network finds the brain in 128 voxels a side of the volume, the other traces it in 256 voxels a side of that box.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image
from medvistagym_segment.segmenters import Where

if TYPE_CHECKING:
    import numpy as np
    import torch

_LEAST_SLICES: Final = 32
_LEAST_SIDE: Final = 48
_COARSE: Final = (128, 128, 128)
_FINE: Final = (256, 256, 256)
_MARGIN: Final = 0.1  # of the box, on each side
_PRESENT: Final = 0.02  # of a plane must be brain for it to count


class Brain:
    """See `Segmenter`. Takes volumes of axial slices from feet to head, rows from front to back, columns to the left."""

    def __init__(self, device: str) -> None:
        import torch

        folder = _weights()
        load: Any = torch.jit.load
        self._device = torch.device(device)
        self._finder, self._tracer = (
            load(folder / name, map_location=self._device).eval() for name in ("bbox_model.pt", "model.pt")
        )

    def __call__(self, image: Image, where: Where) -> np.ndarray:
        import numpy as np
        import torch

        from medvistagym_segment.classical import _filled, grey, largest

        if not image.is_stack or image.frames < _LEAST_SLICES or min(image.shape) < _LEAST_SIDE or image.unit == "HU":
            raise ValueError(
                f'the method "brain" needs a head MR volume, {_LEAST_SLICES} axial slices of {_LEAST_SIDE} pixels or more'
            )
        volume = grey(image)
        # the networks were trained on axes that run to the right, front and head
        oriented = np.ascontiguousarray(volume.transpose(2, 1, 0)[::-1, ::-1])
        with torch.inference_mode():
            values = torch.as_tensor(oriented, device=self._device)
            small = _resampled(values, _COARSE)
            low, high = torch.quantile(small, 0.005), torch.quantile(small, 0.995)
            if not bool(high > low):
                raise ValueError("no brain was found in this image")
            coarse = (self._finder(_normalised(small, low, high)[None, None])[0, 1] > 0.5).cpu().numpy()
            box = _box(largest(coarse), oriented.shape) if coarse.any() else None
            if box is None:
                raise ValueError("no brain was found in this image")
            part = _normalised(_resampled(values[box], _FINE), low, high)
            traced = self._tracer(part[None, None])[0, 1]
            inside = _resampled(traced, values[box].shape) > 0.5
        mask = np.zeros(oriented.shape, bool)
        mask[box] = inside.cpu().numpy()
        if not mask.any():
            raise ValueError("no brain was found in this image")
        return _filled(largest(np.ascontiguousarray(mask[::-1, ::-1].transpose(2, 1, 0))))


def _weights() -> Path:
    try:
        package = distribution("deepbet")
    except PackageNotFoundError:
        raise ValueError("the brain segmenter needs its weights: pip install 'medvistagym-segment[brain]'") from None
    folder = Path(str(package.locate_file("data/models")))
    if not (folder / "model.pt").is_file():
        raise ValueError(f"the installed deepbet {package.version} holds no weights; 1.0.2 does")
    return folder


def _normalised(x: torch.Tensor, low: Any, high: Any) -> torch.Tensor:
    """Clipped, then with the mean and spread that the networks were trained with."""
    x = ((x - low) / (high - low)).clamp(0, 1)
    return 0.226 * (x - x.mean()) / x.std().clamp(min=1e-6) + 0.449


def _resampled(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    from torch.nn import functional

    return functional.interpolate(x[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def _box(mask: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The box of a coarse mask with its margin, in voxels of `shape`."""
    import numpy as np

    box = []
    for axis, n in enumerate(shape):
        others = tuple(k for k in range(3) if k != axis)
        hit = np.flatnonzero(mask.mean(others) > _PRESENT)
        if not len(hit):
            return None
        scale = n / mask.shape[axis]
        first, end = hit[0] * scale, (hit[-1] + 1) * scale
        reach = _MARGIN * (end - first)
        box.append(slice(max(0, int(first - reach)), min(n, round(end + reach))))
    return tuple(box)
