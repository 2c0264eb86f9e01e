"""lungs-finder: boxes around the lungs of a chest film, by its own package, which holds its weights and needs OpenCV 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image
from medvistagym_models import ModelEntry, ModelError
from medvistagym_models.networks import Detection, displayed_frame
from medvistagym_specialists._specialist import Specialist, files_of_package

if TYPE_CHECKING:
    import numpy as np

_LABELS: Final = ("right lung", "left lung")
_SIDE: Final = 256
"""The package was made for films of about this size; its windows are 32 x 64 pixels."""
_SCORE: Final = 0.9
"""What a box counts as: the package says where a lung is and gives no probability."""


class LungsFinder:
    """See `Detector`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        import cv2

        if not hasattr(cv2, "HOGDescriptor") or not hasattr(cv2, "CascadeClassifier"):
            raise ModelError(
                entry.name,
                f"lungs-finder needs OpenCV 4, and {cv2.__version__} is installed here; give it an environment of its own: "
                + LUNGS_FINDER.install.replace("\n", " && "),
            )
        import lungs_finder

        self._finder: Any = lungs_finder

    def detect(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[Detection]]:
        return [self._detect(displayed_frame(image)) for image in images]

    def reference(self) -> None:
        return None

    def _detect(self, frame: Image) -> list[Detection]:
        import cv2

        grey = frame.replace(overlay=None).view()
        grey = cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY) if grey.ndim == 3 else grey
        scale = _SIDE / max(grey.shape)
        size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
        small = cv2.equalizeHist(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
        found = []
        for side, label in (("right", _LABELS[0]), ("left", _LABELS[1])):
            box = self._first(small, side)
            if box is not None:
                x, y, width, height = (float(v) / scale for v in box)
                h, w = frame.shape
                found.append(
                    Detection(label, _SCORE, (max(0.0, x), max(0.0, y), min(w, x + width), min(h, y + height)))
                )
        return found

    def _first(self, small: np.ndarray, side: str) -> Sequence[float] | None:
        """By gradients, else by Haar features, else by binary patterns: the order in which the package itself asks them."""
        for method in ("hog", "haar", "lbp"):
            find: Callable[[Any], Sequence[float] | None] = getattr(self._finder, f"find_{side}_lung_{method}")
            box = find(small)
            if box is not None:
                return box
        return None


LUNGS_FINDER = Specialist(
    task="object-detection",
    description="Draws a box around each lung on a frontal chest film. Not for CT or lateral views, and it does not find "
    "disease. Its boxes carry a fixed probability of 0.9.",
    modalities=("CR", "DX"),
    licence="Apache-2.0, code and weights",
    install="python -m venv envs/lungs\nenvs/lungs/bin/pip install 'medvistagym-specialists[lungsfinder]'",
    fetch='# the package holds its weights\n[find_lungs]\nadapter = "lungs_finder"\npython = "envs/lungs/bin/python"\n',
    read_labels=lambda entry: _LABELS,
    find_weights=lambda entry: files_of_package(entry, "lungs-finder", ["lungs_finder/*.xml", "lungs_finder/*.np"]),
    make=LungsFinder,
    needs_path=False,
)
