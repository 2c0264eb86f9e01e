"""HD-BET: the brain in head MR of any sequence, by its own package over nnU-Net.

Source: Isensee et al., Automated brain extraction of multisequence MRI using artificial neural networks, Human Brain Mapping
40, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medvistagym_core.imaging import Image
from medvistagym_models import ModelEntry
from medvistagym_models.networks import LabelMask
from medvistagym_specialists._nnunet import check_trained_folder, quiet_environment
from medvistagym_specialists._specialist import Specialist
from medvistagym_specialists._volumes import require_volume

_LABEL = "brain"


class HdBet:
    """See `SemanticSegmenter`."""

    takes_volumes = True

    def __init__(self, entry: ModelEntry, device: str) -> None:
        import torch

        folder = _folder(entry)
        check_trained_folder(entry, folder)
        with quiet_environment(folder):
            from HD_BET import hd_bet_prediction

            hd_bet_prediction.folder_with_parameter_files = str(folder)  # else it looks in the user's home folder only
            threads = torch.get_num_threads()
            self._predictor = hd_bet_prediction.get_hdbet_predictor(device=torch.device(device))
            self._predictor.allow_tqdm = False
            torch.set_num_threads(threads)  # it takes them all

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        import numpy as np

        out = []
        for image in images:
            spacing = require_volume(image)
            values = image.pixels.astype(np.float32)[None]
            found = self._predictor.predict_single_npy_array(values, {"spacing": list(spacing)}, None, None, False)
            out.append([LabelMask(_LABEL, np.asarray(found) > 0, None)])
        return out

    def reference(self) -> None:
        return None


def _folder(entry: ModelEntry) -> Path:
    """The folder with plans.json: the entry's, or `release_2.0.0` in it, as HD-BET unpacks its parameters."""
    assert entry.path is not None
    inside = entry.path / "release_2.0.0"
    return inside if inside.is_dir() else entry.path


def _weights(entry: ModelEntry) -> Sequence[Path]:
    return check_trained_folder(entry, _folder(entry), load=False)


HDBET = Specialist(
    task="semantic-segmentation",
    description="Outlines the brain in an MR volume of the head, T1, T2 or FLAIR, tumours or not. Not for CT or single slices.",
    modalities=("MR",),
    licence="Apache-2.0, code; the weights as their record at Zenodo says (14445620)",
    install="python -m venv envs/nnunet\nenvs/nnunet/bin/pip install 'medvistagym-specialists[hdbet]'",
    fetch="""curl -L -o hdbet.zip 'https://zenodo.org/records/14445620/files/release_v1.5.0.zip?download=1'
mkdir -p weights/hdbet && unzip hdbet.zip -d weights/hdbet
[segment_brain]
adapter = "hdbet"
path = "weights/hdbet"
python = "envs/nnunet/bin/python"
timeout_s = 600
""",
    read_labels=lambda entry: (_LABEL,),
    find_weights=_weights,
    make=HdBet,
)
