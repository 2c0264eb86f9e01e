"""The tool `reformat`: one plane of a volume, or one frame of a clip."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_dicom.reformatting import (
    COUNTED_FROM,
    MAX_OBLIQUITY_DEG,
    AnatomicalPlane,
    Volume,
    oriented_slice,
    patient_extent,
    plan_reformat,
    sample_oblique_plane,
    slice_image,
)
from medvistagym_dicom.tools._geometry_notes import geometry_notes
from medvistagym_dicom.tools._roi import single_frame

Millimetres = Annotated[float, Field(ge=0, le=100_000)]


@tool
def reformat(
    image: Image,
    plane: AnatomicalPlane = "acquired",
    index: Annotated[int, Field(ge=0)] | None = None,
    position_mm: Millimetres | None = None,
) -> tuple[Image, str, dict[str, Any]]:
    """Take one slice of a volume, or one frame of a clip, as an image of its own: axial, coronal, sagittal, or as acquired.

    Use it to look at another slice of a stack, or from another side. Slices are counted from the feet (axial), from the front
    (coronal), from the patient's right (sagittal). Without index and position_mm it takes the middle one.

    Args:
        image: The volume or stack.
        plane: Plane of the slice; acquired takes the slices or frames as they are stored.
        index: Which slice, from 0.
        position_mm: Where instead, in mm from the first slice.
    """
    if index is not None and position_mm is not None:
        raise ValueError("give an index or a position_mm, not both")
    if plane == "acquired" and position_mm is None:
        return _acquired_frame(image, index)
    volume = Volume.from_image(image)
    if plane != "acquired" and volume.obliquity_deg > MAX_OBLIQUITY_DEG:
        return _oblique_plane(volume, plane, index, position_mm)
    layout = plan_reformat(volume, plane)
    count, last = len(layout.slice_positions), layout.slice_positions[-1]
    at = _slice_index(index, position_mm, layout.slice_positions, plane)
    stored = count - 1 - at if layout.is_reversed else at
    if plane == "acquired":
        view = single_frame(volume.image, stored)
    else:
        pixels = volume.image.pixels.take(stored, layout.along)
        view = oriented_slice(volume, layout, pixels, {"plane": plane, "slice": str(at)})
    text = (
        f"{plane} slice {at} of 0 to {count - 1}, {layout.slice_positions[at]:.1f} of {last:.1f} mm "
        f"from the {COUNTED_FROM[plane]}"
    )
    data = _slice_data(view, plane, at, count, layout.slice_positions[at])
    return view, f"{text}; {geometry_notes(volume, view, plane)}", data


def _acquired_frame(image: Image, index: int | None) -> tuple[Image, str, dict[str, Any]]:
    """A frame as it lies in the stack; its position in the patient need not be known."""
    source = image.detail if image.detail is not None and image.detail.is_stack else image
    if not source.is_stack:
        raise ValueError("this image is a single slice; only a volume or a stack of frames has others")
    if index is not None and index >= source.frames:
        raise ValueError(f"there is no slice {index}; they are 0 to {source.frames - 1}")
    current = source.frames // 2 if image.frame is None else min(image.frame, source.frames - 1)
    at = current if index is None else index
    view = single_frame(source, at)
    text = f"slice {at} of 0 to {source.frames - 1}, as acquired"
    if source.spacing is None or len(source.spacing) < 3:
        return view, text, _slice_data(view, "acquired", at, source.frames, None)
    volume = Volume.from_image(source)
    position = volume.slice_positions[at]
    text += f", {position:.1f} of {volume.slice_positions[-1]:.1f} mm from the first"
    text += f"; {geometry_notes(volume, view, 'acquired')}"
    return view, text, _slice_data(view, "acquired", at, source.frames, position)


def _oblique_plane(
    volume: Volume, plane: AnatomicalPlane, index: int | None, position_mm: float | None
) -> tuple[Image, str, dict[str, Any]]:
    """A plane of the patient through slices that lie oblique in it."""
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    low, high = patient_extent(volume)
    step = min(volume.spacing)
    count = max(1, int((high[axis] - low[axis]) / step))
    positions = tuple(k * step for k in range(count))
    at = _slice_index(index, position_mm, positions, plane)
    position = positions[at] if position_mm is None else min(position_mm, positions[-1])
    values, spacing = sample_oblique_plane(volume, plane, low[axis] + step / 2 + position, low, high)
    view = slice_image(volume.image, values, (spacing, spacing), {"plane": plane, "slice": str(at)})
    text = f"{plane} slice {at} of 0 to {count - 1}, {position:.1f} of {positions[-1]:.1f} mm from the {COUNTED_FROM[plane]}"
    text += f"; {geometry_notes(volume, view, plane)}"
    return view, text, _slice_data(view, plane, at, count, position)


def _slice_index(
    index: int | None, position_mm: float | None, positions: tuple[float, ...], plane: AnatomicalPlane
) -> int:
    """The slice asked for, by index or as the one nearest to a position; the middle one when neither is given."""
    if index is not None:
        if index >= len(positions):
            raise ValueError(f"there is no {plane} slice {index}; they are 0 to {len(positions) - 1}")
        return index
    if position_mm is None:
        return len(positions) // 2
    half_step = (positions[-1] / (len(positions) - 1) if len(positions) > 1 else 1.0) / 2
    if position_mm > positions[-1] + half_step:
        raise ValueError(f"position_mm is {position_mm:g}; the {plane} slices lie from 0 to {positions[-1]:.1f} mm")
    return min(range(len(positions)), key=lambda k: abs(positions[k] - position_mm))


def _slice_data(view: Image, plane: AnatomicalPlane, at: int, count: int, position: float | None) -> dict[str, Any]:
    return {
        "plane": plane, "slice": at, "slices": count, "position_mm": None if position is None else round(position, 3),
        "pixel_mm": None if view.spacing is None else [round(v, 4) for v in view.spacing],
    }  # fmt: skip
