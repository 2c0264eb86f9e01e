"""NIfTI-1 and NIfTI-2, in one file or a pair, by nibabel's headers.

NIfTI counts right, front and head as positive (RAS), images here left, back and head (LPS). It has no unit for values: the text
`unit=HU` in its description says it, which is short and survives other programs.
"""

from __future__ import annotations

import io
import math
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import ImageDescription, PatientGeometry, is_description
from medvistagym_files._header import VolumeHeader, check_sides
from medvistagym_files._streams import Encoding, open_values
from medvistagym_files._writing import writable_geometry, writable_pixels

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging import Image

_MAX_HEADER_BYTES: Final = 2**20
_MAX_OFFSET: Final = 2**26
_GZIP: Final = b"\x1f\x8b"
_NAMED_UNIT: Final = re.compile(r"(?:^|[\s;,])unit=([^\s;,]{1,24})")
_COMMENT: Final = 6  # code of an extension that holds text
_LABEL: Final = 1002  # intent code: values are labels
_COLOURS: Final = ("R", "G", "B")
_MILLIMETRES: Final = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


def read_header(path: Path) -> VolumeHeader:
    """What the header says.

    Raises:
        ValueError: It is not that of an image.
    """
    import nibabel
    import numpy as np

    header_path, values_path = _pair(path)
    with header_path.open("rb") as file:
        encoding: Encoding = "gzip" if file.read(2) == _GZIP else "raw"
    with open_values(header_path, 0, encoding, to_end=False) as (stream, _):
        content = stream.read(_MAX_HEADER_BYTES)
    second = content[4:8] in (b"n+2\0", b"ni2\0")
    if not second and content[344:347] not in (b"n+1", b"ni1"):
        raise ValueError("it is no NIfTI, but perhaps Analyze, which does not say where left is; save it as NIfTI")
    single = content[5:6] == b"+" if second else content[345:346] == b"+"
    kind: Any = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    header = kind.from_fileobj(io.BytesIO(content), check=False)
    volumes, shape = _shape(header)
    dtype = header.get_data_dtype()
    channels = 1
    if dtype.names is not None and dtype.names[:3] == _COLOURS and len(dtype.names) == 3:
        channels, dtype = 3, np.dtype(np.uint8)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"its values are {dtype}, and an image is made of real numbers of up to 64 bits")
    slope, intercept = header.get_slope_inter()
    scale = (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))
    if not all(map(math.isfinite, scale)):
        raise ValueError(f"its values are scaled by {scale[0]} and {scale[1]}")
    offset = int(header["vox_offset"])
    least = int(header.sizeof_hdr) + 4 if single else 0  # behind the header and the word that tells of extensions
    offset = offset or least  # as writers leave it that mean "behind the header"
    if not least <= offset <= _MAX_OFFSET:
        raise ValueError(f"its values begin at byte {offset:,}")
    geometry, notes = _geometry(header)
    described, unit = _description(header)
    if single:
        values = partial(open_values, header_path, 0, encoding, offset)
    else:
        with values_path.open("rb") as file:
            encoding = "gzip" if file.read(2) == _GZIP else "raw"
        values = partial(open_values, values_path, 0, encoding, offset)
    has_spacing = int(header["sform_code"]) > 0 or all(abs(float(zoom)) > 0 for zoom in header.get_zooms()[:3])
    return VolumeHeader(
        volumes, shape, channels, dtype, *scale, is_volume=shape[0] > 1, geometry=geometry,
        has_spacing=has_spacing, unit=unit, modality=None, description=described,
        attributes=notes, open=values,
    )  # fmt: skip


def _pair(path: Path) -> tuple[Path, Path]:
    """The files of the header and of the values, which are the same unless a pair is named by one of its two."""
    name = path.name.lower()
    for one, other in ((".hdr", ".img"), (".img", ".hdr")):
        for compressed in ("", ".gz"):
            if name.endswith(one + compressed):
                stem = path.name[: -len(one + compressed)]
                candidates = [path.with_name(stem + other + end) for end in (compressed, "", ".gz")]
                twin = next((file for file in candidates if file.is_file()), None)
                if twin is None:
                    raise ValueError(f"it is half of a pair, and {candidates[0].name} is not beside it")
                return (path, twin) if one == ".hdr" else (twin, path)
    return path, path


