"""The brain in T1-weighted MR volumes of the head, by the pretrained networks that the package `deepbet` holds.

Source: Fisch et al., deepbet: fast brain extraction of T1-weighted MRI using convolutional neural networks, Computers in
Biology and Medicine 179, 2024. Its two TorchScript files are run here directly, so that none of the package's own dependencies
is needed: one network finds the brain in 128 voxels a side of the volume, the other traces it in 256 voxels a side of that box.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image, SegmentationPrompt, to_grayscale_array

if TYPE_CHECKING:
    import numpy as np
    import torch

_MIN_SLICES: Final = 32
_MIN_SIDE: Final = 48
_COARSE_SHAPE: Final = (128, 128, 128)
_FINE_SHAPE: Final = (256, 256, 256)
_MARGIN: Final = 0.1  # of the box, on each side
_MIN_BRAIN_SHARE: Final = 0.02  # of a plane, for it to lie in the box


class DeepBetSegmenter:
    """See `Segmenter`. Takes volumes of axial slices from feet to head, rows from front to back, columns to the left.

    Args:
        device: Where the networks run.

    Raises:
        ValueError: The package deepbet is not installed, or holds no weights.
    """

    def __init__(self, device: str) -> None:
        import torch

        folder = _weights_folder()
        load: Any = torch.jit.load
        self._device = torch.device(device)
        self._box_network, self._mask_network = (
            load(folder / name, map_location=self._device).eval() for name in ("bbox_model.pt", "model.pt")
        )

    def segment(self, image: Image, prompt: SegmentationPrompt) -> np.ndarray:
        import numpy as np
        import torch

        from medvistagym_segment.segmenters._components import fill_holes, largest_component

        if not image.is_stack or image.frames < _MIN_SLICES or min(image.shape) < _MIN_SIDE or image.unit == "HU":
            raise ValueError(
                f'the method "brain" needs a head MR volume, {_MIN_SLICES} axial slices of {_MIN_SIDE} pixels or more'
            )
        # the networks were trained on axes that run to the right, front and head
        oriented = np.ascontiguousarray(to_grayscale_array(image).transpose(2, 1, 0)[::-1, ::-1])
        with torch.inference_mode():
            values = torch.as_tensor(oriented, device=self._device)
            coarse = _resample(values, _COARSE_SHAPE)
            low, high = torch.quantile(coarse, 0.005), torch.quantile(coarse, 0.995)
            if not bool(high > low):
                raise ValueError("no brain was found in this image")
            coarse_mask = (self._box_network(_normalize(coarse, low, high)[None, None])[0, 1] > 0.5).cpu().numpy()
            box = _box(largest_component(coarse_mask), oriented.shape) if coarse_mask.any() else None
            if box is None:
                raise ValueError("no brain was found in this image")
            fine = _normalize(_resample(values[box], _FINE_SHAPE), low, high)
            probability = self._mask_network(fine[None, None])[0, 1]
            within_box = _resample(probability, values[box].shape) > 0.5
        mask = np.zeros(oriented.shape, bool)
        mask[box] = within_box.cpu().numpy()
        if not mask.any():
            raise ValueError("no brain was found in this image")
        return fill_holes(largest_component(np.ascontiguousarray(mask[::-1, ::-1].transpose(2, 1, 0))))


def _weights_folder() -> Path:
    try:
        package = distribution("deepbet")
    except PackageNotFoundError:
        raise ValueError("the brain segmenter needs its weights: pip install 'medvistagym-segment[brain]'") from None
    folder = Path(str(package.locate_file("data/models")))
    if not (folder / "model.pt").is_file():
        raise ValueError(f"the installed deepbet {package.version} holds no weights; 1.0.2 does")
    return folder


def _normalize(x: torch.Tensor, low: Any, high: Any) -> torch.Tensor:
    """Clipped to `low` to `high`, then with the mean and spread that the networks were trained with."""
    x = ((x - low) / (high - low)).clamp(0, 1)
    return 0.226 * (x - x.mean()) / x.std().clamp(min=1e-6) + 0.449


def _resample(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    from torch.nn import functional

    return functional.interpolate(x[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def _box(mask: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The box of a coarse mask with its margin, in voxels of `shape`; None if there is too little of it."""
    import numpy as np

    box = []
    for axis, n in enumerate(shape):
        others = tuple(k for k in range(3) if k != axis)
        planes = np.flatnonzero(mask.mean(others) > _MIN_BRAIN_SHARE)
        if not len(planes):
            return None
        scale = n / mask.shape[axis]
        first, end = planes[0] * scale, (planes[-1] + 1) * scale
        margin = _MARGIN * (end - first)
        box.append(slice(max(0, int(first - margin)), min(n, round(end + margin))))
    return tuple(box)
