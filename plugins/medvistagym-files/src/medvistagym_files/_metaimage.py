"""MetaImage, in one file (`.mha`) or with its values beside it (`.mhd`).

The header is lines of `Key = value` up to `ElementDataFile`. No library reads it but ITK, which opens whatever file a header
names; here a header names a file beside it. Coordinates are the patient's, LPS, as ITK writes them. It has no unit for values.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from medvistagym_core.imaging import ImageDescription, PatientGeometry, is_description
from medvistagym_files._header import VolumeHeader, beside, check_sides
from medvistagym_files._streams import open_values
from medvistagym_files._writing import writable_geometry, writable_pixels

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging import Image

_MAX_HEADER_BYTES: Final = 2**16
_KEY: Final = "MedVistaGym"
_MAX_LINE: Final = 2000  # characters; readers in C have buffers
_SIZE_PLACE: Final = "#" * 15  # room for a number that is known in the end
_TYPES: Final = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_WRITTEN: Final = {
    "i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "u4": "MET_UINT",
    "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip
_MODALITIES: Final = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}


def read_header(path: Path) -> VolumeHeader:
    """What the header says.

    Raises:
        ValueError: It is not that of an image.
    """
    import numpy as np

    fields, end = _fields(path)
    sides = check_sides(tuple(int(side) for side in fields.get("DimSize", "").split()))
    if "NDims" in fields and int(fields["NDims"]) != len(sides):
        raise ValueError(f"its header says {fields['NDims']} dimensions and sizes of {len(sides)}")
    if len(sides) not in (2, 3, 4):
        raise ValueError(f"it has {len(sides)} dimensions, and an image has two or three, and times")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels not in (1, 3):
        raise ValueError(f"its values are vectors of {channels}, and an image has one value or three colours")
    kind = _TYPES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    if kind is None:
        raise ValueError(
            f"its values are of the type {fields.get('ElementType')!r}, and an image is made of real numbers"
        )
    columns, rows, slices, volumes = (*sides, 1, 1)[:4]
    is_big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    dtype = np.dtype((">" if is_big else "<") + kind)
    named, offset = fields["ElementDataFile"], end
    values_path = path
    if named.upper() != "LOCAL":
        if named.upper().startswith("LIST") or "%" in named:
            raise ValueError("its values are in a file for each slice, which is not read; save it as one file")
        values_path, offset = beside(path, named), 0
    compressed = _is_true(fields.get("CompressedData", "False"))
    skip = int(fields.get("HeaderSize", "0"))
    if skip == -1 and not compressed:  # the values are the last bytes of the file
        offset = values_path.stat().st_size - math.prod(sides) * channels * dtype.itemsize
    elif skip > 0:
        offset += skip
    if offset < 0 or skip < -1:
        raise ValueError("its values begin before the file does")
    text = fields.get(_KEY, "")
    return VolumeHeader(
        volumes=volumes,
        shape=(slices, rows, columns),
        channels=channels,
        dtype=dtype,
        slope=1.0,
        intercept=0.0,
        is_volume=slices > 1,
        geometry=_geometry(fields, len(sides)),
        has_spacing="ElementSpacing" in fields or "ElementSize" in fields,
        unit=None,
        modality=_MODALITIES.get(fields.get("Modality", "")),
        description=ImageDescription.from_json(text) if is_description(text) else None,
        attributes={},
        open=partial(open_values, values_path, offset, "zlib" if compressed else "raw"),
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The lines of the header, and where it ends."""
    with path.open("rb") as file:
        content = file.read(_MAX_HEADER_BYTES)
    fields: dict[str, str] = {}
    end = 0
    while (line_end := content.find(b"\n", end)) >= 0:
        key, equals, value = content[end:line_end].decode("latin-1").partition("=")
        if not equals:
            break
        end = line_end + 1
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields, end
    raise ValueError("its header does not end with ElementDataFile")


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "t", "yes")


