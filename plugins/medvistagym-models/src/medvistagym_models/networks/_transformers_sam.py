"""The SAM family of transformers (SAM, SAM-HQ, MedSAM, SAM 2): outlines what is pointed at, in a frame or through a volume.

Sources: Kirillov et al., Segment Anything, ICCV 2023; Ravi et al., SAM 2, arXiv 2408.00714; Ma et al., Segment anything in
medical images, Nature Communications 15, 2024. What the image processors of these models do is done by `InputSettings`, since
that of SAM 2 needs torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image, mask_bounds
from medvistagym_models._entry import InputSettings, ModelEntry
from medvistagym_models._model_files import read_json
from medvistagym_models.networks._base import LabelMask, PointPrompt, in_parts, require_numbers
from medvistagym_models.networks._input import Placement, picture, prepare
from medvistagym_models.networks._transformers import TransformersFolder, load_weights, rgb_picture
from medvistagym_models.networks._transformers_labels import masks_of_logits

if TYPE_CHECKING:
    import numpy as np

_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_INSIDE, _OUTSIDE, _BOX_START, _BOX_END = 1, 0, 2, 3
"""Labels of points. Source: Sam2VideoProcessor of transformers, which writes a box as two points."""
_MARGIN: Final = 0.05  # of a slice's box, on each side, for the next slice
_LABEL: Final = "structure"


class TransformersSam:
    """See `PromptableSegmenter`."""

    follows = True

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self._folder = TransformersFolder(entry, device)
        self._settings = entry.input or sam_settings(entry)
        self._is_video = str(self._folder.config.get("model_type", "")).endswith("_video")
        self._video: Any = None

    def segment_prompted(self, images: Sequence[Image], prompts: Sequence[PointPrompt]) -> list[LabelMask]:
        out: list[LabelMask | None] = [None] * len(images)
        alike: dict[tuple[int, bool], list[int]] = {}
        for k, prompt in enumerate(prompts):
            if prompt.follow:
                out[k] = self._follow(images[k], prompt)
            else:
                alike.setdefault((len(prompt.inside) + len(prompt.outside), prompt.box is not None), []).append(k)
        for positions in alike.values():
            for part in in_parts(positions, self._folder.entry.batch):
                chosen = positions[part]
                masks = self._segment_frames([images[k] for k in chosen], [prompts[k] for k in chosen])
                for k, mask in zip(chosen, masks, strict=True):
                    out[k] = mask
        return [mask for mask in out if mask is not None]

    def reference(self) -> _ReferenceSam | None:
        return _ReferenceSam.load(self._folder)

    def _segment_frames(self, images: Sequence[Image], prompts: Sequence[PointPrompt]) -> list[LabelMask]:
        """Single frames whose prompts have equally many points, together."""
        import numpy as np
        import torch

        values, placements = zip(
            *(prepare(picture(image, self._settings), self._settings) for image in images), strict=True
        )
        tensors: dict[str, Any] = {"pixel_values": torch.from_numpy(np.stack(values))}
        placed = [_place_prompt(prompt, placement) for prompt, placement in zip(prompts, placements, strict=True)]
        if placed[0][0]:
            tensors["input_points"] = torch.tensor([[points] for points, _, _ in placed], dtype=torch.float32)
            tensors["input_labels"] = torch.tensor([[labels] for _, labels, _ in placed])
        if placed[0][2] is not None:
            tensors["input_boxes"] = torch.tensor([[box] for _, _, box in placed], dtype=torch.float32)
        tensors = {name: tensor.to(self._folder.device) for name, tensor in tensors.items()}
        outputs = self._folder.run(tensors, multimask_output=False)
        logits = outputs.pred_masks.float()[:, 0]
        require_numbers(self._folder.entry.model, logits.cpu().numpy())
        quality = outputs.iou_scores.float().reshape(len(images), -1)[:, 0].tolist()
        return [
            LabelMask(_LABEL, self._plane(logits[n], image, placement), min(max(q, 0.0), 1.0))
            for n, (image, placement, q) in enumerate(zip(images, placements, quality, strict=True))
        ]

    def _plane(self, logits: Any, image: Image, placement: Placement) -> np.ndarray:
        """The mask of an image's logits `(1, h, w)`."""
        padded = self._settings.resize == "pad"
        (found,) = masks_of_logits(logits, {0: _LABEL}, image.shape, placement, "sigmoid", via_input=padded)
        return found.mask

    def _follow(self, volume: Image, prompt: PointPrompt) -> LabelMask:
        first = volume.frames // 2 if volume.frame is None else volume.frame
        frames = [volume.replace(pixels=plane, frame=None, spacing=None) for plane in volume.pixels]
        return (
            self._follow_video(frames, first, prompt) if self._is_video else self._follow_boxes(frames, first, prompt)
        )

    def _follow_boxes(self, frames: Sequence[Image], first: int, prompt: PointPrompt) -> LabelMask:
        """Slice by slice, each prompted by the box of the one before, until nothing is found."""
        import numpy as np

        masks = np.zeros((len(frames), *frames[0].shape), bool)
        (start,) = self._segment_frames([frames[first]], [prompt])
        masks[first], qualities = start.mask, [start.probability or 0.0]
        for step in (1, -1):
            z, before = first, masks[first]
            while before.any() and 0 <= z + step < len(frames):
                z += step
                (found,) = self._segment_frames([frames[z]], [PointPrompt(box=_box_with_margin(before))])
                if not (found.mask & before).any():
                    break
                masks[z], before = found.mask, found.mask
                qualities.append(found.probability or 0.0)
        return LabelMask(_LABEL, masks, float(np.mean(qualities)))

    def _follow_video(self, frames: Sequence[Image], first: int, prompt: PointPrompt) -> LabelMask:
        """By the memory of SAM 2, which takes slices for the frames of a film; forward, then back."""
        import numpy as np
        import torch
        from transformers import Sam2VideoModel
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        if self._video is None:
            self._video = load_weights(self._folder.entry, Sam2VideoModel).to(self._folder.device).eval()
        values, placements = zip(
            *(prepare(picture(one, self._settings), self._settings) for one in frames), strict=True
        )
        points, labels, box = _place_prompt(prompt, placements[first])
        if box is not None:
            points = [[box[0], box[1]], [box[2], box[3]], *points]
            labels = [_BOX_START, _BOX_END, *labels]
        height, width = frames[0].shape
        session = Sam2VideoInferenceSession(
            torch.from_numpy(np.stack(values)), height, width, inference_device=self._folder.device, dtype="float32"
        )
        number = session.obj_id_to_idx(1)
        coordinates = torch.tensor([[points]], dtype=torch.float32)
        session.add_point_inputs(
            number, first, {"point_coords": coordinates, "point_labels": torch.tensor([[labels]], dtype=torch.int32)}
        )
        session.obj_with_new_inputs = [1]
        masks = np.zeros((len(frames), height, width), bool)
        scores = []
        with torch.inference_mode():
            self._video(session, frame_idx=first)
            for backwards in (False, True):
                for found in self._video.propagate_in_video_iterator(session, start_frame_idx=first, reverse=backwards):
                    logits = found.pred_masks[0].float()
                    require_numbers(self._folder.entry.model, logits.cpu().numpy())
                    z = found.frame_idx
                    masks[z] = self._plane(logits, frames[z], placements[z])
                    scores.append(float(found.object_score_logits.float().sigmoid().mean()))
        return LabelMask(_LABEL, masks, float(np.mean(scores)))


