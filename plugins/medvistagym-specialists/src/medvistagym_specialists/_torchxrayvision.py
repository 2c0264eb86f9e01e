"""TorchXRayVision: findings on chest films with calibrated probabilities, and the anatomy that they show, by its own package.

Source: Cohen et al., TorchXRayVision, MIDL 2022; Lian et al., IEEE Transactions on Medical Imaging, 2021 (anatomy). The package
keeps its classifiers as pickles of whole Python objects, which are refused here; the command that fetches them writes their
weights as safetensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image
from medvistagym_models import ModelEntry, ModelError, check_pickle
from medvistagym_models.networks import LabelMask, displayed_frame, require_numbers
from medvistagym_specialists._specialist import Specialist, required_file

if TYPE_CHECKING:
    import numpy as np

_LABELS: Final = (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion",
    "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture",
    "Lung Opacity", "Enlarged Cardiomediastinum",
)  # fmt: skip
_MISSING: Final = {
    "densenet121-res224-nih": (14, 15, 16, 17),
    "densenet121-res224-pc": (14, 16, 17),
    "densenet121-res224-chex": (2, 5, 6, 9, 11, 12, 13),
    "densenet121-res224-mimic_nb": (2, 5, 6, 9, 11, 12, 13),
    "densenet121-res224-mimic_ch": (2, 5, 6, 9, 11, 12, 13),
    "densenet121-res224-rsna": (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17),
    "densenet121-res224-all": (),
}
"""Labels that a set of weights was not trained for, by their place. Source: model_urls of torchxrayvision 1.5."""
_ANATOMY: Final = (
    "Left Clavicle", "Right Clavicle", "Left Scapula", "Right Scapula", "Left Lung", "Right Lung", "Left Hilus Pulmonis",
    "Right Hilus Pulmonis", "Heart", "Aorta", "Facies Diaphragmatica", "Mediastinum", "Weasand", "Spine",
)  # fmt: skip
_ANATOMY_FILE: Final = "pspnet_chestxray_best_model_4.pth"
_ANATOMY_SIDE: Final = 512


class Pathologies:
    """See `Classifier`."""

    exclusive = False

    def __init__(self, entry: ModelEntry, device: str) -> None:
        import torch
        import torchxrayvision as xrv
        from safetensors.torch import load_file

        file = _classifier_file(entry)
        published = xrv.models.model_urls[file.stem]
        self._model = xrv.models.DenseNet(num_classes=len(published["labels"]))
        weights = {name: tensor for name, tensor in load_file(file).items() if name != "op_threshs"}
        try:
            self._model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise ModelError(entry.name, f"{file.name} does not fit DenseNet-121: {reason}") from None
        self._model.op_threshs = torch.tensor(published["op_threshs"])  # what its probabilities are calibrated by
        self._model.input_resolution = published["input_resolution"]
        self._model.to(device).eval()
        self._entry, self._device = entry, device
        wanted = PATHOLOGIES.labels(entry)
        self.labels = tuple(label if label in wanted else "" for label in published["labels"])

    def classify(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np
        import torch

        values = torch.from_numpy(np.stack([_film(image, int(self._model.input_resolution)) for image in images]))
        with torch.inference_mode():
            parts = [self._model(part.to(self._device)).cpu() for part in torch.split(values, self._entry.batch)]
        probabilities: np.ndarray = torch.cat(parts).numpy()
        named = [k for k, label in enumerate(self.labels) if label]
        require_numbers(self._entry.model, probabilities[:, named])
        return np.asarray(np.nan_to_num(probabilities))  # a label without a name has no threshold

    def reference(self) -> None:
        return None


class Anatomy:
    """See `SemanticSegmenter`."""

    takes_volumes = False

    def __init__(self, entry: ModelEntry, device: str) -> None:
        file = required_file(entry, _ANATOMY_FILE)  # it would be fetched
        check_pickle(entry.name, file)
        import torchxrayvision as xrv

        try:
            self._model: Any = xrv.baseline_models.chestx_det.PSPNet(cache_dir=str(file.parent)).to(device).eval()
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise ModelError(entry.name, f"{file.name} does not fit the package's PSPNet: {reason}") from None
        self._entry, self._device = entry, device
        self._wanted = ANATOMY.labels(entry)

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        import numpy as np
        import torch
        from torch.nn import functional

        out = []
        for image in images:
            values = torch.from_numpy(_film(image, _ANATOMY_SIDE, crop=False))[None].to(self._device)
            with torch.inference_mode():
                logits = self._model(values)[0].float()
                require_numbers(self._entry.model, logits.cpu().numpy())
                resized = functional.interpolate(logits[None], image.shape, mode="bilinear", align_corners=False)[0]
                probabilities = resized.sigmoid().cpu().numpy()
            masks = []
            for number, label in enumerate(_ANATOMY):
                if label in self._wanted:
                    mask = probabilities[number] > 0.5
                    mean = float(probabilities[number][mask].mean()) if mask.any() else None
                    masks.append(LabelMask(label, np.asarray(mask), mean))
            out.append(masks)
        return out

    def reference(self) -> None:
        return None


def _film(image: Image, side: int, *, crop: bool = True) -> np.ndarray:
    """A film as the package takes it, `(1, side, side)` from -1024 to 1024, by its own functions."""
    import numpy as np
    import torchxrayvision as xrv

    grey = displayed_frame(image).replace(overlay=None)
    grey = grey.with_window(grey.windows[0]) if grey.windows else grey
    view = grey.view()
    view = view.mean(-1) if view.ndim == 3 else view
    values = xrv.utils.normalize(view.astype(np.float32), 255)[None]
    values = xrv.datasets.XRayCenterCrop()(values) if crop else values
    return np.ascontiguousarray(
        xrv.datasets.XRayResizer(side, engine="cv2" if _has_opencv() else "skimage")(values), np.float32
    )


def _has_opencv() -> bool:
    import importlib.util

    return importlib.util.find_spec("cv2") is not None


def _classifier_file(entry: ModelEntry) -> Path:
    file = required_file(entry, *(f"{name}.safetensors" for name in reversed(_MISSING)))
    if file.suffix != ".safetensors":
        raise ModelError(
            entry.name,
            f"{file.name} is not safetensors; the package's own files are pickles of Python objects: "
            "`medvistagym models list torchxrayvision` says how to write safetensors",
        )
    if file.stem not in _MISSING:
        raise ModelError(
            entry.name, f"{file.stem} is no name of torchxrayvision's weights; they are {', '.join(_MISSING)}"
        )
    return file


def _labels(entry: ModelEntry) -> tuple[str, ...]:
    missing = _MISSING[_classifier_file(entry).stem]
    return tuple(label for k, label in enumerate(_LABELS) if k not in missing)


def _anatomy_weights(entry: ModelEntry) -> list[Path]:
    return [required_file(entry, _ANATOMY_FILE)]


_INSTALL: Final = "python -m venv envs/xrv\nenvs/xrv/bin/pip install 'medvistagym-specialists[torchxrayvision]'"

PATHOLOGIES = Specialist(
    task="image-classification",
    description="Gives the probability of each of up to 18 findings on a frontal chest film; 0.5 is the operating point of "
    "each. Not for lateral views, CT or other body parts.",
    modalities=("CR", "DX"),
    licence="Apache-2.0, code and weights of xrv.models",
    install=_INSTALL,
    fetch="""mkdir -p weights/xrv
