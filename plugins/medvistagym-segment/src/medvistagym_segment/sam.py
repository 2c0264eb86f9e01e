"""Models of the SAM family, from a local folder in the format of transformers, pointed at by point or box.

Source: Kirillov et al., Segment Anything, ICCV 2023. Only safetensors are loaded, and nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_segment.segmenters import Where

if TYPE_CHECKING:
    import numpy as np


class Sam:
    """See `Segmenter`. It sees the picture as windowed; of a volume, the slice that is shown.

    Raises:
        ValueError: The folder holds no model and processor that transformers can load.
    """

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoModelForMaskGeneration, AutoProcessor

        try:
            processors: Any = AutoProcessor
            self._processor = processors.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForMaskGeneration.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, ImportError) as error:
            said = str(error).strip().split("\n")[0]
            raise ValueError(f"the model in {folder.name} cannot be loaded: {said}") from error
        self._model = model.to(device).eval()

    def __call__(self, image: Image, where: Where) -> np.ndarray:
        import numpy as np
        import torch

        if where.point is None and where.box is None:
            raise ValueError("this model needs a point inside the structure, or a box around it")
        picture = image.replace(overlay=None).view()
        picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
        asked: dict[str, Any] = {}
        if where.point is not None:
            asked["input_points"] = [[[[float(n) for n in where.point]]]]
            asked["input_labels"] = [[[1]]]
        if where.box is not None:
            asked["input_boxes"] = [[[float(n) for n in where.box]]]
        inputs = self._prepared(picture, asked)
        with torch.inference_mode():
            outputs = self._model(**inputs, multimask_output=False)
        sizes = [inputs["original_sizes"].cpu()]
        if "reshaped_input_sizes" in inputs:
            sizes.append(inputs["reshaped_input_sizes"].cpu())
        (masks,) = self._processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)
        flat: np.ndarray = np.asarray(masks).reshape(-1, *picture.shape[:2])[0].astype(bool)
        if not image.is_stack:
            return flat
        mask = np.zeros(image.pixels.shape, bool)
        mask[image.frames // 2 if image.frame is None else image.frame] = flat
        return mask

    def _prepared(self, picture: np.ndarray, asked: dict[str, Any]) -> Any:
        # SAM wants points as [image, object, point, 2]; the first generation leaves out the level of objects
        try:
            inputs = self._processor(images=picture, return_tensors="pt", **asked)
        except ValueError:
            if "input_points" not in asked:
                raise
            flatter = {**asked, "input_points": asked["input_points"][0], "input_labels": asked["input_labels"][0]}
            inputs = self._processor(images=picture, return_tensors="pt", **flatter)
        return inputs.to(self._model.device)
