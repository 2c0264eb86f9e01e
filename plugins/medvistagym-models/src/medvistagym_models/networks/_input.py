"""From images to what a network takes, and back to the places in the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image, Window, full_resolution_frame
from medvistagym_models._entry import InputSettings

if TYPE_CHECKING:
    import numpy as np

MAX_SIDE: Final = 8192
"""Longest side of an image that is handed to a network, in pixels."""


def displayed_frame(image: Image) -> Image:
    """The full resolution of an image; of a stack, the frame that is displayed, which its attributes then name.

    Raises:
        ValueError: Its longer side exceeds `MAX_SIDE`.
    """
    source = image.detail or image
    if max(source.shape) > MAX_SIDE:
        raise ValueError(
            f"the image has {max(source.shape)} pixels a side, the most is {MAX_SIDE}; zoom into a part first"
        )
    return full_resolution_frame(image)


def picture(image: Image, settings: InputSettings) -> np.ndarray:
    """The greys or colours of a single frame, uint8 `(H, W)` or `(H, W, 3)`, in the window that the settings ask for.

    Raises:
        ValueError: Its values have another unit than is asked for.
    """
    if settings.unit is not None and image.unit != settings.unit:
        raise ValueError(f"this model takes values in {settings.unit}, and the image has {image.unit}")
    image = image.replace(overlay=None) if image.overlay is not None else image
    window = settings.window
    if isinstance(window, tuple):
        image = image.with_window(Window(*window))
    elif window == "full":
        image = image.replace(window=None)
    elif window == "file" and image.windows:
        image = image.with_window(image.windows[0])
    return image.view()


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image lies in what a network was given: `x_network = x_image * scale_x + shift_x`, in pixel edges.

    Attributes:
        scale_x: Pixels of the network's input for one of the image, across; `scale_y` down.
        scale_y: See `scale_x`.
        shift_x: The image's left edge in pixels of the input; negative where a part was cut off.
        shift_y: The upper edge.
        shape: `(H, W)` of the image.
        input_shape: `(H, W)` of the input.
    """

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float
    shape: tuple[int, int]
    input_shape: tuple[int, int]

    def to_image(self, box: Iterable[float]) -> tuple[float, float, float, float]:
        """A box `(x0, y0, x1, y1)` of the input in pixels of the image, cut to it."""
        x0, y0, x1, y1 = (float(value) for value in box)
        h, w = self.shape
        xs = [min(max((x - self.shift_x) / self.scale_x, 0.0), float(w)) for x in (x0, x1)]
        ys = [min(max((y - self.shift_y) / self.scale_y, 0.0), float(h)) for y in (y0, y1)]
        return xs[0], ys[0], xs[1], ys[1]

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """A point of the image in pixels of the input."""
        return x * self.scale_x + self.shift_x, y * self.scale_y + self.shift_y

    @property
    def rectangle(self) -> tuple[int, int, int, int]:
        """Columns and rows `(x0, y0, x1, y1)` of the input that show the image or a part of it."""
        h, w = self.shape
        H, W = self.input_shape
        x0, y0 = max(0, round(self.shift_x)), max(0, round(self.shift_y))
        return x0, y0, min(W, round(w * self.scale_x + self.shift_x)), min(H, round(h * self.scale_y + self.shift_y))


def prepare(greys: np.ndarray, settings: InputSettings) -> tuple[np.ndarray, Placement]:
    """A picture as a network takes it.

    Args:
        greys: uint8 `(H, W)` or `(H, W, 3)`.
        settings: What to do with it.

    Returns:
        float32 `(C, H', W')`, and where the picture lies in it.
    """
    import numpy as np

    shape: tuple[int, int] = greys.shape[0], greys.shape[1]
    if settings.channels == 1 and greys.ndim == 3:
        import PIL.Image

        greys = np.asarray(PIL.Image.fromarray(greys).convert("L"))
    resized, scale, shift = _resize(greys, settings)
    values = np.atleast_3d(resized).transpose(2, 0, 1).astype(np.float32)  # one channel of a grey picture
    values *= np.float32(settings.scale)
    mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (settings.mean, settings.std))
    values = (values - mean) / std
    if values.shape[0] < settings.channels:
        values = np.broadcast_to(values, (settings.channels, *values.shape[1:]))
    h, w = values.shape[1:]
    want_h, want_w = settings.shape if settings.shape and settings.resize == "pad" else (h, w)
    pad_h, pad_w = want_h - h + -want_h % settings.multiple, want_w - w + -want_w % settings.multiple
    if pad_h or pad_w:
        values = np.pad(values, ((0, 0), (0, pad_h), (0, pad_w)))
    placement = Placement(scale[1], scale[0], shift[1], shift[0], shape, (values.shape[1], values.shape[2]))
    return np.ascontiguousarray(values), placement