def _shape(header: Any) -> tuple[int, tuple[int, int, int]]:
    sides = check_sides(tuple(int(side) for side in header.get_data_shape()))
    while len(sides) > 3 and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) > 4:
        raise ValueError(
            f"it has {len(sides)} dimensions ({' x '.join(map(str, sides))}); an image has values, not vectors"
        )
    columns, rows, slices, volumes = (*sides, 1, 1, 1)[:4]
    return volumes, (slices, rows, columns)


def _geometry(header: Any) -> tuple[PatientGeometry, dict[str, str]]:
    import numpy as np

    unit = header.get_xyzt_units()[0]
    factor = _MILLIMETRES.get(unit, 1.0)
    notes = {} if unit in _MILLIMETRES else {"spacing_unit": "not stated, taken as mm"}
    oriented = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    affine = np.asarray(header.get_best_affine(), np.float64) * factor
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError("where it lies in the patient (sform or qform) is impossible")
    to_left_and_back = np.array([-1.0, -1.0, 1.0])
    columns = (affine[:3] * to_left_and_back[:, None]).T
    if not oriented:
        columns = np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 0.0])[:, :3]
    row, column, step, position = (tuple(float(v) for v in one) for one in columns)
    return PatientGeometry(position, (row, column, step), oriented), notes  # type: ignore[arg-type]


def _description(header: Any) -> tuple[ImageDescription | None, str | None]:
    """What this project wrote, and the unit that the header says."""
    for extension in header.extensions:
        content = extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        if extension.get_code() == _COMMENT and is_description(text.rstrip(b"\0")):
            return ImageDescription.from_json(text.rstrip(b"\0")), None
    if int(header["intent_code"]) == _LABEL:
        return None, "label"
    named = _NAMED_UNIT.search(bytes(header["descrip"]).split(b"\0")[0].decode("latin-1"))
    return None, named[1] if named else None


def write(image: Image, path: Path) -> None:
    """Write an image as NIfTI-1, or NIfTI-2 where it has too many pixels along an axis.

    Raises:
        ValueError: Its slices are unevenly spaced, or its values cannot be stored.
    """
    import nibabel
    import numpy as np

    geometry = writable_geometry(image, "NIfTI")
    values = _to_stored_values(image)
    is_volume = image.is_stack and image.spacing is not None and len(image.spacing) == 3
    # x, y, z and time; frames between which no distance is known are times
    values = values.T if is_volume else values.T[:, :, None]
    library: Any = nibabel
    is_long = max(values.shape) > np.iinfo(np.int16).max
    header = library.Nifti2Header() if is_long else library.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_zooms([*(math.hypot(*step) for step in geometry.steps), 1.0][: values.ndim])
    affine = np.eye(4)
    affine[:3] = np.array([*geometry.steps, geometry.position]).T * np.array([-1.0, -1.0, 1.0])[:, None]
    if geometry.is_oriented:
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1, strip_shears=True)
    header.set_xyzt_units("mm" if image.spacing is not None else None)
    if image.unit in ("mask", "label"):
        header.set_intent(_LABEL)
    header["descrip"] = f"unit={image.unit.replace(' ', '_')}".encode("latin-1", "replace")[:79]
    text = ImageDescription.from_image(image).to_json().encode()
    header.extensions.append(library.nifti1.Nifti1Extension(_COMMENT, text))
    (library.Nifti2Image if is_long else library.Nifti1Image)(values, None, header).to_filename(path)


def _to_stored_values(image: Image) -> np.ndarray:
    """Values in a dtype that NIfTI has, colours as records of three."""
    import numpy as np

    pixels = image.pixels
    if image.photometric == "RGB":
        if pixels.dtype != np.uint8:
            raise ValueError(f"NIfTI holds colours of 8 bits, not {pixels.dtype}; write .nrrd or .npy")
        record = np.dtype([(colour, np.uint8) for colour in _COLOURS])
        return np.ascontiguousarray(pixels).view(record)[..., 0]
    return writable_pixels(image)
