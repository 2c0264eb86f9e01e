"""LFM2-VL's image processor without torchvision: images in patches, large ones as tiles and a thumbnail.

The sizes, the layout of the tiles and the order of the patches are those of `Lfm2VlImageProcessor` of transformers 5.23, whose
resizing is torchvision's; here Pillow resizes, as it does for the families of which transformers has both.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs

_HALF: Final = [0.5, 0.5, 0.5]


class Lfm2VlImageSettings(ImagesKwargs, total=False):
    """Settings of LFM2-VL's image processor; tokens, tiles and sides in pixels as transformers names them."""

    downsample_factor: int
    do_image_splitting: bool
    min_tiles: int
    max_tiles: int
    use_thumbnail: bool
    min_image_tokens: int
    max_image_tokens: int
    encoder_patch_size: int
    tile_size: int
    max_pixels_tolerance: float
    return_row_col_info: bool


class StillLfm2VlImageProcessor(PilBackend):
    """Images to patches, each tile padded to the same number of them."""

    model_input_names = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]  # noqa: RUF012  (as the base class declares it)
    valid_kwargs = Lfm2VlImageSettings
    downsample_factor = 2
    do_image_splitting = True
    min_tiles = 2
    max_tiles = 10
    use_thumbnail = True
    min_image_tokens = 64
    max_image_tokens = 256
    encoder_patch_size = 16
    tile_size = 512
    max_pixels_tolerance = 2.0
    do_resize = True
    size = {"height": 512, "width": 512}  # noqa: RUF012  (as the base class declares it)
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    do_pad = True
    return_row_col_info = False
    image_mean = _HALF
    image_std = _HALF

    def _preprocess(  # type: ignore[override]  # called by name
        self,
        images: list[np.ndarray],
        *,
        resample: Any,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: Any,
        image_std: Any,
        return_tensors: Any,
        return_row_col_info: bool = False,
        **settings: Any,
    ) -> BatchFeature:
        step: int = settings["encoder_patch_size"]
        longest = max(
            settings["max_image_tokens"] * settings["downsample_factor"] ** 2,
            (settings["tile_size"] // step) ** 2 if settings["do_image_splitting"] else 0,
        )
        pixels, masks, shapes, rows, columns, sizes = [], [], [], [], [], []
        for image in images:
            tiles, grid, size = self._tiles(image, resample, settings)
            rows.append(grid[0])
            columns.append(grid[1])
            sizes.append(list(size))
            for tile in tiles:
                scaled = self.rescale(tile, rescale_factor) if do_rescale else tile
                normal = self.normalize(scaled, image_mean, image_std) if do_normalize else scaled
                patches = _to_patches(np.asarray(normal, np.float32), step)
                mask = np.zeros(longest, np.int64)
                mask[: len(patches)] = 1
                padded = np.zeros((longest, patches.shape[1]), np.float32)
                padded[: len(patches)] = patches
                pixels.append(padded)
                masks.append(mask)
                shapes.append([tile.shape[1] // step, tile.shape[2] // step])
        data: dict[str, Any] = {
            "pixel_values": np.stack(pixels),
            "pixel_attention_mask": np.stack(masks),
            "spatial_shapes": np.array(shapes, np.int64),
        }
        if return_row_col_info:
            data |= {"image_rows": rows, "image_cols": columns, "image_sizes": sizes}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _tiles(
        self, image: np.ndarray, resample: Any, settings: dict[str, Any]
    ) -> tuple[list[np.ndarray], tuple[int, int], tuple[int, int]]:
        """The tiles of an image (C, H, W), its grid (rows, columns), and the size that it has in one piece."""
        height, width = image.shape[-2:]
        whole = _whole_size(height, width, settings)
        smaller = self.resize(image, SizeDict(height=whole[0], width=whole[1]), resample=resample)
        splits = settings["do_image_splitting"] and not settings["min_tiles"] == settings["max_tiles"] == 1
        if not splits or not _is_large(height, width, settings):
            return [smaller], (1, 1), whole
        side = settings["tile_size"]
        columns, rows = _grid(height, width, settings)
        large = self.resize(image, SizeDict(height=side * rows, width=side * columns), resample=resample)
        tiles = [
            large[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            for row in range(rows)
            for column in range(columns)
        ]
        return [*tiles, smaller] if settings["use_thumbnail"] and len(tiles) > 1 else tiles, (rows, columns), whole


def _whole_size(height: int, width: int, settings: dict[str, Any]) -> tuple[int, int]:
    """Height and width of an image in one piece: whole tokens, within the least and the most of them."""
    factor = settings["encoder_patch_size"] * settings["downsample_factor"]
    least, most = settings["min_image_tokens"] * factor**2, settings["max_image_tokens"] * factor**2
    sides = [max(factor, round(side / factor) * factor) for side in (height, width)]
    if sides[0] * sides[1] > most:
        scale = math.sqrt(height * width / most)
        sides = [max(factor, math.floor(side / scale / factor) * factor) for side in (height, width)]
    elif sides[0] * sides[1] < least:
        scale = math.sqrt(least / (height * width))
        sides = [math.ceil(side * scale / factor) * factor for side in (height, width)]
    return sides[0], sides[1]


def _is_large(height: int, width: int, settings: dict[str, Any]) -> bool:
    """Whether an image is cut into tiles."""
    factor = settings["encoder_patch_size"] * settings["downsample_factor"]
    sides = [max(settings["encoder_patch_size"], round(side / factor) * factor) for side in (height, width)]
    most: float = settings["max_image_tokens"] * factor**2 * settings["max_pixels_tolerance"]
    return bool(sides[0] * sides[1] > most)


def _grid(height: int, width: int, settings: dict[str, Any]) -> tuple[int, int]:
    """Columns and rows of the tiles: of the aspect ratio next to the image's, and of more tiles where its area fills them."""
    least, most, side = settings["min_tiles"], settings["max_tiles"], settings["tile_size"]
    grids = {(w, h) for w in range(1, most + 1) for h in range(1, most + 1) if least <= w * h <= most}
    best, nearest = (1, 1), math.inf
    for grid in sorted(grids, key=lambda each: each[0] * each[1]):
        difference = abs(width / height - grid[0] / grid[1])
        if difference < nearest:
            best, nearest = grid, difference
        elif difference == nearest and width * height > 0.5 * side * side * grid[0] * grid[1]:
            best = grid
    return best


def _to_patches(image: np.ndarray, step: int) -> np.ndarray:
    """Patches (rows * columns, step * step * channels) of an image (C, H, W), in reading order."""
    channels, height, width = image.shape
    cells = image.reshape(channels, height // step, step, width // step, step)
    return cells.transpose(1, 3, 2, 4, 0).reshape(-1, step * step * channels)
