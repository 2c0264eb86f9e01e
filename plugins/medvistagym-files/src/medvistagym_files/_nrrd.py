"""NRRD, attached (`.nrrd`) or with its values beside it (`.nhdr`), by pynrrd's header.

Its `space` says which way the axes of the patient count, `sample units` the unit of the values. pynrrd itself would inflate
without a bound, and open whatever file a header names; here a header names a file beside it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from medvistagym_core.imaging import ImageDescription, PatientGeometry, is_description
from medvistagym_files._header import VolumeHeader, beside, check_sides
from medvistagym_files._streams import Encoding, open_values
from medvistagym_files._writing import writable_geometry, writable_pixels

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image

_MAX_HEADER_BYTES: Final = 2**20
_MAX_AXES: Final = 16  # NRRD's own limit
_KEY: Final = "MedVistaGym"
# Names of patient coordinates -> signs of their axes in LPS.
_SPACES: Final = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1), "left-posterior-superior-time": (1, 1, 1), "lpst": (1, 1, 1),
    "right-anterior-superior-time": (-1, -1, 1), "rast": (-1, -1, 1), "left-anterior-superior-time": (1, -1, 1),
    "last": (1, -1, 1),
}  # fmt: skip
_TYPES: Final = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4",
    "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "longlong": "i8", "long long": "i8", "long long int": "i8", "signed long long": "i8", "signed long long int": "i8",
    "int64": "i8", "int64_t": "i8", "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8",
    "uint64": "u8", "uint64_t": "u8", "float": "f4", "double": "f8",
}  # fmt: skip
_ENCODINGS: Final[Mapping[str, Encoding]] = {
    "raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2",
}  # fmt: skip
_HOUNSFIELD: Final = ("hu", "hounsfield", "hounsfield unit", "hounsfield units", "[hnsf'u]")
_COLOURS: Final = ("rgb-color", "3-color")
_SPATIAL: Final = ("domain", "space", "???", "none", "")


def read_header(path: Path) -> VolumeHeader:
    """What the header says.

    Raises:
        ValueError: It is not that of an image.
    """
    import nrrd
    import numpy as np

    with path.open("rb") as file:
        content = file.read(_MAX_HEADER_BYTES)
    head = io.BytesIO(content)
    header: Mapping[str, Any] = nrrd.read_header(head)
    if head.tell() >= _MAX_HEADER_BYTES:
        raise ValueError(f"its header is longer than {_MAX_HEADER_BYTES >> 20} MiB")
    sides = check_sides(tuple(int(side) for side in header.get("sizes", ())))
    if len(sides) > _MAX_AXES:
        raise ValueError(f"it has {len(sides)} axes, and NRRD has {_MAX_AXES} at most")
    dtype = _TYPES.get(str(header.get("type", "")).lower())
    if dtype is None:
        raise ValueError(f"its values are of the type {header.get('type')!r}, and an image is made of real numbers")
    encoding = _ENCODINGS.get(str(header.get("encoding", "")).lower())
    if encoding is None:
        raise ValueError(f"its encoding {header.get('encoding')!r} is not read; save it as raw or gzip")
    order = ">" if header.get("endian") == "big" else "<"
    axes = _axes(header, sides)
    geometry, has_spacing = _geometry(header, axes, sides)
    columns, rows, slices = (*(sides[axis] for axis in axes.spatial), 1)[:3]
    skip = int(header.get("byte skip", header.get("byteskip", 0)) or 0)
    if int(header.get("line skip", header.get("lineskip", 0)) or 0) or skip < -1:
        raise ValueError(
            "it begins its values after some lines, which is not read; save it with them in the file itself"
        )
    values_path, offset = path, head.tell()
    if (named := header.get("data file", header.get("datafile"))) is not None:
        values_path, offset = beside(path, str(named)), 0
    if skip == -1:  # the values are the last bytes of the file
        offset, skip = values_path.stat().st_size - math.prod(sides) * np.dtype(dtype).itemsize, 0
        if encoding != "raw" or offset < 0:
            raise ValueError("its values are not the last bytes of the file, as its byte skip says")
    described, unit = _description(header)
    return VolumeHeader(
        volumes=math.prod(sides[axis] for axis in axes.listed),
        shape=(slices, rows, columns),
        channels=3 if axes.has_colours else 1,
        dtype=np.dtype(order + dtype),
        slope=1.0,
        intercept=0.0,
        is_volume=slices > 1,
        geometry=geometry,
        has_spacing=has_spacing,
        unit=unit,
        modality=None,
        description=described,
        attributes={},
        open=partial(open_values, values_path, offset, encoding, skip),
    )


class _Axes(NamedTuple):
    """Which axes of the file, of which the first is the fastest, are places and which are times and the like."""

    spatial: list[int]
    listed: list[int]
    has_colours: bool


def _axes(header: Mapping[str, Any], sides: Sequence[int]) -> _Axes:
    """Colours first, then space, then times and the like.

    Raises:
        ValueError: They are in another order, or there are vectors.
    """
    kinds = [str(kind).lower() for kind in header.get("kinds", [""] * len(sides))]
    vectors = header.get("space directions")
    without = [vectors is not None and _is_none(vectors[axis]) for axis in range(len(sides))]
    has_colours = bool(sides) and sides[0] == 3 and kinds[0] in _COLOURS
    spatial = [
        axis
        for axis, kind in enumerate(kinds)
        if kind in _SPATIAL and not without[axis] and not (axis == 0 and has_colours)
    ]
    listed = [axis for axis in range(int(has_colours), len(sides)) if axis not in spatial]
    if len(spatial) == 4:  # the fourth place is a time, or the like
        spatial, listed = spatial[:3], [*listed, spatial[3]]
    if len(spatial) not in (2, 3) or (listed and min(listed) < max(spatial)):
        axes = ", ".join(f"{side} {kind or '?'}" for side, kind in zip(sides, kinds, strict=False))
        raise ValueError(f"its axes ({axes}) are not those of an image: columns, rows, slices, and then times")
    return _Axes(spatial, listed, has_colours)


def _is_none(vector: Any) -> bool:
    return vector is None or not all(math.isfinite(float(v)) for v in vector)


def _geometry(header: Mapping[str, Any], axes: _Axes, sides: Sequence[int]) -> tuple[PatientGeometry, bool]:
    """Where it lies, and whether its spacing is said."""
    factor = {"um": 1e-3, "micron": 1e-3, "cm": 10.0, "m": 1e3}.get(
        str((header.get("space units") or ["mm"])[0]).lower(), 1.0
    )
    signs = _SPACES.get(str(header.get("space", "")).lower())
    vectors = header.get("space directions")
    if vectors is not None:
        steps = [[float(v) * factor for v in vectors[axis]] for axis in axes.spatial]
        origin = [float(v) * factor for v in header.get("space origin", [0.0] * len(steps[0]))]
        if any(math.hypot(*step) == 0 for step in steps) or not all(map(math.isfinite, origin)):
            raise ValueError("where it lies (space directions, space origin) is impossible")
        if signs is not None and all(len(step) == 3 for step in steps) and len(steps) == 3 and len(origin) == 3:
            row, column, step, position = (
                tuple(v * sign for v, sign in zip(one, signs, strict=True)) for one in (*steps, origin)
            )
            return PatientGeometry(position, (row, column, step), True), True  # type: ignore[arg-type]
        lengths = [math.hypot(*step) for step in steps]
        return _upright(lengths), True
    spacings = header.get("spacings")
    if spacings is None:
        return _upright([]), False
    lengths = [abs(float(spacings[axis])) for axis in axes.spatial]
    return _upright(lengths), all(0 < length < math.inf for length in lengths)


def _upright(lengths: Sequence[float]) -> PatientGeometry:
    """A grid of which only the spacing is known."""
    x, y, z = (*(length if 0 < length < math.inf else 1.0 for length in lengths), 1.0, 1.0, 1.0)[:3]
    return PatientGeometry((0.0, 0.0, 0.0), ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, z)), False)


def _description(header: Mapping[str, Any]) -> tuple[ImageDescription | None, str | None]:
    """What this project wrote, and the unit that the header says."""
    text = header.get(_KEY)
    if isinstance(text, str) and is_description(text):
        return ImageDescription.from_json(text), None
    if any(str(key).startswith("Segment0_") for key in header):  # 3D Slicer's segmentations
        return None, "label"
    unit = str(header.get("sample units", header.get("sampleunits", ""))).strip().strip('"')
    if unit.lower() in _HOUNSFIELD:
        return None, "HU"
    return None, unit if 0 < len(unit) <= 24 and unit.isprintable() else None


def write(image: Image, path: Path) -> None:
    """Write an image as an attached NRRD, compressed.

    Raises:
        ValueError: Its slices are unevenly spaced.
    """
    import nrrd
    import numpy as np

    geometry, pixels = writable_geometry(image, "NRRD"), writable_pixels(image)
    frames = 0  # lists of planes between which no distance is known
    if not image.is_stack:
        pixels = pixels[None]
    elif image.spacing is None or len(image.spacing) < 3:
        pixels, frames = pixels[:, None], 1
    elsewhere = [[math.nan] * 3]
    colours = int(image.photometric == "RGB")
    directions = np.array([*elsewhere * colours, *geometry.steps, *elsewhere * frames])
    header: dict[str, Any] = {
        "encoding": "gzip",
        "endian": "little",
        "kinds": ["RGB-color"] * colours + ["space"] * 3 + ["list"] * frames,
        _KEY: ImageDescription.from_image(image).to_json(),
    }
    if geometry.is_oriented:
        header |= {"space": "left-posterior-superior", "space directions": directions}
        header["space origin"] = np.array(geometry.position)
    elif image.spacing is not None:
        header["spacings"] = np.array([math.hypot(*one) for one in directions])
    if image.physical_unit is not None:
        header["sample units"] = image.physical_unit
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    nrrd.write(str(path), pixels, header, compression_level=1, index_order="C")
