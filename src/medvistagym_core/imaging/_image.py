"""Images with units and geometry: what tools take and give.

An `Image` carries pixels in their own unit (Hounsfield units, raw counts, 0-255 greys), the window they are displayed with,
and an affine map back to the source image, so that every crop knows where it lies in source pixels and millimetres.
What a policy sees is never the pixels but `Image.view`: an 8-bit picture of a chosen size. A display holds for values: a crop
is displayed as the image that it was cut from, and an image given other values by a window that fits them.

Coordinates are pixel edges: `(0, 0)` is the upper left corner of the upper left pixel, `(W, H)` the lower right corner of the
lower right one. A `Box` lies on a grid of 0 to 1000 over the named image, so it means the same at any resolution.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from medvistagym_core.imaging._fitting_window import refit_display
from medvistagym_core.imaging._grayscale import finite_range
from medvistagym_core.imaging._html import figure_html, notebook_png
from medvistagym_core.imaging._interop import (
    dlpack_device,
    from_array,
    from_pil,
    from_sitk,
    from_torch,
    to_array,
    to_dlpack,
    to_numpy,
    to_sitk,
    to_torch,
)
from medvistagym_core.imaging._open_image import open_image
from medvistagym_core.imaging._pixel_array import as_pixel_array
from medvistagym_core.imaging._rendered import RenderedImage
from medvistagym_core.imaging._resample import resize, resize_mask
from medvistagym_core.imaging._slicing import slice_image
from medvistagym_core.imaging._view import save_view, to_pil, view_image, view_shape
from medvistagym_core.imaging._voi_lut import LookupTable, Window

if TYPE_CHECKING:
    import numpy as np

    Resample = Callable[[np.ndarray, int, int], np.ndarray]

from medvistagym_core.imaging._box import BOX_GRID_SIZE, Box

Affine = tuple[float, float, float, float, float, float]
IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_MAX_PROVENANCE_STEPS = 32  # more of them take longer to compare than pixels
_VALUE_COMPARED_FIELDS = frozenset(
    {"window", "value_range", "frame", "unit", "spacing", "modality", "photometric"}
)  # attributes equal by value


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Image:
    """Pixels with a unit, a display window and the way back to the source image. Immutable: its pixels are read-only.

    Attributes:
        pixels: `(H, W)`, `(N, H, W)` for frames or slices, and one more axis of 3 at the end when `photometric` is "RGB"; any
            integer, boolean or real floating dtype. Anything that speaks DLPack or the array protocol is taken. Three axes of
            which the last looks like channels are refused until `photometric`, `frame` or a spacing of three says which it is.
        unit: Unit of the values: "HU", "raw" (counts without a physical scale), "grey" or "RGB" (0-255; "RGB" is that of
            colours unless another is given), "mask", "label", ...
        spacing: Distance between pixel centres in mm, `(row, column)` or `(slice, row, column)`; None when unknown.
        modality: DICOM modality such as "CT"; None when unknown.
        photometric: "MONOCHROME2" (low is dark; unless another is given), "MONOCHROME1" (low is bright) or "RGB".
        window: How it is displayed, by a window or a lookup table; None shows all values from the least to the greatest (uint8
            greys as they are).
        value_range: What is displayed black and white where there is no window, in place of the least and the greatest value:
            those of the image that this one was cut or resampled from.
        windows: All the windows its file offers.
        overlay: `(H, W)` boolean graphics, drawn white with a black rim on views and never part of the pixels; or None.
        to_source: `(a, b, c, d, e, f)`: `source_x = a x + b y + c`, `source_y = d x + e y + f`, in pixel-edge coordinates.
        source_shape: `(H, W)` of the source image; its own when it is a source.
        detail: The image that this one was resampled from, with the same values at a finer or native resolution; or None.
        frame: The frame or slice shown by `view`, for stacks; the middle one when None.
        attributes: De-identified facts about the acquisition.

    Raises:
        ValueError: Pixels, spacing, overlay, frame or value range are not as above; a sentence says which.
    """

    pixels: np.ndarray
    unit: str = ""
    spacing: tuple[float, ...] | None = None
    modality: str | None = None
    photometric: Literal["MONOCHROME1", "MONOCHROME2", "RGB"] = None  # type: ignore[assignment] # nobody has said it
    window: Window | LookupTable | None = None
    value_range: tuple[float, float] | None = None
    windows: tuple[Window, ...] = ()
    overlay: np.ndarray | None = None
    to_source: Affine = IDENTITY
    source_shape: tuple[int, int] | None = None
    detail: Image | None = None
    frame: int | None = None
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    _provenance: tuple[Any, ...] | None = dataclasses.field(
        default=None, init=False
    )  # another image, and how it was made

    def __post_init__(self) -> None:
        spacing = self.spacing
        are_frames = self.frame is not None or (spacing is not None and len(spacing) == 3)
        pixels = as_pixel_array(self.pixels, self.photometric, are_frames=are_frames)
        if pixels is not self.pixels:
            object.__setattr__(self, "pixels", pixels)
        if self.photometric is None:
            object.__setattr__(self, "photometric", "MONOCHROME2")  # type: ignore[unreachable]
        if not self.unit:
            object.__setattr__(self, "unit", "RGB" if self.photometric == "RGB" else "grey")
        if self.source_shape is None:
            object.__setattr__(self, "source_shape", self.shape)
        if spacing is not None:
            if len(spacing) != 2 and (len(spacing) != 3 or not self.is_stack):
                raise ValueError(f"spacing has one value an axis in mm, not {spacing}")
            for distance in spacing:
                if not 0 < distance < math.inf:
                    raise ValueError(f"spacing is positive, in mm, not {spacing}")
        if self.overlay is not None and tuple(self.overlay.shape) != self.shape:
            raise ValueError(f"the overlay has the image's shape {self.shape}, not {tuple(self.overlay.shape)}")
        if self.frame is not None and not 0 <= self.frame < self.frames:
            raise ValueError(f"frame {self.frame} does not exist; the image has frames 0 to {self.frames - 1}")
        if self.value_range is not None and not -math.inf < self.value_range[0] <= self.value_range[1] < math.inf:
            raise ValueError(f"a value range is a least and a greatest value, not {self.value_range}")

    def __repr__(self) -> str:
        size = "x".join(str(n) for n in self.pixels.shape)
        return f"<image {size} {self.pixels.dtype} {self.unit}{f' {self.modality}' if self.modality else ''}>"

    # -- what it is

    @property
    def is_stack(self) -> bool:
        """Whether it has several frames or slices along a first axis."""
        return self.pixels.ndim - (self.photometric == "RGB") == 3

    @property
    def frames(self) -> int:
        """Number of frames or slices; 1 for a plain image."""
        return int(self.pixels.shape[0]) if self.is_stack else 1

    @property
    def shape(self) -> tuple[int, int]:
        """`(H, W)` of a frame."""
        shape = self.pixels.shape
        h, w = shape[-3:-1] if self.photometric == "RGB" else shape[-2:]
        return h, w

    @property
    def displayed_frame(self) -> int:
        """The frame or slice that `view` shows; 0 for a plain image."""
        if not self.is_stack:
            return 0
        return self.frames // 2 if self.frame is None else self.frame

    @property
    def physical_unit(self) -> str | None:
        """The unit, if values in it mean the same in every image; None for counts, greys, colours, masks and labels."""
        return None if self.unit in ("raw", "grey", "RGB", "mask", "label") else self.unit

    @property
    def holds_labels(self) -> bool:
        """Whether values name what a pixel belongs to, as in a mask, so that none between two of them means anything."""
        return self.unit in ("mask", "label") or self.pixels.dtype.kind == "b"

    @property
    def display_range(self) -> tuple[float, float] | None:
        """The values displayed black and white where no window says it; None where one does."""
        if self.window is not None:
            return None
        if self.value_range is not None:
            return self.value_range
        return (0.0, 255.0) if self.pixels.dtype.str == "|u1" else self._finite_range

    @cached_property
    def _finite_range(self) -> tuple[float, float]:
        return finite_range(self.pixels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that a tool can read from the image, as hexadecimal text."""
        import numpy as np

        h = hashlib.sha256()
        head = (
            self.pixels.dtype.str, self.pixels.shape, self.unit, self.spacing, self.modality, self.photometric, self.window,
            self.windows, self.to_source, self.source_shape, self.frame, sorted(self.attributes.items()),
        )  # fmt: skip
        h.update(repr(head if self.value_range is None else (*head, self.value_range)).encode())
        h.update(np.ascontiguousarray(self.pixels).data)
        if self.overlay is not None:
            h.update(np.ascontiguousarray(self.overlay).data)
        if self.detail is not None:
            h.update(self.detail.digest.encode())
        return h.hexdigest()

    @cached_property
    def cache_key(self) -> Hashable:
        """Equal for two images only if their digests are; quick to find for one that was cropped or resampled from another.

        It is the digest, or for an image made by `replace`, `with_window`, `crop` or `resized` how it was made of which other.
        Good within a process.
        """
        image, steps = self, list[Hashable]()
        while "cache_key" not in image.__dict__ and image._provenance is not None:
            image, *how = image._provenance
            # By their text, since 40 and 40.0 are equal and not the same to a tool that writes them.
            steps.append(tuple(part if callable(part) else repr(part) for part in how))
        object.__setattr__(self, "_provenance", None)  # the other image is not kept any longer
        if not steps:
            return self.digest
        first = image.cache_key if isinstance(image.cache_key, tuple) else (image.cache_key,)
        return (*first, *reversed(steps)) if len(first) + len(steps) <= _MAX_PROVENANCE_STEPS else self.digest

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {"_provenance": None}

    # -- to and from other libraries, parts, and how notebooks show it

    __array__ = to_array
    __dlpack__ = to_dlpack
    __dlpack_device__ = dlpack_device
    to_numpy = to_numpy
    to_torch = to_torch
    to_sitk = to_sitk
    from_numpy = classmethod(from_array)
    from_torch = classmethod(from_torch)
    from_sitk = classmethod(from_sitk)
    from_pil = classmethod(from_pil)
    open = classmethod(open_image)
    __getitem__ = slice_image
    _repr_png_ = notebook_png
    _repr_html_ = figure_html

    # -- making another one of it

    def replace(self, **changes: Any) -> Image:
        """The same image with some attributes changed; with other `pixels`, which may be in other places, refitted as by
        `with_pixels`.

        Args:
            **changes: Attributes to change, by name; with `pixels`, `window="keep"` keeps the display as it is.

        Raises:
            ValueError: The attributes do not fit together (`Image`).
        """
        if "pixels" in changes:
            changes = self._refit(changes)
        new = dataclasses.replace(self, **changes)
        if changes.keys() <= _VALUE_COMPARED_FIELDS:
            object.__setattr__(new, "_provenance", (self, tuple(sorted(changes.items()))))
        return new

    def with_pixels(self, pixels: Any, **changes: Any) -> Image:
        """Other values at the same places; the shape `(H, W)` must stay. Drops `detail`, whose values are no longer these.

        They are displayed by a window that fits them: the image's own while they keep its scale, the same moved along where
        they were scaled or inverted, else one that spans them. Its `windows` are kept in the first case only.

        Args:
            pixels: The values.
            changes: Other attributes, as of `Image`. `window` says how they are displayed instead: a window, None for their
                full range, or "keep" for the display of this image, whether by a window or by the range of its values.

        Raises:
            ValueError: The shape is another.
        """
        new = dataclasses.replace(self, detail=None, **self._refit({"pixels": pixels, **changes}))
        if new.shape != self.shape:
            raise ValueError(
                f"with_pixels keeps the shape {self.shape}, not {new.shape}; use crop() or resized() for another one"
            )
        return new

    def _refit(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The changes, and a display that fits their pixels unless they name one."""
        if changes.get("window") == "keep":
            return {**changes, "window": self.window, "value_range": self.display_range}
        if "window" in changes:
            return {"value_range": None, **changes}
        pixels = as_pixel_array(changes["pixels"], changes.get("photometric", self.photometric), are_frames=True)
        window, value_range = refit_display(self, pixels)
        windows = self.windows if window == self.window else ()
        return {"windows": windows, "value_range": value_range, **changes, "pixels": pixels, "window": window}

    def with_window(self, window: Window | LookupTable) -> Image:
        """The same values, displayed otherwise."""
        detail = self.detail.replace(window=window) if self.detail is not None else None
        return self._derive(
            (self, window), self.pixels, self.to_source, self.spacing, self.overlay, detail, window, self.value_range
        )

    def crop(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Columns `x0` to `x1` and rows `y0` to `y1` (exclusive), in pixels of this image.

        Args:
            x0: First column.
            y0: First row.
            x1: Column after the last.
            y1: Row after the last.

        Raises:
            ValueError: The rectangle is empty or leaves the image.
        """
        h, w = self.shape
        if not (0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h):
            raise ValueError(f"the rectangle {x0}, {y0}, {x1}, {y1} does not lie within the image of {w} x {h} pixels")
        pixels = self.pixels[:, y0:y1, x0:x1] if self.is_stack else self.pixels[y0:y1, x0:x1]
        overlay = None if self.overlay is None else self.overlay[y0:y1, x0:x1]
        a, b, c, d, e, f = self.to_source
        affine = (a, b, a * x0 + b * y0 + c, d, e, d * x0 + e * y0 + f)
        provenance = (self, x0, y0, x1, y1)
        return self._derive(provenance, pixels, affine, self.spacing, overlay, None, self.window, self.display_range)

    def resized(self, height: int, width: int, resample: Resample | None = None) -> Image:
        """Resampled to `(height, width)`: area average where it shrinks, bilinear where it grows; float32 values.

        Geometry and spacing follow; `detail` is the image it was made from.

        Args:
            height: New height in pixels.
            width: New width in pixels.
            resample: Makes the values instead, of the pixels, the height and the width.
        """
        h, w = self.shape
        if (h, w) == (height, width):
            return self
        if resample is None:
            pixels = resize(self.pixels, height, width, stack=self.is_stack)
        else:
            pixels = resample(self.pixels, height, width)
        overlay = None if self.overlay is None else resize_mask(self.overlay, height, width)
        spacing = None
        if self.spacing is not None:
            spacing = (*self.spacing[:-2], self.spacing[-2] * h / height, self.spacing[-1] * w / width)
        a, b, c, d, e, f = self.to_source
        wide, high = w / width, h / height
        affine = (a * wide, b * high, c, d * wide, e * high, f)
        pixels.flags.writeable = False
        hashable = getattr(resample, "__hash__", None) is not None
        provenance = (self, height, width, resample) if hashable else None
        return self._derive(
            provenance, pixels, affine, spacing, overlay, self.detail or self, self.window, self.display_range
        )

    def _derive(
        self,
        provenance: tuple[Any, ...] | None,
        pixels: np.ndarray,
        to_source: Affine,
        spacing: tuple[float, ...] | None,
        overlay: np.ndarray | None,
        detail: Image | None,
        window: Window | LookupTable | None,
        value_range: tuple[float, float] | None,
    ) -> Image:
        """An image made of this one: what may differ is given, the rest is the same.

        `provenance` is this image, and how the other is made of it (`cache_key`); None where its digest is to tell. The
        constructor is called by name, which takes half the time of `dataclasses.replace`.
        """
        new = type(self)(
            pixels=pixels, unit=self.unit, spacing=spacing, modality=self.modality, photometric=self.photometric,
            window=window, value_range=value_range, windows=self.windows, overlay=overlay, to_source=to_source,
            source_shape=self.source_shape, detail=detail, frame=self.frame, attributes=self.attributes,
        )  # fmt: skip
        if provenance is not None:
            object.__setattr__(new, "_provenance", provenance)
        return new

    # -- places

    def box_to_pixels(self, box: Box) -> tuple[int, int, int, int]:
        """The least rectangle of whole pixels that covers `box`: `x0, y0, x1, y1`, the last two exclusive."""
        h, w = self.shape
        x0, y0 = box.x0 * w // BOX_GRID_SIZE, box.y0 * h // BOX_GRID_SIZE
        return x0, y0, max(-(-box.x1 * w // BOX_GRID_SIZE), x0 + 1), max(-(-box.y1 * h // BOX_GRID_SIZE), y0 + 1)

    def box_to_source(self, box: Box) -> tuple[float, float, float, float]:
        """The smallest upright rectangle of the source image, in source pixels, that holds `box`."""
        h, w = self.shape
        a, b, c, d, e, f = self.to_source
        corners = [(x * w / BOX_GRID_SIZE, y * h / BOX_GRID_SIZE) for x in (box.x0, box.x1) for y in (box.y0, box.y1)]
        xs = [a * x + b * y + c for x, y in corners]
        ys = [d * x + e * y + f for x, y in corners]
        return min(xs), min(ys), max(xs), max(ys)

    # -- looking at it

    view_shape = view_shape
    view = view_image
    to_pil = to_pil
    save = save_view

    def rendered(self, side: int | None = None) -> RenderedImage:
        """`view(side)`, made once for each image object: episodes of one case, and equal calls, share their images."""
        by_side = self._rendered
        if side not in by_side:
            by_side[side] = RenderedImage(self.view(side))
        return by_side[side]

    def render_from(self, png: bytes) -> None:
        """Take a PNG file that holds just the pixels of this picture of 8 bits for its view at its own size."""
        self._rendered[None] = RenderedImage(self.pixels, png)

    @cached_property
    def _rendered(self) -> dict[int | None, RenderedImage]:
        return {}
