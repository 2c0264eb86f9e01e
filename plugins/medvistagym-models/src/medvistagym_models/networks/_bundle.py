"""MONAI bundles, by the loader of medvistagym-segment: nothing in their configuration is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image, to_grayscale_array
from medvistagym_models._entry import ModelEntry
from medvistagym_models._model_files import read_json
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._base import LabelMask

if TYPE_CHECKING:
    from medvistagym_segment.segmenters import MonaiBundleSegmenter


class BundleSegmenter:
    """See `Segmenter`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        from medvistagym_segment.segmenters import MonaiBundleSegmenter

        assert entry.path is not None
        self._entry, self._device = entry, device
        try:
            self._bundle = MonaiBundleSegmenter(entry.path, device)
        except ValueError as error:
            raise ModelError(entry.name, str(error)) from None
        except ModuleNotFoundError as error:
            raise ModelError(
                entry.name, f"a MONAI bundle needs {error.name}: pip install 'medvistagym-models[bundle]'"
            ) from None
        self.takes_volumes = self._bundle.config.axes == 3

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        out = []
        for image in images:  # a volume fills the network by its windows
            (masks,) = self._bundle.predict_masks([image])
            out.append([LabelMask(name, mask, None) for name, mask in masks])
        return out

    def reference(self) -> _ReferenceBundle:
        return _ReferenceBundle(self._bundle)


class _ReferenceBundle:
    """MONAI's own transforms and inferer, with its resampling there and back."""

    def __init__(self, bundle: MonaiBundleSegmenter) -> None:
        self._bundle = bundle
        self.takes_volumes = bundle.config.axes == 3

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        return [list(self._masks(image)) for image in images]

    def reference(self) -> None:
        return None

    def _masks(self, image: Image) -> Iterator[LabelMask]:
        import monai.transforms
        import numpy as np
        import torch
        from monai.data.meta_tensor import MetaTensor
        from monai.inferers.inferer import SimpleInferer, SlidingWindowInferer

        from medvistagym_segment.segmenters import Spacing

        transforms: Any = monai.transforms  # its names are not all exported
        config = self._bundle.config
        axes = config.axes
        spacing = (1.0,) * axes if image.spacing is None else image.spacing[-axes:]
        # DICOM's columns run to the left and its rows to the back; MONAI's axes run to the right and to the front
        affine = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]) * torch.tensor([*spacing[::-1], *[1.0] * (4 - axes)]))
        source = MetaTensor(torch.as_tensor(np.ascontiguousarray(to_grayscale_array(image).T))[None], affine=affine)
        ends = (("L", "R"), ("P", "A"), ("I", "S"))  # of its axes; MONAI 1.6 warns where they are left out
        turn = transforms.Orientation("RAS" if config.flip else "LPS", labels=ends)
        x: Any = turn(source) if axes == 3 else source
        for step in config.steps:
            if isinstance(step, Spacing):
                x = transforms.Spacing(step.pixdim, mode="bilinear")(x)
            else:
                x = getattr(transforms, step.transform)(**step.options)(x)
        sliding: Any = SlidingWindowInferer(config.roi_size or x.shape[1:], **config.blending)
        inferer: Any = SimpleInferer() if config.roi_size is None else sliding
        with torch.inference_mode():
            device = next(self._bundle.network.parameters()).device
            logits = inferer(x[None].as_tensor().float().to(device), self._bundle.network)[0].cpu()
        each = config.sigmoid or len(logits) == 1
        labels = MetaTensor((logits > 0).float() if each else logits.argmax(0, keepdim=True).float(), meta=x.meta)
        back: Any = transforms.ResampleToMatch(mode="nearest")(labels, source)
        for channel, name in config.label_channels(len(logits), each=each):
            mask = back[channel] > 0.5 if each else back[0] == channel
            yield LabelMask(name, np.asarray(mask).T, None)


def bundle_labels(entry: ModelEntry) -> tuple[str, ...]:
    """The labels of a bundle by its metadata, without the background.

    Raises:
        ModelError: Its metadata cannot be read.
    """
    assert entry.path is not None
    metadata: Any = read_json(entry, entry.path / "configs" / "metadata.json")
    try:
        names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    except (KeyError, TypeError):
        raise ModelError(
            entry.name, f"{entry.path.name}/configs/metadata.json has no channel_def, which names its labels"
        ) from None
    return tuple(
        str(name)
        for _, name in sorted(names.items(), key=lambda item: int(item[0]))
        if str(name).lower() != "background"
    )
