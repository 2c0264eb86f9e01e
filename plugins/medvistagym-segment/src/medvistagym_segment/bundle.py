"""MONAI bundles from a local folder: metadata checked, weights loaded without unpickling code, run by sliding windows.

A bundle's configuration can hold Python to be evaluated. None is: the network must be one of `monai.networks.nets` with literal
arguments, and the preprocessing must be made of the transforms listed here. Anything else is refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image
from medvistagym_segment.segmenters import Where

if TYPE_CHECKING:
    import numpy as np
    import torch

# What reads files or changes only the container, and what places the axes, which is done here.
_DONE_HERE: Final = frozenset(
    {"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "CastToTyped", "Orientationd", "Spacingd"}
)
_INFERER: Final = ("_target_", "roi_size", "sw_batch_size", "mode", "overlap", "padding_mode", "sigma_scale")
_INTENSITY: Final = frozenset(
    {"ScaleIntensityRanged", "ScaleIntensityd", "NormalizeIntensityd", "ScaleIntensityRangePercentilesd"}
)
_READ: Final = _INTENSITY | {"Orientationd", "Spacingd"}
_LARGEST: Final = 2**27  # voxels after resampling
_MOST_WINDOWS: Final = 16  # at once, on a GPU


class Bundle:
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

        self.name = folder.name
        self.metadata = self._checked(self._read(folder / "configs" / "metadata.json"))
        self._config = self._read(folder / "configs" / "inference.json")
        self._device = torch.device(device)
        self._transforms = self._preprocessing()
        self._network = self._loaded(folder / "models" / "model.pt").to(self._device).eval()
        body = self._config.get("inferer", {})
        if not isinstance(body, Mapping):
            raise self._refusal("its inferer is not written out")
        inferer = self._literal({key: body[key] for key in _INFERER if key in body}, "inferer")
        kind = str(inferer.get("_target_", "SimpleInferer")).rsplit(".", 1)[-1]
        if kind not in ("SlidingWindowInferer", "SimpleInferer"):
            raise self._refusal(f"its inferer is {kind}; SlidingWindowInferer and SimpleInferer are taken")
        spatial = self.metadata["network_data_format"]["inputs"]["image"].get("spatial_shape", [])
        self._axes = len(spatial) or 3
        self._flips = (0, 1) if self._turned else ()  # of x and y
        self._roi = inferer.get("roi_size")
        self._blended = {
            key: inferer[key] for key in ("mode", "overlap", "padding_mode", "sigma_scale") if key in inferer
        }
        self._windows = max(1, min(_MOST_WINDOWS, int(inferer.get("sw_batch_size", 1))))

    def __call__(self, image: Image, where: Where) -> np.ndarray:
        import numpy as np

        whole: np.ndarray = np.logical_or.reduce([mask for _, mask in self.masks(image)])
        return whole

    def masks(self, image: Image) -> Iterator[tuple[str, np.ndarray]]:
        """Each label of the bundle but the background: its name and its mask, `(H, W)` or `(N, H, W)` booleans.

        Masks overlap where the bundle thresholds its channels each for itself.

        Raises:
            ValueError: The image is not one that the bundle takes.
        """
        (masks,) = self.masks_of([image])
        return masks

    def masks_of(self, images: Sequence[Image]) -> list[Iterator[tuple[str, np.ndarray]]]:
        """`masks` of several images of one shape and spacing, in one run of the network."""
        import torch

        with torch.inference_mode():
            logits = self._logits(torch.stack([self._prepared(image) for image in images]))
        return [self._labelled(part[None], image) for part, image in zip(logits, images, strict=True)]

    def _prepared(self, image: Image) -> torch.Tensor:
        """`(1, ...)`, axes x, y, z, as the bundle wants it."""
        import numpy as np
        import torch

        from medvistagym_segment.classical import grey

        if image.is_stack != (self._axes == 3):
            wanted = "a volume" if self._axes == 3 else "a single frame"
            raise ValueError(f"the bundle {self.name} needs {wanted}")
        x = torch.as_tensor(np.flip(grey(image).T, self._flips).copy())[None]
        for step in self._transforms:
            x = self._resampled(x, step, image) if isinstance(step, list) else torch.as_tensor(step(x))
        return x.float()

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, C, ...)` of `(B, 1, ...)`, by sliding windows if the bundle says so."""
        import torch
        from monai.inferers.utils import sliding_window_inference

        given = x.to(self._device)
        if self._roi is None:
            return torch.as_tensor(self._network(given))
        roi = tuple(int(n) for n in self._roi)
        windows = 1 if self._device.type == "cpu" else self._windows
        logits: Any = sliding_window_inference(given, roi, windows, self._network, **self._blended)
        return torch.as_tensor(logits)

    def _labelled(self, logits: torch.Tensor, image: Image) -> Iterator[tuple[str, np.ndarray]]:
        import numpy as np
        import torch
        from torch.nn import functional

        each = self._sigmoid or logits.shape[1] == 1
        with torch.inference_mode():
            found = (logits > 0).float() if each else logits.argmax(1, keepdim=True).float()
            shape = (*image.shape[::-1], image.frames)[: self._axes]
            back = functional.interpolate(found, shape, mode="nearest-exact")[0].cpu().numpy()
        for channel, name in self._names(logits.shape[1], each=each):
            chosen = back[channel] > 0.5 if each else back[0] == channel
            yield name, np.ascontiguousarray(np.flip(chosen, self._flips).T)

    def _names(self, channels: int, *, each: bool) -> list[tuple[int, str]]:
        """The channels that are labels, with their names."""
        known = self.metadata["network_data_format"]["outputs"]["pred"].get("channel_def", {})
        named = [(k, " ".join(str(known.get(str(k), f"label {k}")).split()) or f"label {k}") for k in range(channels)]
        if channels == 1:  # a bundle with one channel may name its background all the same
            return [(0, next((str(name) for name in known.values() if name != "background"), "label 0"))]
        return [(k, name) for k, name in named if name.lower() != "background" and (each or k > 0)]

    def _resampled(self, x: torch.Tensor, pixdim: list[float], image: Image) -> torch.Tensor:
        from torch.nn import functional

        if image.spacing is None:
            raise ValueError(f"the bundle {self.name} needs an image whose spacing is known")
        steps = image.spacing[::-1]
        shape = tuple(max(1, round(n * have / want)) for n, have, want in zip(x.shape[1:], steps, pixdim, strict=True))
        if math.prod(shape) > _LARGEST:
            raise ValueError(f"the image is too large for the bundle {self.name}: {' x '.join(map(str, shape))} voxels")
        mode = "trilinear" if len(shape) == 3 else "bilinear"
        return functional.interpolate(x[None].float(), shape, mode=mode, align_corners=False)[0]

    # -- reading it

    def _refusal(self, why: str) -> ValueError:
        return ValueError(f"the bundle {self.name} cannot be used: {why}")

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            content = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise self._refusal(f"it has no {file.parent.name}/{file.name}") from None
        except ValueError as error:
            raise self._refusal(f"{file.name} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise self._refusal(f"{file.name} holds no object")
        return content

    def _checked(self, metadata: dict[str, Any]) -> dict[str, Any]:
        for key in ("version", "monai_version", "task", "network_data_format"):
            if key not in metadata:
                raise self._refusal(f"its metadata has no {key}")
        try:
            inputs = metadata["network_data_format"]["inputs"]
            (name,) = inputs
            channels = inputs[name]["num_channels"]
            metadata["network_data_format"]["outputs"]["pred"]["num_channels"]
        except (KeyError, TypeError, ValueError):
            raise self._refusal("its metadata does not describe one input and the output pred") from None
        if name != "image" or channels != 1:
            raise self._refusal(f"it takes {channels} channels of {name}; one channel of image is given")
        return metadata

    def _preprocessing(self) -> list[Any]:
        """Callables on `(1, ...)`, or the spacing to resample to, in the bundle's order."""
        from monai import transforms

        steps: list[Any] = []
        self._turned = False
        for body in self._steps("preprocessing"):
            kind = str(body.get("_target_", "")).rsplit(".", 1)[-1]
            if body.get("_disabled_") is True:
                continue
            # what is done here need not be literal: EnsureTyped may name a device
            step = self._literal(body, "preprocessing") if kind in _READ else {}
            if kind == "Spacingd":
                pixdim = [float(n) for n in step["pixdim"]]
                if min(pixdim) <= 0:
                    raise self._refusal(f"its Spacingd asks for {pixdim}; positive millimetres are taken")
                steps.append(pixdim)
            elif kind == "Orientationd":
                if step.get("axcodes") not in ("RAS", "LPS"):
                    raise self._refusal(f"its Orientationd asks for {step.get('axcodes')}; RAS and LPS are taken")
                self._turned = step["axcodes"] == "RAS"
            elif kind in _INTENSITY:
                options = {k: v for k, v in step.items() if k not in ("_target_", "keys", "allow_missing_keys")}
                steps.append(getattr(transforms, kind[:-1])(**options))
            elif kind not in _DONE_HERE:
                raise self._refusal(
                    f"its preprocessing has {kind or 'an unnamed step'}, which is not one of those taken"
                )
        self._sigmoid = any(
            str(step.get("_target_", "")).endswith("Activationsd") and step.get("sigmoid") is True
            for step in self._steps("postprocessing")
        )
        return steps

    def _steps(self, key: str) -> list[dict[str, Any]]:
        body = self._config.get(key, {})
        steps = body.get("transforms", []) if isinstance(body, Mapping) else []
        if isinstance(steps, str):
            steps = self._literal(steps, key)
        return [step for step in steps if isinstance(step, dict)]

    def _loaded(self, file: Path) -> torch.nn.Module:
        import pickle

        import torch
        from monai.networks import nets

        definition = self._literal(self._config.get("network_def"), "network_def")
        target = str((definition or {}).get("_target_", ""))
        place, _, kind = target.rpartition(".")
        made: Any = getattr(nets, kind, None)
        known = isinstance(made, type) and issubclass(made, torch.nn.Module)
        if place not in ("", "monai.networks.nets") or not known:
            raise self._refusal(f"its network is {target or 'not given'}; those of monai.networks.nets are taken")
        try:
            network: torch.nn.Module = made(**{k: v for k, v in definition.items() if not k.startswith("_")})
        except (TypeError, ValueError) as error:
            raise self._refusal(f"its {kind} cannot be made: {error}") from None
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise self._refusal(f"it has no models/{file.name}") from None
        except (pickle.UnpicklingError, RuntimeError, EOFError):
            raise self._refusal(f"models/{file.name} is not a file of plain weights") from None
        for key in ("model", "state_dict", "net"):
            if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
                state = state[key]
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())[:160]
            raise self._refusal(f"its weights do not fit its network: {said}") from None
        return network

    def _literal(self, value: Any, place: str, depth: int = 0) -> Any:
        """The value with `@references` followed; refused where it would have to be evaluated as Python."""
        if depth > 20:
            raise self._refusal(f"{place} refers to itself")
        if isinstance(value, str) and value.startswith("$"):
            raise self._refusal(f"{place} holds Python to be evaluated ({value[:40]}), which is never done")
        if isinstance(value, str) and value.startswith("@"):
            found: Any = self._config
            for part in value[1:].replace("::", "#").split("#"):
                try:
                    found = found[int(part)] if isinstance(found, Sequence) else found[part]
                except (KeyError, IndexError, ValueError, TypeError):
                    raise self._refusal(f"{place} refers to {value}, which is not there") from None
            return self._literal(found, place, depth + 1)
        if isinstance(value, dict):
            return {key: self._literal(part, place, depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self._literal(part, place, depth + 1) for part in value]
        return value
