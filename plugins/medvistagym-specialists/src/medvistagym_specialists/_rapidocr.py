"""rapidocr: boxes around lines of text that are burned into a picture, by the PP-OCR detector that its package holds.

It says where text is, and not what it says: reading, and withholding what may identify a person, is medvistagym-ocr's.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_models import ModelEntry, ModelError
from medvistagym_models.networks import Detection, displayed_frame
from medvistagym_specialists._specialist import Specialist, files_of_package

_FILE: Final = "PP-OCRv6_det_small.onnx"
_LABEL: Final = "text"


class TextFinder:
    """See `Detector`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        from rapidocr import RapidOCR

        folder = Path(str(distribution("rapidocr").locate_file("rapidocr"))) / "models"
        if not (folder / _FILE).is_file():
            raise ModelError(
                entry.name, f"the installed rapidocr holds no {_FILE}; 3.10.0 does: pip install rapidocr==3.10.0"
            )
        self._find: Any = RapidOCR(
            params={
                "Det.model_path": str(folder / _FILE),  # it would be fetched where it is not named
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Global.use_cls": False,
                "Global.use_rec": False,
                "Global.log_level": "critical",
            }
        )

    def detect(self, images: Sequence[Image], thresholds: Sequence[float]) -> list[list[Detection]]:
        return [self._detect(image, threshold) for image, threshold in zip(images, thresholds, strict=True)]

    def reference(self) -> None:
        return None

    def _detect(self, image: Image, threshold: float) -> list[Detection]:
        import cv2
        import numpy as np

        view = displayed_frame(image).replace(overlay=None).view()
        bgr = cv2.cvtColor(view, cv2.COLOR_GRAY2BGR if view.ndim == 2 else cv2.COLOR_RGB2BGR)
        output: Any = self._find(bgr, use_det=True, use_cls=False, use_rec=False)
        if output.boxes is None:
            return []
        h, w = view.shape[:2]
        found = []
        for corners, score in zip(output.boxes, output.scores, strict=True):
            (x0, y0), (x1, y1) = np.min(corners, 0), np.max(corners, 0)
            box = (max(0.0, float(x0)), max(0.0, float(y0)), min(float(w), float(x1)), min(float(h), float(y1)))
            if score >= threshold and box[0] < box[2] and box[1] < box[3]:
                found.append(Detection(_LABEL, float(score), box))
        return sorted(found, key=lambda one: -one.probability)


RAPIDOCR = Specialist(
    task="object-detection",
    description="Draws a box around each line of text burned into a picture. It does not read the text.",
    modalities=("US", "XA", "RF", "CR", "DX", "SC", "OT"),
    licence="Apache-2.0, code and weights",
    install="pip install 'medvistagym-specialists[rapidocr]'",
    fetch='# the package holds its weights\n[find_text]\nadapter = "rapidocr"\n',
    read_labels=lambda entry: (_LABEL,),
    find_weights=lambda entry: files_of_package(entry, "rapidocr", [f"rapidocr/models/{_FILE}"]),
    make=TextFinder,
    needs_path=False,
)
