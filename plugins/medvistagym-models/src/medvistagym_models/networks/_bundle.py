"""MONAI bundles, by the loader of medvistagym-segment: nothing in their configuration is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_models._entry import ModelEntry
from medvistagym_models._model_files import read_json
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._base import LabelMask

if TYPE_CHECKING:
    from medvistagym_segment.segmenters import MonaiBundleSegmenter


class BundleSegmenter:
    """See `SemanticSegmenter`."""

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
    """The bundle's workflow as MONAI would run it: its dictionary transforms, inferer, inversion and discretization."""

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
        from monai.inferers.inferer import SimpleInferer, SlidingWindowInferer

        from medvistagym_segment.segmenters import bundle_input

        transforms: Any = monai.transforms  # its names are not all exported
        config, network = self._bundle.config, self._bundle.network
        steps = [getattr(transforms, f"{step.transform}d")(keys="image", **step.options) for step in config.steps]
        preprocessing = transforms.Compose(steps)
        data: Any = preprocessing({"image": bundle_input(config, image)})
        x = data["image"].as_tensor().float()[None]
        inferer: Any = SimpleInferer()
        if config.roi_size is not None:
            inferer = SlidingWindowInferer(config.roi_size, **config.blending)
        with torch.inference_mode():
            data["pred"] = inferer(x.to(next(network.parameters()).device), network)[0].cpu()
        each = config.sigmoid or len(data["pred"]) == 1
        activate = transforms.Activationsd(keys="pred", sigmoid=each, softmax=not each)
        discretize = transforms.AsDiscreted(keys="pred", **({"threshold": 0.5} if each else {"argmax": True}))
        nearest = not config.inverts_probabilities
        invert = transforms.Invertd("pred", preprocessing, "image", nearest_interp=nearest, to_tensor=False)
        after = (activate, discretize, invert) if nearest else (activate, invert, discretize)
        pred = transforms.Compose(after)(data)["pred"]
        for channel, name in config.label_channels(len(data["pred"]), each=each):
            mask = pred[channel] > 0.5 if each else pred[0] == channel
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
