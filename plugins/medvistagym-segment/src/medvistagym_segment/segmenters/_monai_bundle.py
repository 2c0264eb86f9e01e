"""MONAI bundles from a local folder: metadata checked, weights loaded without unpickling code, run by sliding windows."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image, SegmentationPrompt, to_grayscale_array
from medvistagym_segment.segmenters._bundle_config import (
    BundleConfig,
    PreprocessingStep,
    read_bundle_config,
    refuse_bundle,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from monai.data.meta_tensor import MetaTensor

_MAX_VOXELS: Final = 2**27  # after resampling
_MAX_WINDOWS: Final = 16  # at once, on a GPU
_MAX_MODULES: Final = 10_000  # the largest networks of MONAI's model zoo have some 1,500


class MonaiBundleSegmenter:
    """See `Segmenter`: every label of the bundle but the background.

    The axes are taken to be those of DICOM's axial slices from feet to head (columns to the left, rows to the back). They are
    turned and resampled by MONAI's own transforms, and so is the result on its way back: as the bundle's postprocessing says,
    labels by the nearest voxel or probabilities by interpolation.

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

        prepared = [self._preprocess(image) for image in images]
        with torch.inference_mode():
            logits = self._predict_logits(torch.stack([x.as_tensor().float() for x in prepared])).cpu()
        return [self._to_masks(one, x) for one, x in zip(logits, prepared, strict=True)]

    def _preprocess(self, image: Image) -> MetaTensor:
        """`(1, ...)`, axes x, y, z, as the bundle wants it, with the operations that brought it there."""
        x = bundle_input(self._config, image)
        for step, transform in self._steps:
            if step.transform == "Spacing":
                self._check_size(x, step.options["pixdim"], image)
            x = transform(x)
        return x

    def _check_size(self, x: MetaTensor, pixdim: tuple[float, ...], image: Image) -> None:
        name = self._config.name
        if image.spacing is None:
            raise ValueError(f"the bundle {name} needs an image whose spacing is known")
        spacing = image.spacing[::-1]
        pixdim = (*pixdim, *pixdim[-1:] * len(spacing))  # MONAI repeats the last where there are too few
        shape = [round(n * have / want) for n, have, want in zip(x.shape[1:], spacing, pixdim, strict=False)]
        if math.prod(shape) > _MAX_VOXELS:
            raise ValueError(f"the image is too large for the bundle {name}: {' x '.join(map(str, shape))} voxels")

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

    def _to_masks(self, logits: torch.Tensor, prepared: MetaTensor) -> Iterator[tuple[str, np.ndarray]]:
        import numpy as np

        config, channels = self._config, len(logits)
        each = config.sigmoid or channels == 1
        if config.inverts_probabilities:
            probabilities = logits.sigmoid() if each else logits.softmax(0)
            restored = (
                self._restore(one[None], prepared) for one in probabilities
            )  # one by one: they may be 100 volumes
            masks = (one > 0.5 for one in restored) if each else _highest(restored, channels)
        elif each:
            masks = (self._restore((one[None] > 0).float(), prepared, "nearest") > 0.5 for one in logits)
        else:
            labels = self._restore(logits.argmax(0, keepdim=True).float(), prepared, "nearest")
            masks = (labels == channel for channel in range(channels))
        names = dict(config.label_channels(channels, each=each))
        for channel, mask in enumerate(masks):
            if channel in names:
                yield names[channel], np.ascontiguousarray(mask[0].numpy().T)

    def _restore(self, values: torch.Tensor, prepared: MetaTensor, mode: str | None = None) -> torch.Tensor:
        """Values `(1, ...)` of the network's grid at the image's voxels; without a mode interpolated as on the way there."""
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.utils import convert_applied_interp_mode

        operations: Any = copy.deepcopy(prepared.applied_operations)
        if mode is not None:
            operations = convert_applied_interp_mode(operations, mode=mode)
        x: Any = MetaTensor(values, meta=copy.deepcopy(prepared.meta), applied_operations=operations)
        for step, transform in reversed(self._steps):
            if step.is_spatial:
                x = transform.inverse(x)
        tensor: torch.Tensor = x.as_tensor()
        return tensor


def bundle_input(config: BundleConfig, image: Image) -> MetaTensor:
    """An image as MONAI would read it from a file, `(1, ...)`: axes x, y, z, with their directions and spacing.

    Args:
        config: What the bundle says of its input.
        image: A frame `(H, W)` or a volume `(N, H, W)`; without `spacing` its voxels count as 1 mm a side.

    Raises:
        ValueError: It is a volume and the bundle takes frames, or the other way round.
    """
    import numpy as np
    import torch
    from monai.data.meta_tensor import MetaTensor

    if image.is_stack != (config.axes == 3):
        raise ValueError(f"the bundle {config.name} needs {'a volume' if config.axes == 3 else 'a single frame'}")
    spacing = (1.0,) * config.axes if image.spacing is None else image.spacing[-config.axes :][::-1]
    # MONAI's axes run to the right, to the front and to the head; DICOM's columns run to the left and its rows to the back
    affine = np.diag([-spacing[0], -spacing[1], *spacing[2:], *[1.0] * (4 - config.axes)])
    values = torch.as_tensor(np.ascontiguousarray(to_grayscale_array(image).T))[None]
    return MetaTensor(values, affine=torch.as_tensor(affine))


def _highest(channels: Iterable[torch.Tensor], count: int) -> Iterator[torch.Tensor]:
    """For each channel where it is the highest; of equals it is the first."""
    import torch

    best: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    for number, one in enumerate(channels):
        if best is None or labels is None:
            best, labels = one, torch.zeros(one.shape, dtype=torch.int16)
            continue
        higher = one > best
        labels[higher] = number
        best = torch.where(higher, one, best)
    assert labels is not None
    return (labels == number for number in range(count))


def _build_steps(config: BundleConfig) -> list[tuple[PreprocessingStep, Any]]:
    """The steps of preprocessing with the callables on `(1, ...)` that do them."""
    from monai import transforms

    steps: list[tuple[PreprocessingStep, Any]] = []
    for step in config.steps:
        try:
            steps.append((step, getattr(transforms, step.transform)(**step.options)))
        except Exception as error:  # noqa: BLE001 whatever MONAI raises on arguments that are not its own
            raise refuse_bundle(config.name, f"its {step.transform} cannot be made: {_reason(error)}") from None
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


def is_deflated(file: Path) -> bool:
    """Whether a file of torch is compressed, which torch itself never does: it may inflate to anything."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # no archive, or a broken one, which torch refuses


def _load_weights(config: BundleConfig, file: Path) -> Any:
    """What a file of tensors holds for the network; nothing in it is run."""
    import torch

    if is_deflated(file):
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
