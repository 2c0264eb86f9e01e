"""What an image is beside its pixels, as JSON that files carry with them: unit, geometry, display, de-identified facts.

A file may come from anywhere, so what it says is checked field by field: sizes are bounded, and text has no control characters.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from medvistagym_core.imaging._voi_lut import LookupTable, Window

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging._image import Image


GEOMETRY_ATTRIBUTES: Final = ("direction", "position_mm", "slice_offsets_mm", "slice_spacing", "slices", "shear_deg")
"""Attributes that place an image in the patient, which many file formats say in their own way."""
_START: Final = b'{"medvistagym":'
_KEY: Final = r"^[a-z0-9_]{1,40}$"
_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f]+$"
_MAX_TEXT: Final = 20_000  # characters; the offsets of 2,000 slices
_MAX_NAME: Final = 40
_MAX_ATTRIBUTES: Final = 100
_Name = Annotated[str, Field(pattern=_LINE, max_length=_MAX_NAME)]
_Text = Annotated[str, Field(pattern=_LINE, max_length=_MAX_TEXT)]
_Float = FiniteFloat


def is_description(text: str | bytes) -> bool:
    """Whether a text of a file is meant to be one of these."""
    return (text.encode() if isinstance(text, str) else text).startswith(_START)


class _WindowDescription(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    center: _Float
    width: _Float
    function: Literal["linear", "linear_exact", "sigmoid"] = "linear"
    name: _Name | None = None


class _TableDescription(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    first: int
    entries: Annotated[str, Field(max_length=200_000)]  # base64 of little-endian uint16
    max_output: int


class ImageDescription(BaseModel):
    """The fields of an `Image` that a file carries beside its pixels; what is not listed is as `Image` has it.

    Attributes:
        medvistagym: Version of this description.
        unit: Unit of the values.
        dtype: Type of the values in numpy's spelling, such as "<i2"; None where the file holds a view.
        shape: Shape of the pixels, 1 to 4 axes; None where the file holds a view.
        spacing: Distance between pixel centres in mm, `(row, column)` or `(slice, row, column)`.
        modality: DICOM modality.
        photometric: "MONOCHROME1", "MONOCHROME2" or "RGB".
        window: How it is displayed: a window, or a lookup table in base64.
        value_range: What is displayed black and white where there is no window.
        windows: All the windows of the image, 64 at most.
        to_source: Affine map to the source image, in pixel-edge coordinates.
        source_shape: `(H, W)` of the source image.
        frame: The frame or slice displayed, of a stack.
        attributes: De-identified facts about the acquisition.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    medvistagym: Literal[1]  # version of this description
    unit: _Name
    dtype: Annotated[str, Field(pattern=r"^[<>|=]?[biuf]\d{1,2}$")] | None = None
    shape: Annotated[tuple[PositiveInt, ...], Field(max_length=4)] | None = None
    spacing: Annotated[tuple[_Float, ...], Field(min_length=2, max_length=3)] | None = None
    modality: Annotated[str, Field(pattern=r"^[A-Z]{2,16}$")] | None = None
    photometric: Literal["MONOCHROME1", "MONOCHROME2", "RGB"] = "MONOCHROME2"
    window: _WindowDescription | _TableDescription | None = None
    value_range: tuple[_Float, _Float] | None = None
    windows: Annotated[tuple[_WindowDescription, ...], Field(max_length=64)] = ()
    to_source: tuple[_Float, _Float, _Float, _Float, _Float, _Float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    source_shape: tuple[PositiveInt, PositiveInt] | None = None
    frame: Annotated[int, Field(ge=0)] | None = None
    attributes: Annotated[dict[Annotated[str, Field(pattern=_KEY)], _Text], Field(max_length=_MAX_ATTRIBUTES)] = {}

    @classmethod
    def from_image(cls, image: Image) -> ImageDescription:
        """What a file says of an image whose values it holds."""
        window: Any = None
        if isinstance(image.window, LookupTable):
            entries = base64.b64encode(image.window.entries).decode()
            window = _TableDescription(first=image.window.first, entries=entries, max_output=image.window.max_output)
        elif image.window is not None:
            window = _describe_window(image.window)
        return cls(
            medvistagym=1,
            unit=image.unit,
            dtype=image.pixels.dtype.newbyteorder("<").str,
            shape=image.pixels.shape,
            spacing=image.spacing,
            modality=image.modality,
            photometric=image.photometric,
            window=window,
            value_range=image.value_range,
            windows=tuple(_describe_window(one) for one in image.windows),
            to_source=image.to_source,
            source_shape=image.source_shape,
            frame=image.frame,
            attributes=_select_attributes(image.attributes),
        )

    @classmethod
    def from_view(cls, image: Image) -> ImageDescription:
        """What a file says of an image whose view it holds, at the image's own size."""
        attributes = _select_attributes(image.attributes)
        attributes.pop("slice_offsets_mm", None)
        if image.is_stack:
            attributes.update(frame=str(image.displayed_frame), frames=str(image.frames))
        return cls(
            medvistagym=1,
            unit="mask" if image.unit == "mask" else "RGB" if image.photometric == "RGB" else "grey",
            spacing=None if image.spacing is None else image.spacing[-2:],
            modality=image.modality,
            photometric="RGB" if image.photometric == "RGB" else "MONOCHROME2",
            to_source=image.to_source,
            source_shape=image.source_shape,
            attributes=attributes,
        )

    def to_json(self) -> str:
        """As JSON on one line of ASCII, without what is at its default."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> ImageDescription:
        """What a file says.

        Raises:
            ValueError: It is not what `to_json` writes.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the text"
            raise ValueError(f"what it says of its values is damaged: {place}: {first['msg'][:120]}") from None

    def image_fields(self, pixels: np.ndarray) -> dict[str, Any]:
        """The attributes of the `Image` that is so described.

        Args:
            pixels: Its values.

        Raises:
            ValueError: The pixels are not those that were described.
        """
        if self.shape is not None and self.shape != pixels.shape:
            raise ValueError(f"it says that its pixels are {self.shape}, and they are {pixels.shape}")
        if self.dtype is not None and pixels.dtype.str != self.dtype:
            pixels = _cast(pixels, self.dtype)
        window: Window | LookupTable | None = None
        if isinstance(self.window, _TableDescription):
            window = LookupTable(self.window.first, base64.b64decode(self.window.entries), self.window.max_output)
        elif self.window is not None:
            window = Window(**self.window.model_dump())
        return {
            "pixels": pixels, "unit": self.unit, "spacing": self.spacing, "modality": self.modality,
            "photometric": self.photometric, "window": window, "value_range": self.value_range, "to_source": self.to_source,
            "source_shape": self.source_shape,
            "windows": tuple(Window(**one.model_dump()) for one in self.windows), "frame": self.frame,
            "attributes": self.attributes,
        }  # fmt: skip


def _describe_window(window: Window) -> _WindowDescription:
    name = window.name if window.name is not None and _is_line(window.name, _MAX_NAME) else None
    return _WindowDescription(center=window.center, width=window.width, function=window.function, name=name)


def _select_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Those that a file may carry; a plugin may have put anything among them."""
    described = {k: text for k, text in attributes.items() if re.match(_KEY, k) and _is_line(text, _MAX_TEXT)}
    return dict(list(described.items())[:_MAX_ATTRIBUTES])


def _is_line(text: str, max_length: int) -> bool:
    return len(text) <= max_length and re.match(_LINE, text) is not None


def _cast(pixels: np.ndarray, dtype: str) -> np.ndarray:
    """The same values in another dtype.

    Raises:
        ValueError: It cannot hold them.
    """
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        cast = pixels.astype(dtype)
    if not np.array_equal(cast, pixels, equal_nan=pixels.dtype.kind == "f"):
        raise ValueError(f"it says that its values are {cast.dtype}, which does not hold them")
    return cast
