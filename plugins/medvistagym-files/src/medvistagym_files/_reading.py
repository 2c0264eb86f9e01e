"""Reading a volume of any kind: checked before memory is taken, inflated as it is read, put in the order of a display."""

from __future__ import annotations

import contextlib
import gzip
import math
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import (
    AS_STORED,
    MASK_WINDOW,
    MAX_FRAMES,
    AxisOrder,
    Image,
    check_decoded_size,
    display_order,
    file_suffix,
    fitting_window,
    geometry_attributes,
    patient_geometry,
    slice_spacing,
)
from medvistagym_files._formats import KINDS, Kind
from medvistagym_files._header import VolumeHeader
from medvistagym_files._streams import read_exactly

if TYPE_CHECKING:
    import numpy as np

_CHUNK_BYTES: Final = 2**22
_GZIP: Final = b"\x1f\x8b"
_SAME_PLACE_MM: Final = 0.01


def kind_of(path: Path) -> Kind | None:
    """The kind of a file, by its first bytes, and by its ending where it is damaged; None for one of another kind."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(_GZIP):
        with contextlib.suppress(OSError, EOFError), gzip.open(path) as stream:
            head = stream.read(512)
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return KINDS[0]
    if head.startswith(b"NRRD00"):
        return KINDS[1]
    if head.startswith((b"ObjectType", b"NDims")):
        return KINDS[2]
    return next((kind for kind in KINDS if file_suffix(path, kind.read) is not None), None)


def read_volumes(path: Path, kind: Kind, *, unit: str | None = None) -> list[Image]:
    """The volumes in a file of a kind.

    Args:
        path: The file.
        kind: What it is.
        unit: The unit of its values, in place of what the file says.

    Raises:
        ValueError: It is damaged, too large, or holds what is no image; a sentence with its name.
    """
    try:
        header: VolumeHeader = kind.load().read_header(path)
        return _read(header, unit)
    except MemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    except EOFError as error:  # of a header that is compressed together with its values
        raise ValueError(f"{path.name}: it is damaged (it is cut off)") from error
    except Exception as error:
        message = " ".join(str(error).split())[:160]
        raise ValueError(
            f"{path.name}: its {kind.name} header is damaged ({message or type(error).__name__})"
        ) from error


def _read(header: VolumeHeader, unit: str | None) -> list[Image]:
    import numpy as np

    if header.volumes > 1 and header.shape[0] == 1:  # frames: one slice at several times
        header = header._replace(volumes=1, shape=(header.volumes, *header.shape[1:]), is_volume=False)
    n, h, w = header.shape
    colours = (3,) if header.channels == 3 else ()
    dtype = _value_dtype(header)
    size_bytes = header.volumes * n * h * w * header.channels * dtype.itemsize
    # what this project wrote is in the order of its image; what others wrote is put in the order in which it is shown
    is_own = header.description is not None and header.description.shape in ((n, h, w, *colours), (h, w, *colours))
    order = AS_STORED if is_own or not header.is_volume else display_order(header.geometry)
    with header.open() as (stream, stored_bytes):
        sides = f"{w:,} x {h:,} x {n:,}" + (f" x {header.volumes:,}" if header.volumes > 1 else "")
        check_decoded_size(size_bytes, stored_bytes, f"it has {sides} values")
        if header.volumes > MAX_FRAMES:
            raise ValueError(f"it has {header.volumes:,} volumes, and {MAX_FRAMES:,} is the most that is read")
        images = []
        for number in range(header.volumes):
            pixels = np.empty((*order.shape(header.shape), *colours), dtype)
            _fill(order.inverse_view(pixels), stream, header)
            pixels = pixels[0] if n == 1 else pixels
            image = _own_image(pixels, header, unit) if is_own else None
            images.append(image or _image(pixels, header, order, unit, number))
    return images


def _value_dtype(header: VolumeHeader) -> np.dtype[Any]:
    """The dtype that holds the values: integers as long as they are scaled by integers, else float32."""
    import numpy as np

    stored = header.dtype.newbyteorder("=")
    slope, intercept = header.slope, header.intercept
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if stored.kind == "f":
        return np.promote_types(stored, np.float32)
    if slope.is_integer() and intercept.is_integer():
        limits = np.iinfo(stored)
        ends = [int(slope) * end + int(intercept) for end in (int(limits.min), int(limits.max))]
        for kind in (np.int16, np.int32, np.int64):
            if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
                return np.dtype(kind)
    return np.dtype(np.float32)


def _fill(as_stored: np.ndarray, stream: IO[bytes], header: VolumeHeader) -> None:
    """Read a volume, some rows at a time, into an array whose axes are those of the file."""
    import numpy as np

    columns = as_stored.shape[2:]
    row_bytes = math.prod(columns) * header.dtype.itemsize
    step = max(1, _CHUNK_BYTES // row_bytes)
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    for plane in as_stored:
        for first in range(0, len(plane), step):
            rows = plane[first : first + step]
            stored = np.frombuffer(read_exactly(stream, len(rows) * row_bytes), header.dtype).reshape(
                len(rows), *columns
            )
            if scaled:
                with np.errstate(over="ignore", invalid="ignore"):
                    stored = stored.astype(as_stored.dtype) * as_stored.dtype.type(header.slope)
                    stored += as_stored.dtype.type(header.intercept)
            rows[...] = stored


def _own_image(pixels: np.ndarray, header: VolumeHeader, unit: str | None) -> Image | None:
    """The image that this project wrote; None if its file has been moved in the patient, or scaled, since."""
    assert header.description is not None
    description = header.description.model_copy(update={"shape": None, "unit": unit or header.description.unit})
    image = Image(**description.image_fields(pixels))
    if unit is not None and image.window is None:
        image = image.replace(window=fitting_window(pixels, unit))
    stated, found = patient_geometry(image), header.geometry
    moved = math.dist(stated.position, found.position) if stated.is_oriented else 0.0
    steps = zip(stated.steps, found.steps, strict=True)
    axes = steps if image.is_stack and header.is_volume else list(steps)[:2]
    changes = [
        math.dist(a, b) if stated.is_oriented else abs(math.hypot(*a) - math.hypot(*b)) / max(1e-9, math.hypot(*a))
        for a, b in axes
    ]
    return image if max(moved, *changes) < _SAME_PLACE_MM else None


def _image(pixels: np.ndarray, header: VolumeHeader, order: AxisOrder, unit: str | None, number: int) -> Image:
    geometry = order.geometry(header.geometry, header.shape)
    spacing = slice_spacing(geometry)
    attributes = {**header.attributes, **geometry_attributes(geometry, header.shape[0])}
    if header.volumes > 1:
        attributes |= {"volume": str(number), "volumes": str(header.volumes)}
    is_colour = header.channels == 3
    described = header.description
    unit = unit or (described.unit if described is not None else header.unit) or ("RGB" if is_colour else "raw")
    return Image(
        pixels=pixels,
        unit=unit,
        spacing=(spacing if header.is_volume and header.shape[0] > 1 else spacing[1:]) if header.has_spacing else None,
        modality=described.modality if described is not None else header.modality,
        photometric="RGB" if is_colour else "MONOCHROME2",
        window=MASK_WINDOW if unit == "mask" else None if is_colour else fitting_window(pixels, unit),
        attributes=attributes,
    )