def sam_settings(entry: ModelEntry) -> InputSettings:
    """What a SAM is given: by its image processor's file, else as SAM 2 was trained."""
    assert entry.path is not None
    file = entry.path / "preprocessor_config.json"
    config: Mapping[str, Any] = read_json(entry, file) if file.is_file() else {}
    if not config and (entry.path / "processor_config.json").is_file():
        config = read_json(entry, entry.path / "processor_config.json").get("image_processor", {})
    size = config.get("size") or {"height": 1024, "width": 1024}
    longest_edge = size.get("longest_edge")
    return InputSettings(
        size=longest_edge or (size["height"], size["width"]),
        resize="pad" if longest_edge else "stretch",
        scale=float(config.get("rescale_factor", 1 / 255)),
        mean=tuple(config.get("image_mean") or _IMAGENET_MEAN),
        std=tuple(config.get("image_std") or _IMAGENET_STD),
    )


def _place_prompt(prompt: PointPrompt, placement: Placement) -> tuple[list[list[float]], list[int], list[float] | None]:
    """Points, their labels and the box, in pixels of the network's input."""
    points = [list(placement.to_input(*point)) for point in (*prompt.inside, *prompt.outside)]
    labels = [_INSIDE] * len(prompt.inside) + [_OUTSIDE] * len(prompt.outside)
    if prompt.box is None:
        return points, labels, None
    return points, labels, [*placement.to_input(*prompt.box[:2]), *placement.to_input(*prompt.box[2:])]


