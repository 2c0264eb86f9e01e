"""deepbet: the brain in head MR. The package holds its weights; medvistagym-segment runs them."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core.imaging import Image, SegmentationPrompt
from medvistagym_models import ModelEntry, ModelError
from medvistagym_models.networks import LabelMask
from medvistagym_segment.segmenters import DeepBetSegmenter
from medvistagym_specialists._specialist import Specialist, files_of_package
from medvistagym_specialists._volumes import require_volume

_LABEL = "brain"


class DeepBet:
    """See `SemanticSegmenter`."""

    takes_volumes = True

    def __init__(self, entry: ModelEntry, device: str) -> None:
        try:
            self._segmenter = DeepBetSegmenter(device)
        except ValueError as error:
            raise ModelError(entry.name, str(error)) from None

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        out = []
        for image in images:
            require_volume(image)
            out.append([LabelMask(_LABEL, self._segmenter.segment(image, SegmentationPrompt()), None)])
        return out

    def reference(self) -> None:
        return None


DEEPBET = Specialist(
    task="semantic-segmentation",
    description="Outlines the brain in a T1-weighted MR volume of the head. Not for CT, single slices or other sequences.",
    modalities=("MR",),
    licence="MIT, code and weights",
    install="pip install 'medvistagym-specialists[deepbet]'",
    fetch='# the package holds its weights\n[segment_brain]\nadapter = "deepbet"\n',
    read_labels=lambda entry: (_LABEL,),
    find_weights=lambda entry: files_of_package(entry, "deepbet", ["data/models/*.pt", "deepbet/data/models/*.pt"]),
    make=DeepBet,
    needs_path=False,
)
