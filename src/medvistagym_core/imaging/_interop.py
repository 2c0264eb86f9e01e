"""Images to and from the array and picture libraries of Python: NumPy, PyTorch, SimpleITK, Pillow; methods of `Image`.

torch and SimpleITK are imported when one of these functions is called; the core itself needs neither.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._fitting_window import MASK_WINDOW, fitting_window
from medvistagym_core.imaging._patient_geometry import (
    PatientGeometry,
    Vector,
    geometry_attributes,
    patient_geometry,
    slice_spacing,
)

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from medvistagym_core.imaging._image import Image

_UNIT_KEY: Final = "unit"
"""The key of SimpleITK's metadata that keeps the unit of the values."""


def to_array(image: Image, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The pixels, for `numpy.asarray(image)`."""
    import numpy as np

    pixels = image.pixels if dtype is None else image.pixels.astype(dtype, copy=False)
    if copy is False and pixels is not image.pixels:
        raise ValueError(f"the pixels are {image.pixels.dtype} and cannot be {np.dtype(dtype)} without a copy")
    return pixels.copy() if copy and pixels is image.pixels else pixels


def to_dlpack(image: Image, **options: Any) -> Any:
    """The pixels, for `from_dlpack` of any array library; a copy for one that knows no read-only arrays."""
    try:
        return image.pixels.__dlpack__(**options)
    except BufferError:
        return image.pixels.copy().__dlpack__(**options)


def dlpack_device(image: Image) -> tuple[int, int]:
    """Where the pixels are: in the memory of the CPU."""
    return image.pixels.__dlpack_device__()


def to_numpy(image: Image, dtype: Any = None, *, copy: bool = False) -> np.ndarray:
    """The pixels as an array of their own dtype or another; read-only unless it is a copy."""
    return to_array(image, dtype, copy=True if copy else None)


def to_torch(image: Image) -> Any:
    """The pixels as a `torch.Tensor` of their own dtype, in memory of its own."""
    return _import("torch").from_numpy(_writable(image.pixels))


def from_torch(kind: type[Image], /, tensor: Any, **attributes: Any) -> Image:
    """As `from_numpy`, of a `torch.Tensor` on any device, whether or not it has a gradient."""
    return from_array(kind, tensor.detach().cpu().numpy(), **attributes)


def from_array(kind: type[Image], /, pixels: Any, **attributes: Any) -> Image:
    """An image of an array, displayed by a window that suits its `unit` unless `window` is given.

    Args:
        kind: `Image`.
        pixels: Anything that speaks DLPack or the array protocol; shapes and dtypes as of `Image`.
        **attributes: Others of `Image`: `unit`, `spacing`, `photometric`, ...
    """
    image = kind(pixels=pixels, **attributes)
    if "window" in attributes or "unit" not in attributes or image.photometric == "RGB":
        return image
    window = MASK_WINDOW if image.unit == "mask" else fitting_window(image.pixels, image.unit)
    return image.replace(window=window)


def from_pil(kind: type[Image], /, picture: PIL.Image.Image, **attributes: Any) -> Image:
    """As `from_numpy`, of a Pillow picture: greys keep their depth, everything else becomes RGB on white."""
    import numpy as np
    import PIL.Image

    if picture.mode in ("L", "I", "F", "I;16"):
        return from_array(kind, np.array(picture), **attributes)
    if picture.mode == "1":
        return from_array(kind, np.array(picture.convert("L")), **attributes)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layer.size, "white"), layer)
    return from_array(kind, np.array(picture.convert("RGB")), **{"photometric": "RGB", **attributes})


def to_sitk(image: Image) -> Any:
    """A `SimpleITK.Image` with the spacing, origin and direction of the image, in patient coordinates (LPS).

    A slice that says how it lies in the patient becomes a volume of one slice, since two axes cannot say it.

    Raises:
        ValueError: Its slices are unevenly spaced, or SimpleITK is not installed.
    """
    sitk = _import("SimpleITK", "simpleitk")
    colour = image.photometric == "RGB"
    geometry = patient_geometry(image)
    pixels = _for_sitk(image.pixels)
    volume = image.is_stack or geometry.is_oriented
    if volume and not image.is_stack:
        pixels = pixels[None]
    out = sitk.GetImageFromArray(pixels, isVector=colour)
    if volume:
        lengths = [math.hypot(*step) for step in geometry.steps]
        units = [[v / length for v in step] for step, length in zip(geometry.steps, lengths, strict=True)]
        out.SetSpacing(lengths)
        out.SetOrigin(geometry.position)
        out.SetDirection([units[axis][row] for row in range(3) for axis in range(3)])
    elif image.spacing is not None:
        out.SetSpacing((image.spacing[-1], image.spacing[-2]))
    out.SetMetaData(_UNIT_KEY, image.unit)
    return out


def from_sitk(kind: type[Image], /, volume: Any, **attributes: Any) -> Image:
    """An image of a `SimpleITK.Image` of two or three axes, with its place in the patient.

    Slices stay in the order in which they are stored, so that they are those of `SimpleITK.GetArrayFromImage`.

    Raises:
        ValueError: It has other axes, or neither one nor three components.
    """
    sitk = _import("SimpleITK", "simpleitk")
    components, axes = volume.GetNumberOfComponentsPerPixel(), volume.GetDimension()
    if axes not in (2, 3) or components not in (1, 3):
        raise ValueError(
            f"an image has two or three axes and one or three components, not {axes} axes and {components} components"
        )
    pixels = sitk.GetArrayFromImage(volume)
    given: dict[str, Any] = {"photometric": "RGB"} if components == 3 else {"photometric": "MONOCHROME2"}
    if volume.HasMetaDataKey(_UNIT_KEY):
        given["unit"] = volume.GetMetaData(_UNIT_KEY)
    elif components == 1 and pixels.dtype != "uint8":
        given["unit"] = "raw"
    if axes == 2:
        x, y = volume.GetSpacing()
        return from_array(kind, pixels, **{"spacing": (y, x), **given, **attributes})
    frames = pixels.shape[0]
    geometry = _sitk_geometry(volume)
    spacing = slice_spacing(geometry)
    place = {**geometry_attributes(geometry, frames), **attributes.get("attributes", {})}
    if frames == 1:
        pixels, spacing = pixels[0], spacing[1:]  # type: ignore[assignment]
        place["slice_thickness_mm"] = f"{slice_spacing(geometry)[0]:g}"
    return from_array(kind, pixels, **{"spacing": spacing, **given, **attributes, "attributes": place})


def _sitk_geometry(volume: Any) -> PatientGeometry:
    spacing, cosines = volume.GetSpacing(), volume.GetDirection()
    steps: list[Vector] = []
    for axis in range(3):
        x, y, z = (cosines[3 * row + axis] * spacing[axis] for row in range(3))
        steps.append((x, y, z))
    x, y, z = volume.GetOrigin()
    return PatientGeometry((x, y, z), (steps[0], steps[1], steps[2]), True)


def _for_sitk(pixels: np.ndarray) -> np.ndarray:
    """The pixels in a dtype of ITK: its masks are bytes, and it has no half floats."""
    import numpy as np

    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else _writable(pixels)


def _writable(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(pixels.dtype.newbyteorder("="), order="C", copy=True)


def _import(module: str, distribution: str | None = None) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(f"{module} is not installed: pip install {distribution or module}") from error
