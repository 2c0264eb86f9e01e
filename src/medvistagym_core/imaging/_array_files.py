"""Values in files: arrays in NumPy's `.npy`, and TIFF, of one page or many, with what they mean beside them.

Beside `x.npy` lies `x.npy.json`, as beside a volume in BIDS; in a TIFF the same text is the description of its first page.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._image_description import ImageDescription
from medvistagym_core.imaging._limits import MAX_DECODED_BYTES
from medvistagym_core.storage import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from medvistagym_core.imaging._image import Image

_MAX_DESCRIPTION_BYTES: Final = 2**20
_MAX_TIFF_BYTES: Final = 2**32 - 2**20  # offsets have 32 bits


def read_array(file: IO[bytes], stored_bytes: int) -> dict[str, Any]:
    """The attributes of the image in a file of NumPy (`.npy`), as the description beside it says.

    Args:
        file: At its beginning.
        stored_bytes: Its size.

    Raises:
        ValueError: It holds no real numbers, less than its header says, or no image.
    """
    import numpy as np

    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read_header(file)
    if dtype.kind not in "biuf":
        raise ValueError(f"it holds {dtype}, and an image is made of real numbers")
    count = int(np.prod(shape, dtype=object))
    needed, left = count * dtype.itemsize, stored_bytes - file.tell()
    if needed > left:
        raise ValueError(f"its header says {shape} {dtype}, which are {needed:,} bytes, and it holds {left:,}")
    if needed > MAX_DECODED_BYTES:
        most = f"{MAX_DECODED_BYTES / 2**20:,.0f} MiB are the most that is read"
        raise ValueError(f"it holds {needed / 2**20:,.0f} MiB, and {most}")
    flat = np.frombuffer(file.read(needed), dtype)
    pixels = flat.reshape(shape[::-1]).T if in_columns else flat.reshape(shape)
    pixels = pixels.astype(dtype.newbyteorder("="), copy=False)
    name = getattr(file, "name", None)
    beside = Path(f"{name}.json") if isinstance(name, str | Path) else None
    if beside is None or not beside.is_file():
        return {"pixels": pixels, "unit": "" if pixels.dtype == np.uint8 else "raw"}
    if beside.stat().st_size > _MAX_DESCRIPTION_BYTES:
        raise ValueError(f"{beside.name} has more than {_MAX_DESCRIPTION_BYTES:,} bytes")
    try:
        return ImageDescription.from_json(beside.read_bytes()).image_fields(pixels)
    except ValueError as error:
        raise ValueError(f"{beside.name} does not go with it: {error}") from error


def write_array(image: Image, path: Path) -> None:
    """Write the values as NumPy does, and beside them what they mean."""
    import numpy as np

    beside = path.with_name(f"{path.name}.json")
    with write_atomically(beside) as part_beside, write_atomically(path) as part:
        part_beside.write_text(ImageDescription.from_image(image).to_json(), "utf-8")
        with part.open("wb") as file:
            np.lib.format.write_array(file, image.pixels, allow_pickle=False)


def write_tiff(image: Image, path: Path) -> None:
    """Write the values as a TIFF, a page for each frame or slice, and in its description what they mean.

    Raises:
        ValueError: Its values have a dtype that the TIFFs of Pillow do not.
        OSError: The file cannot be written.
    """
    frames = image.pixels if image.is_stack else image.pixels[None]
    if frames.nbytes > _MAX_TIFF_BYTES:
        raise ValueError(f"a TIFF holds 4 GiB, and this image has {frames.nbytes / 2**30:.1f} GiB; write .npy")
    text = ImageDescription.from_image(image).to_json()
    options: dict[str, Any] = {"compression": "tiff_adobe_deflate", "tiffinfo": {270: text}}
    first, *others = (_tiff_page(frame) for frame in frames)
    with write_atomically(path) as part:
        first.save(part, "TIFF", save_all=bool(others), append_images=others, **options)


def _tiff_page(frame: np.ndarray) -> PIL.Image.Image:
    """A frame in the dtype of TIFF that holds its values: 8, 16 or 32 bits, or float32."""
    import numpy as np
    import PIL.Image

    if frame.ndim == 3 and frame.dtype != np.uint8:
        raise ValueError(f"a TIFF of colours holds 8 bits a colour, not {frame.dtype}; write .npy")
    if frame.dtype.kind == "f":
        held = frame.astype(np.float32)
    elif frame.dtype.kind == "b":
        held = frame.astype(np.uint8)
    elif frame.dtype in (np.uint8, np.uint16):
        held = frame
    else:
        held = frame.astype(np.int32)
    if not np.array_equal(held, frame, equal_nan=frame.dtype.kind == "f"):
        raise ValueError(f"a TIFF does not hold these values of {frame.dtype}; write .npy")
    return PIL.Image.fromarray(np.ascontiguousarray(held))
