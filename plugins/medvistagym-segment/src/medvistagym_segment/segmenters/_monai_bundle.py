"""MONAI bundles from a local folder: metadata checked, weights loaded without unpickling code, run by sliding windows."""

from __future__ import annotations

import contextlib
import math
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image, SegmentationPrompt, to_grayscale_array
from medvistagym_segment.segmenters._bundle_config import BundleConfig, Spacing, read_bundle_config, refuse_bundle

if TYPE_CHECKING:
    import numpy as np
    import torch

_MAX_VOXELS: Final = 2**27  # after resampling
_MAX_WINDOWS: Final = 16  # at once, on a GPU
_MAX_MODULES: Final = 10_000  # the largest networks of MONAI's model zoo have some 1,500


class MonaiBundleSegmenter:
    """See `Segmenter`: every label of the bundle but the background.

    The axes are taken to be those of DICOM's axial slices from feet to head (columns to the left, rows to the back), and are
    turned if the bundle asks for RAS. The result is resampled to the image.

    Args:
        folder: The bundle's folder, with configs/metadata.json, configs/inference.json and models/model.pt.
        device: Where the network runs.

    Raises:
        ValueError: Something is missing, or is not what is taken; the sentence says what.
    """

    def __init__(self, folder: Path, device: str) -> None:
        import torch

        self._config = read_bundle_config(folder)
        self._device = torch.device(device)
        self._steps = _build_steps(self._config)
        self._network = _load_network(self._config, folder / "models" / "model.pt").to(self._device).eval()
        self._flips = (0, 1) if self._config.flip else ()  # of x and y

    @property
    def metadata(self) -> Mapping[str, Any]:
        """configs/metadata.json."""
        return self._config.metadata

    @property
    def config(self) -> BundleConfig:
        """What the bundle's configuration asks for."""
        return self._config

    @property
    def network(self) -> torch.nn.Module:
        """The network, with its weights, on its device."""
        return self._network

    def segment(self, image: Image, prompt: SegmentationPrompt) -> np.ndarray:
        import numpy as np

        (masks,) = self.predict_masks([image])
        union: np.ndarray = np.logical_or.reduce([mask for _, mask in masks])
        return union

    def predict_masks(self, images: Sequence[Image]) -> list[Iterator[tuple[str, np.ndarray]]]:
        """Each label but the background, in images of one shape and spacing, by one run of the network.

        Returns:
            For each image the labels' names and masks, booleans `(H, W)` or `(N, H, W)`. Masks overlap where the bundle
            thresholds its channels each for itself.

        Raises:
            ValueError: One of the images is not what the bundle takes.
        """
        import torch

        with torch.inference_mode():
            logits = self._predict_logits(torch.stack([self._preprocess(image) for image in images]))
        return [self._to_masks(one[None], image) for one, image in zip(logits, images, strict=True)]

    def _preprocess(self, image: Image) -> torch.Tensor:
        """`(1, ...)`, axes x, y, z, as the bundle wants it."""
        import numpy as np
        import torch

        if image.is_stack != (self._config.axes == 3):
            wanted = "a volume" if self._config.axes == 3 else "a single frame"
            raise ValueError(f"the bundle {self._config.name} needs {wanted}")
        x = torch.as_tensor(np.flip(to_grayscale_array(image).T, self._flips).copy())[None]
        for step in self._steps:
            x = self._resample(x, step.pixdim, image) if isinstance(step, Spacing) else torch.as_tensor(step(x))
        return x.float()

    def _resample(self, x: torch.Tensor, pixdim: Sequence[float], image: Image) -> torch.Tensor:
        from torch.nn import functional

        name = self._config.name
        if image.spacing is None:
            raise ValueError(f"the bundle {name} needs an image whose spacing is known")
        spacing = image.spacing[::-1]
        shape = tuple(
            max(1, round(n * have / want)) for n, have, want in zip(x.shape[1:], spacing, pixdim, strict=True)
        )
        if math.prod(shape) > _MAX_VOXELS:
            raise ValueError(f"the image is too large for the bundle {name}: {' x '.join(map(str, shape))} voxels")
        mode = "trilinear" if len(shape) == 3 else "bilinear"
        return functional.interpolate(x[None].float(), shape, mode=mode, align_corners=False)[0]

    def _predict_logits(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, C, ...)` of `(B, 1, ...)`, by sliding windows if the bundle says so."""
        import torch
        from monai.inferers.utils import sliding_window_inference

        config, x = self._config, x.to(self._device)
        if config.roi_size is None:
            return torch.as_tensor(self._network(x))
        windows = 1 if self._device.type == "cpu" else max(1, min(_MAX_WINDOWS, config.max_windows))
        logits: Any = sliding_window_inference(x, config.roi_size, windows, self._network, **config.blending)
        return torch.as_tensor(logits)

    def _to_masks(self, logits: torch.Tensor, image: Image) -> Iterator[tuple[str, np.ndarray]]:
        import numpy as np
        import torch
        from torch.nn import functional

        each = self._config.sigmoid or logits.shape[1] == 1
        with torch.inference_mode():
            labels = (logits > 0).float() if each else logits.argmax(1, keepdim=True).float()
            shape = (*image.shape[::-1], image.frames)[: self._config.axes]
            resampled = functional.interpolate(labels, shape, mode="nearest-exact")[0].cpu().numpy()
        for channel, name in self._config.label_channels(logits.shape[1], each=each):
            mask = resampled[channel] > 0.5 if each else resampled[0] == channel
            yield name, np.ascontiguousarray(np.flip(mask, self._flips).T)


def _build_steps(config: BundleConfig) -> list[Any]:
    """The preprocessing: callables on `(1, ...)`, or `Spacing`."""
    from monai import transforms

    steps: list[Any] = []
    for step in config.steps:
        try:
            steps.append(step if isinstance(step, Spacing) else getattr(transforms, step.transform)(**step.options))
        except Exception as error:  # noqa: BLE001 whatever MONAI raises on arguments that are not its own
            raise refuse_bundle(config.name, f"its {step} cannot be made: {_reason(error)}") from None
    return steps


def _load_network(config: BundleConfig, file: Path) -> torch.nn.Module:
    """The bundle's network with its weights."""
    from monai.networks import nets

    kind: Any = getattr(nets, config.network)
    weights = _load_weights(config, file)
    try:
        with _limited_size(file.stat().st_size):
            network: torch.nn.Module = kind(**config.network_options)
    except _TooLargeError as error:
        raise refuse_bundle(config.name, f"its {config.network} has {error}") from None
    except Exception as error:  # noqa: BLE001 whatever MONAI raises on arguments that do not fit each other
        raise refuse_bundle(config.name, f"its {config.network} cannot be made: {_reason(error)}") from None
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise refuse_bundle(config.name, f"its weights do not fit its network: {_reason(error)}") from None
    return network


class _TooLargeError(Exception):
    pass


@contextlib.contextmanager
def _limited_size(stored_bytes: int) -> Iterator[None]:
    """Stop the making of a network in this thread once it has more parameters than its weights' file has bytes.

    Parameters are counted before they are written to.
    """
    from torch.nn.modules import module as registration

    thread, parameters, modules = threading.get_ident(), 0, 0

    def add_parameter(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        nonlocal parameters
        if parameter is not None and threading.get_ident() == thread:
            parameters += parameter.numel()
            if parameters > stored_bytes:
                raise _TooLargeError(f"more parameters than its weights' file has bytes, which are {stored_bytes:,}")

    def add_module(module: torch.nn.Module, name: str, part: torch.nn.Module | None) -> None:
        nonlocal modules
        if threading.get_ident() == thread:
            modules += 1
            if modules > _MAX_MODULES:
                raise _TooLargeError(f"more than {_MAX_MODULES:,} layers")

    hooks = [
        registration.register_module_parameter_registration_hook(add_parameter),
        registration.register_module_module_registration_hook(add_module),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _is_deflated(file: Path) -> bool:
    """Whether a file of torch is compressed, which torch itself never does: it may inflate to anything."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # no archive, or a broken one, which torch refuses


def _load_weights(config: BundleConfig, file: Path) -> Any:
    """What a file of tensors holds for the network; nothing in it is run."""
    import torch

    if _is_deflated(file):
        raise refuse_bundle(config.name, f"models/{file.name} is compressed, and torch.save compresses nothing")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise refuse_bundle(config.name, f"it has no models/{file.name}") from None
    except Exception:  # noqa: BLE001 pickle's errors, and whatever a broken archive makes torch raise
        raise refuse_bundle(config.name, f"models/{file.name} is not a file of plain weights") from None
    for key in ("model", "state_dict", "net"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    return state