def _resize(greys: np.ndarray, settings: InputSettings) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """The picture at the size asked for, its scales and shifts (down, across)."""
    import numpy as np
    import PIL.Image

    h, w = greys.shape[:2]
    if settings.shape is None:
        return greys, (1.0, 1.0), (0.0, 0.0)
    want_h, want_w = settings.shape
    if settings.resize == "stretch":
        height, width = want_h, want_w
    else:
        scale = (min if settings.resize == "pad" else max)(want_h / h, want_w / w)
        height, width = max(1, round(h * scale)), max(1, round(w * scale))
    kind = getattr(PIL.Image.Resampling, settings.interpolation.upper())
    resized = (
        greys if (height, width) == (h, w) else np.asarray(PIL.Image.fromarray(greys).resize((width, height), kind))
    )
    scales = height / h, width / w
    if settings.resize != "crop":
        return resized, scales, (0.0, 0.0)
    top, left = (height - want_h) // 2, (width - want_w) // 2
    return resized[top : top + want_h, left : left + want_w], scales, (float(-top), float(-left))


def prepare_batch(
    images: Sequence[Image], settings: InputSettings
) -> list[tuple[list[int], np.ndarray, list[Placement]]]:
    """Images as a network takes them, those that come out in one shape together.

    Returns:
        For each shape the positions of its images, float32 `(N, C, H, W)`, and where each image lies in it.
    """
    import numpy as np

    by_shape: dict[tuple[int, ...], list[tuple[int, np.ndarray, Placement]]] = {}
    for position, image in enumerate(images):
        values, placement = prepare(picture(image, settings), settings)
        by_shape.setdefault(values.shape, []).append((position, values, placement))
    return [
        ([position for position, _, _ in group], np.stack([values for _, values, _ in group]), [p for _, _, p in group])
        for group in by_shape.values()
    ]


_DERIVABLE: Final = frozenset(
    {"ViT", "DeiT", "Beit", "Segformer", "CLIP", "Siglip", "Bit", "ConvNext", "Swin2SR", "EfficientNet", "MobileNetV2"}
)
_DERIVED_KEYS: Final = frozenset(
    {
        "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
        "image_mean", "image_std", "do_convert_rgb", "image_processor_type", "feature_extractor_type", "processor_class",
        "data_format", "do_pad", "default_to_square", "do_reduce_labels", "return_tensors",
    }
)  # fmt: skip


def settings_of_processor(config: Mapping[str, Any]) -> InputSettings | None:
    """What a folder's image processor does, as settings; None where that cannot be said by them.

    Args:
        config: preprocessor_config.json.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    family = (
        kind.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    )
    given = {key for key, value in config.items() if value is not None}
    if family not in _DERIVABLE or not given <= _DERIVED_KEYS or config.get("do_pad"):
        return None
    size = config.get("size")
    resize = "stretch"
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        shape: Any = (int(size["height"]), int(size["width"]))
    elif isinstance(size, Mapping) and set(size) == {"shortest_edge"} and config.get("do_center_crop"):
        crop = config.get("crop_size")
        if not isinstance(crop, Mapping) or {crop.get("height"), crop.get("width")} != {size["shortest_edge"]}:
            return None
        shape, resize = (int(crop["height"]), int(crop["width"])), "crop"
    else:
        return None
    if config.get("do_center_crop") and resize == "stretch":
        return None
    interpolations = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    interpolation = interpolations.get(config.get("resample", 2))
    if not config.get("do_resize", True) or interpolation is None:
        return None
    normalizes = config.get("do_normalize", True) and config.get("image_mean") and config.get("image_std")
    return InputSettings(
        window="file",
        size=shape,
        resize=resize,
        interpolation=interpolation,
        scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
        mean=tuple(config["image_mean"]) if normalizes else 0.0,
        std=tuple(config["image_std"]) if normalizes else 1.0,
    )
