"""Models that transformers itself runs, with what their folders do not say: MedSAM, SAM 2, Grounding DINO and OWLv2."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from medvistagym_models import InputSettings, ModelEntry, Task, load_model
from medvistagym_models import weight_files as files_in
from medvistagym_specialists._specialist import Specialist

_INSTALL: Final = "pip install 'medvistagym-specialists[transformers]'"
_MEDSAM_INPUT: Final = InputSettings(window="display", size=1024, resize="stretch", interpolation="bicubic")
"""Greys from 0 to 1, stretched to 1024 pixels a side. Source: MedSAM_Inference.py of the MedSAM repository."""


def _make(task: Task, description: str, licence: str, fetch: str, settings: InputSettings | None = None) -> Specialist:
    def load(entry: ModelEntry, device: str) -> Any:
        return load_model(entry.model_copy(update={"adapter": None, "input": entry.input or settings}), device)

    def weights(entry: ModelEntry) -> list[Path]:
        assert entry.path is not None
        return [Path(file) for file in files_in(entry.path)]

    return Specialist(
        task=task,
        description=description,
        modalities=(),
        licence=licence,
        install=_INSTALL,
        fetch=fetch,
        read_labels=lambda entry: (),
        find_weights=weights,
        make=load,
    )


MEDSAM = _make(
    "promptable-segmentation",
    "Outlines the structure that a box is drawn tightly around, in an image of any modality, or from the slice shown through a "
    "volume. It says nothing of what the structure is.",
    "Apache-2.0, code and weights",
    """hf download wanglab/medsam-vit-base --local-dir weights/medsam
[outline]
adapter = "medsam"
path = "weights/medsam"
""",
    _MEDSAM_INPUT,
)
SAM2 = _make(
    "promptable-segmentation",
    "Outlines what a box or points show, in an image or, following it slice by slice, through a volume. Trained on "
    "photographs: faint borders are missed. It says nothing of what the structure is.",
    "Apache-2.0, code and weights",
    """hf download facebook/sam2.1-hiera-tiny --local-dir weights/sam2
[outline]
adapter = "sam2"
path = "weights/sam2"
""",
)
GROUNDING_DINO = _make(
    "open-vocabulary-detection",
    "Finds what a phrase names and draws boxes. Trained on photographs: it knows everyday words, devices and coarse anatomy. "
    "Not for diseases.",
    "Apache-2.0, code and weights",
    """hf download IDEA-Research/grounding-dino-tiny --local-dir weights/grounding-dino
[find_phrase]
adapter = "grounding_dino"
path = "weights/grounding-dino"
""",
)
OWLV2 = _make(
    "open-vocabulary-detection",
    "Finds what a phrase names and draws boxes. Trained on photographs: it knows everyday words, devices and coarse anatomy. "
    "Not for diseases.",
    "Apache-2.0, code and weights",
    """hf download google/owlv2-base-patch16-ensemble --local-dir weights/owlv2
[find_phrase]
adapter = "owlv2"
path = "weights/owlv2"
""",
)
