"""Models of the SAM family, from a local folder in the format of transformers, pointed at by point or box.

Source: Kirillov et al., Segment Anything, ICCV 2023. Only safetensors are loaded, and nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image, SegmentationPrompt
from medvistagym_core.tools import first_line

if TYPE_CHECKING:
    import numpy as np


class SamSegmenter:
    """See `Segmenter`. It sees the image as windowed; of a volume, the slice that is displayed.

    Args:
        folder: The model's folder, with config.json, weights and a processor.
        device: Where the network runs.

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
            raise ValueError(f"the model in {folder.name} cannot be loaded: {first_line(error)}") from error
        self._model = model.to(device).eval()

    def segment(self, image: Image, prompt: SegmentationPrompt) -> np.ndarray:
        import numpy as np
        import torch

        if prompt.point is None and prompt.box is None:
            raise ValueError("this model needs a point inside the structure, or a box around it")
        view = image.replace(overlay=None).view()
        view = view if view.ndim == 3 else np.repeat(view[..., None], 3, -1)
        inputs = self._prepare_inputs(view, prompt)
        with torch.inference_mode():
            outputs = self._model(**inputs, multimask_output=False)
        sizes = [inputs["original_sizes"].cpu()]
        if "reshaped_input_sizes" in inputs:
            sizes.append(inputs["reshaped_input_sizes"].cpu())
        (masks,) = self._processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)
        plane: np.ndarray = np.asarray(masks).reshape(-1, *view.shape[:2])[0].astype(bool)
        if not image.is_stack:
            return plane
        mask = np.zeros(image.pixels.shape, bool)
        mask[image.frames // 2 if image.frame is None else image.frame] = plane
        return mask

    def _prepare_inputs(self, view: np.ndarray, prompt: SegmentationPrompt) -> Any:
        """The processor's tensors of a view, uint8 `(H, W, 3)`, and a prompt."""
        prompts: dict[str, Any] = {}
        if prompt.point is not None:
            prompts["input_points"] = [[[[float(n) for n in prompt.point]]]]
            prompts["input_labels"] = [[[1]]]
        if prompt.box is not None:
            prompts["input_boxes"] = [[[float(n) for n in prompt.box]]]
        # SAM wants points as [image, object, point, 2]; the first generation leaves out the level of objects
        try:
            inputs = self._processor(images=view, return_tensors="pt", **prompts)
        except ValueError:
            if "input_points" not in prompts:
                raise
            flatter = {
                **prompts,
                "input_points": prompts["input_points"][0],
                "input_labels": prompts["input_labels"][0],
            }
            inputs = self._processor(images=view, return_tensors="pt", **flatter)
        return inputs.to(self._model.device)