def _box_with_margin(mask: np.ndarray) -> tuple[float, float, float, float]:
    bounds, (h, w) = mask_bounds(mask), mask.shape
    dx, dy = _MARGIN * (bounds.x[1] - bounds.x[0]), _MARGIN * (bounds.y[1] - bounds.y[0])
    return max(0.0, bounds.x[0] - dx), max(0.0, bounds.y[0] - dy), min(w, bounds.x[1] + dx), min(h, bounds.y[1] + dy)


class _ReferenceSam:
    """The model with transformers' own processor, one frame at a time."""

    follows = False

    def __init__(self, folder: TransformersFolder, processor: Any) -> None:
        self._folder, self._processor = folder, processor

    @classmethod
    def load(cls, folder: TransformersFolder) -> _ReferenceSam | None:
        """None where the processor cannot be had, as that of SAM 2 without torchvision."""
        from transformers import AutoProcessor

        processors: Any = AutoProcessor
        try:
            return cls(
                folder, processors.from_pretrained(folder.folder, local_files_only=True, trust_remote_code=False)
            )
        except (OSError, ValueError, ImportError, KeyError):
            return None

    def segment_prompted(self, images: Sequence[Image], prompts: Sequence[PointPrompt]) -> list[LabelMask]:
        import numpy as np

        out = []
        for image, prompt in zip(images, prompts, strict=True):
            arguments: dict[str, Any] = {}
            if prompt.inside or prompt.outside:
                arguments["input_points"] = [[[list(point) for point in (*prompt.inside, *prompt.outside)]]]
                arguments["input_labels"] = [[[_INSIDE] * len(prompt.inside) + [_OUTSIDE] * len(prompt.outside)]]
            if prompt.box is not None:
                arguments["input_boxes"] = [[list(prompt.box)]]
            try:
                inputs = self._processor(images=rgb_picture(image), return_tensors="pt", **arguments)
            except ValueError:  # the first generation leaves out the level of objects
                flat = {key: value[0] if key != "input_boxes" else value for key, value in arguments.items()}
                inputs = self._processor(images=rgb_picture(image), return_tensors="pt", **flat)
            inputs = inputs.to(self._folder.device)
            sizes = [inputs.pop(name).cpu() for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
            outputs = self._folder.run(inputs, multimask_output=False)
            (mask,) = self._processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)
            quality = float(outputs.iou_scores.reshape(-1)[0])
            out.append(
                LabelMask(_LABEL, np.asarray(mask).reshape(image.shape).astype(bool), min(max(quality, 0.0), 1.0))
            )
        return out

    def reference(self) -> None:
        return None