envs/xrv/bin/python -c "import torchxrayvision, safetensors.torch as s
name = 'densenet121-res224-all'
s.save_file(torchxrayvision.models.DenseNet(weights=name).state_dict(), f'weights/xrv/{name}.safetensors')"
[judge_film]
adapter = "torchxrayvision"
path = "weights/xrv/densenet121-res224-all.safetensors"
python = "envs/xrv/bin/python"
""",
    read_labels=_labels,
    find_weights=lambda entry: [_classifier_file(entry)],
    make=Pathologies,
)

ANATOMY = Specialist(
    task="semantic-segmentation",
    description="Outlines the anatomy of a frontal chest film: lungs, heart, aorta, clavicles, scapulae, diaphragm, spine. "
    "Not for lateral views or CT, and it does not find disease.",
    modalities=("CR", "DX"),
    licence="Apache-2.0, code; the weights as their makers say (Deepwise AI Lab, ChestX-Det)",
    install=_INSTALL,
    fetch=f"""mkdir -p weights/xrv
curl -L -o weights/xrv/{_ANATOMY_FILE} \\
  https://github.com/mlmed/torchxrayvision/releases/download/v1/{_ANATOMY_FILE}
[segment_film]
adapter = "torchxrayvision_anatomy"
path = "weights/xrv/{_ANATOMY_FILE}"
python = "envs/xrv/bin/python"
""",
    read_labels=lambda entry: _ANATOMY,
    find_weights=_anatomy_weights,
    make=Anatomy,
)