def _geometry(fields: Mapping[str, str], dimensions: int) -> PatientGeometry:
    def numbers(*keys: str) -> list[float]:
        text = next((fields[key] for key in keys if key in fields), "")
        values = [float(word) for word in text.split()]
        if not all(map(math.isfinite, values)):
            raise ValueError(f"its {keys[0]} is {text}")
        return values

    spacing = [abs(step) for step in numbers("ElementSpacing", "ElementSize")]
    x, y, z = (*(step or 1.0 for step in spacing), 1.0, 1.0, 1.0)[:3]
    matrix = numbers("TransformMatrix", "Orientation", "Rotation")
    position = (*numbers("Offset", "Position", "Origin"), 0.0, 0.0, 0.0)[:3]
    oriented = dimensions >= 3 and len(matrix) == dimensions**2
    if not oriented:
        return PatientGeometry(position, ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, z)), False)  # type: ignore[arg-type]
    (a, b, c), (d, e, f), (g, h, k) = (matrix[at * dimensions : at * dimensions + 3] for at in range(3))
    if abs(a * (e * k - f * h) - b * (d * k - f * g) + c * (d * h - e * g)) < 1e-6:
        raise ValueError(f"its TransformMatrix is {' '.join(f'{v:g}' for v in matrix)}")
    steps = ((a * x, b * x, c * x), (d * y, e * y, f * y), (g * z, h * z, k * z))
    return PatientGeometry(position, steps, True)  # type: ignore[arg-type]


def write(image: Image, path: Path) -> None:
    """Write an image as one file, compressed.

    Raises:
        ValueError: Its slices are unevenly spaced.
    """
    geometry, pixels = writable_geometry(image, "MetaImage"), writable_pixels(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    h, w = image.shape
    is_volume = image.is_stack and image.spacing is not None and len(image.spacing) == 3
    sides = [w, h, image.frames] if is_volume or not image.is_stack else [w, h, 1, image.frames]
    axes = [list(step) for step in geometry.steps]
    spacing = [math.hypot(*step) for step in axes]
    matrix = [[v / length for v in step] for step, length in zip(axes, spacing, strict=True)]
    position = list(geometry.position)
    if len(sides) == 4:
        matrix, spacing, position = (
            [*([*row, 0.0] for row in matrix), [0.0, 0.0, 0.0, 1.0]],
            [*spacing, 1.0],
            [*position, 0.0],
        )
    fields = {
        "ObjectType": "Image",
        "NDims": str(len(sides)),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": _SIZE_PLACE,
        "TransformMatrix": _line([v for row in matrix for v in row]),
        "Offset": _line(position),
        "CenterOfRotation": _line([0.0] * len(sides)),
        "ElementSpacing": _line(spacing),
        "DimSize": " ".join(map(str, sides)),
    }
    if image.modality in _MODALITIES.values():
        fields["Modality"] = f"MET_MOD_{image.modality}"
    if image.photometric == "RGB":
        fields["ElementNumberOfChannels"] = "3"
    fields[_KEY] = _short_description(image)
    fields |= {"ElementType": _WRITTEN[pixels.dtype.str[1:]], "ElementDataFile": "LOCAL"}
    head = "".join(f"{key} = {value}\n" for key, value in fields.items()).encode("ascii")
    with path.open("wb") as file:
        file.write(head)
        size = str(_deflate(pixels, file))
        file.seek(head.index(_SIZE_PLACE.encode()))
        file.write(size.ljust(len(_SIZE_PLACE)).encode())


def _line(numbers: list[float]) -> str:
    return " ".join(f"{number + 0.0:.12g}" for number in numbers)


def _short_description(image: Image) -> str:
    """What the image is, on a line that readers in C hold: without its facts, or its lookup table, where it would be longer."""
    description = ImageDescription.from_image(image)
    if len(description.to_json()) > _MAX_LINE:
        description = description.model_copy(update={"attributes": {}, "windows": ()})
    if len(description.to_json()) > _MAX_LINE:
        description = description.model_copy(update={"window": None})
    return description.to_json()


def _deflate(pixels: np.ndarray, file: IO[bytes]) -> int:
    """Write values compressed, slice by slice; how many bytes that makes."""
    compress = zlib.compressobj(1)
    size = sum(file.write(compress.compress(part.tobytes())) for part in (pixels if pixels.ndim > 2 else [pixels]))
    return size + file.write(compress.flush())
