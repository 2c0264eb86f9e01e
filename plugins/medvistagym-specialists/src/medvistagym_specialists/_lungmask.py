"""lungmask: the lungs, or their lobes, in CT volumes, by its own package.

Source: Hofmanninger et al., Automatic lung segmentation in routine imaging is primarily a data diversity problem, European
Radiology Experimental 4, 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medvistagym_core.imaging import Image
from medvistagym_models import ModelEntry, ModelError, check_pickle
from medvistagym_models.networks import LabelMask
from medvistagym_specialists._specialist import Specialist, required_file
from medvistagym_specialists._volumes import label_masks, require_volume

_FILES: Final = ("unet_r231-d5d2fc3d.pth", "unet_r231covid-0de78a7e.pth", "unet_ltrclobes-3a07043d.pth")
_LUNGS: Final = ("right lung", "left lung")
_LOBES: Final = ("left upper lobe", "left lower lobe", "right upper lobe", "right middle lobe", "right lower lobe")
"""In the order of the package's numbers from 1. Source: README of lungmask."""


class LungMask:
    """See `SemanticSegmenter`."""

    takes_volumes = True

    def __init__(self, entry: ModelEntry, device: str) -> None:
        file = required_file(entry, *_FILES)
        check_pickle(entry.name, file)
        from lungmask.mask import LMInferer

        self._inferer = LMInferer(
            modelpath=str(file), force_cpu=device == "cpu", batch_size=entry.batch, tqdm_disable=True
        )
        names = _labels(entry)
        classes = int(list(self._inferer.model.state_dict().values())[-1].shape[0])
        if classes != len(names) + 1:
            raise ModelError(
                entry.name,
                f"{file.name} tells {classes - 1} parts apart, and its name says {len(names)}; keep lungmask's own file names",
            )
        self._names = dict(enumerate(names, 1))
        self._wanted = LUNGMASK.labels(entry)

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        import numpy as np

        out = []
        for image in images:
            require_volume(image, unit="HU")
            found = self._inferer.apply(np.ascontiguousarray(image.pixels, np.int16))
            out.append(label_masks(np.asarray(found), self._names, self._wanted))
        return out

    def reference(self) -> None:
        return None


def _labels(entry: ModelEntry) -> tuple[str, ...]:
    return _LOBES if "lobes" in required_file(entry, *_FILES).name.lower() else _LUNGS


def _weights(entry: ModelEntry) -> list[Path]:
    return [required_file(entry, *_FILES)]


LUNGMASK = Specialist(
    task="semantic-segmentation",
    description="Outlines the right and the left lung in a CT volume of the chest, dense disease included. Not for single "
    "slices, and it does not say what is wrong with a lung.",
    modalities=("CT",),
    licence="Apache-2.0, code and weights",
    install="python -m venv envs/lungmask\nenvs/lungmask/bin/pip install 'medvistagym-specialists[lungmask]'",
    fetch="""mkdir -p weights/lungmask
curl -L -o weights/lungmask/unet_r231-d5d2fc3d.pth \\
  https://github.com/JoHof/lungmask/releases/download/v0.0/unet_r231-d5d2fc3d.pth
# lobes: https://github.com/JoHof/lungmask/releases/download/v0.0/unet_ltrclobes-3a07043d.pth
[segment_lungs]
adapter = "lungmask"
path = "weights/lungmask/unet_r231-d5d2fc3d.pth"
python = "envs/lungmask/bin/python"
timeout_s = 600
""",
    read_labels=_labels,
    find_weights=_weights,
    make=LungMask,
)
