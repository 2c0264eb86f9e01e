"""The tools `reformat`, which shows a plane of a volume, and `project`, which shows a slab of it in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_dicom.planes import COUNTED_FROM, STRAIGHT_DEG, Plane
from medvistagym_dicom.region import frame_of

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_dicom.volume import Volume

Millimetres = Annotated[float, Field(ge=0, le=100_000)]


@tool
def reformat(
    image: Image,
    plane: Plane = "acquired",
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
    from medvistagym_dicom.slicing import as_view
    from medvistagym_dicom.volume import cut_of, volume_of

    if index is not None and position_mm is not None:
        raise ValueError("give an index or a position_mm, not both")
    if plane == "acquired" and position_mm is None:
        return _frame(image, index)
    volume = volume_of(image)
    if plane != "acquired" and volume.tilt > STRAIGHT_DEG:
        return _true_plane(volume, plane, index, position_mm)
    cut = cut_of(volume, plane)
    count, last = len(cut.places), cut.places[-1]
    at = _chosen(index, position_mm, cut.places, plane)
    stored = count - 1 - at if cut.backwards else at
    told = {"plane": plane, "slice": str(at)} if plane != "acquired" else {"frame": str(at)}
    if plane == "acquired":
        view = frame_of(volume.image, stored)
    else:
        flat = volume.image.pixels.take(stored, cut.along)
        view = as_view(volume, cut, flat, told)
    text = (
        f"{plane} slice {at} of 0 to {count - 1}, {cut.places[at]:.1f} of {last:.1f} mm from the {COUNTED_FROM[plane]}"
    )
    return view, f"{text}; {_remarks(volume, view, plane)}", _facts(view, plane, at, count, cut.places[at])


@tool
def project(
    image: Image,
    method: Literal["maximum", "minimum", "mean"],
    plane: Plane = "acquired",
    from_mm: Millimetres | None = None,
    to_mm: Millimetres | None = None,
) -> tuple[Image, str, dict[str, Any]]:
    """Show the slices of a slab in one picture: each pixel is the maximum, minimum or mean along the line through the slab.

    Use maximum for vessels with contrast, bone, nodules and metal, minimum for airways and emphysema, mean for less noise. A
    slab of 10 to 30 mm hides less than the whole volume.

    Args:
        image: The volume or stack.
        method: What of the values along the line is shown.
        plane: Plane of the picture; acquired is that of the slices as they are stored.
        from_mm: Where the slab begins, in mm from the first slice: from the feet (axial), the front (coronal), the patient's
            right (sagittal); the whole volume unless given.
        to_mm: Where it ends.
    """
    import numpy as np

    from medvistagym_dicom.slicing import as_view
    from medvistagym_dicom.volume import cut_of, volume_of

    if plane == "acquired" and from_mm is None and to_mm is None and _is_clip(image):
        source = image.detail if image.detail is not None and image.detail.is_stack else image
        flat = _reduced(source.pixels, method, 0)
        view = frame_of(source, 0).with_pixels(flat, attributes={**source.attributes, "projection": method})
        return view, f"{method} of {source.frames} frames", {"method": method, "slices": source.frames}
    volume = volume_of(image)
    cut = cut_of(volume, plane)
    low, high = 0.0 if from_mm is None else from_mm, cut.places[-1] if to_mm is None else to_mm
    if from_mm is not None and to_mm is not None and low > high:
        raise ValueError(f"from_mm must not be above to_mm, got {low:g} and {high:g}")
    chosen = [k for k, place in enumerate(cut.places) if low - 1e-6 <= place <= high + 1e-6]
    if not chosen:
        missed = f"from {low:g} to {high:g} mm" if low <= high else f"beyond {low:g} mm"
        raise ValueError(f"no slice lies {missed}; the {len(cut.places)} slices lie from 0 to {cut.places[-1]:.1f} mm")
    first, end = chosen[0], chosen[-1] + 1
    ends = (len(cut.places) - end, len(cut.places) - first) if cut.backwards else (first, end)
    slab = volume.image.pixels[(slice(None),) * cut.along + (slice(*ends),)]
    view = as_view(volume, cut, _reduced(slab, method, cut.along), {"plane": plane, "projection": method})
    span = f"{cut.places[first]:.1f} to {cut.places[end - 1]:.1f} of {cut.places[-1]:.1f} mm from the {COUNTED_FROM[plane]}"
    slices = f"{len(chosen)} {plane} slice{'s' * (len(chosen) > 1)}"
    text = f"{method} of {slices}, {span}; {_remarks(volume, view, plane, projected=True)}"
    assert view.spacing is not None
    return view, text, {
        "method": method, "plane": plane, "slices": len(chosen), "from_mm": round(cut.places[first], 3),
        "to_mm": round(cut.places[end - 1], 3), "pixel_mm": float(np.round(view.spacing[-1], 4)),
    }  # fmt: skip


def _is_clip(image: Image) -> bool:
    source = image.detail if image.detail is not None and image.detail.is_stack else image
    return source.is_stack and (source.spacing is None or len(source.spacing) < 3)


def _frame(image: Image, index: int | None) -> tuple[Image, str, dict[str, Any]]:
    """A frame as it lies in the stack; nothing needs to be known of its place."""
    from medvistagym_dicom.volume import volume_of

    source = image.detail if image.detail is not None and image.detail.is_stack else image
    if not source.is_stack:
        raise ValueError("this image is a single slice; only a volume or a stack of frames has others")
    if index is not None and index >= source.frames:
        raise ValueError(f"there is no slice {index}; they are 0 to {source.frames - 1}")
    shown = source.frames // 2 if image.frame is None else min(image.frame, source.frames - 1)
    at = shown if index is None else index
    view = frame_of(source, at)
    if source.spacing is None or len(source.spacing) < 3:
        return (
            view,
            f"slice {at} of 0 to {source.frames - 1}, as acquired",
            _facts(view, "acquired", at, source.frames, None),
        )
    volume = volume_of(source)
    place = volume.places[at]
    text = (
        f"slice {at} of 0 to {source.frames - 1}, as acquired, {place:.1f} of {volume.places[-1]:.1f} mm from the first"
    )
    text += f"; {_remarks(volume, view, 'acquired')}"
    return view, text, _facts(view, "acquired", at, source.frames, place)


def _true_plane(
    volume: Volume, plane: Plane, index: int | None, position_mm: float | None
) -> tuple[Image, str, dict[str, Any]]:
    """A plane of the patient through slices that lie oblique in it."""
    from medvistagym_dicom.slicing import oblique, plain
    from medvistagym_dicom.volume import corners

    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    low, high = corners(volume)
    step = min(volume.steps)
    count = max(1, int((high[axis] - low[axis]) / step))
    places = tuple(k * step for k in range(count))
    at = _chosen(index, position_mm, places, plane)
    place = places[at] if position_mm is None else min(position_mm, places[-1])
    values, spacing = oblique(volume, plane, low[axis] + step / 2 + place, low, high)
    view = plain(volume.image, values, (spacing, spacing), {"plane": plane, "slice": str(at)})
    text = f"{plane} slice {at} of 0 to {count - 1}, {place:.1f} of {places[-1]:.1f} mm from the {COUNTED_FROM[plane]}"
    text += f"; {_remarks(volume, view, plane)}"
    return view, text, _facts(view, plane, at, count, place)


def _chosen(index: int | None, position_mm: float | None, places: tuple[float, ...], plane: Plane) -> int:
    if index is not None:
        if index >= len(places):
            raise ValueError(f"there is no {plane} slice {index}; they are 0 to {len(places) - 1}")
        return index
    if position_mm is None:
        return len(places) // 2
    slack = (places[-1] / (len(places) - 1) if len(places) > 1 else 1.0) / 2
    if position_mm > places[-1] + slack:
        raise ValueError(f"position_mm is {position_mm:g}; the {plane} slices lie from 0 to {places[-1]:.1f} mm")
    return min(range(len(places)), key=lambda k: abs(places[k] - position_mm))


def _reduced(slab: np.ndarray, method: str, axis: int) -> np.ndarray:
    """Maximum, minimum or mean along an axis; values that are not finite are left out where there are others."""
    import numpy as np

    if slab.dtype.kind != "f":
        if method == "mean":
            return np.asarray(slab.mean(axis, dtype=np.float64), np.float32)
        return np.asarray(slab.max(axis) if method == "maximum" else slab.min(axis))
    if method == "mean":
        total, count = np.zeros(np.delete(slab.shape, axis)), np.zeros(np.delete(slab.shape, axis), np.int32)
        for values in np.moveaxis(slab, axis, 0):  # one by one: no copy of the slab
            finite = np.isfinite(values)
            total += np.where(finite, values, 0)
            count += finite
        with np.errstate(over="ignore", invalid="ignore"):
            mean: np.ndarray = (total / np.where(count, count, np.nan)).astype(np.float32)
        return mean
    best: np.ndarray = (np.fmax if method == "maximum" else np.fmin).reduce(slab, axis)
    return best


def _facts(view: Image, plane: Plane, at: int, count: int, place: float | None) -> dict[str, Any]:
    return {
        "plane": plane, "slice": at, "slices": count, "position_mm": None if place is None else round(place, 3),
        "pixel_mm": None if view.spacing is None else [round(v, 4) for v in view.spacing],
    }  # fmt: skip


def _remarks(volume: Volume, view: Image, plane: Plane, *, projected: bool = False) -> str:
    """What to know of a view: its pixels, and what of the acquisition it shows or mends."""
    assert view.spacing is not None
    across = view.spacing[-1]
    square = abs(view.spacing[-2] / across - 1) < 0.01
    said = [f"{across:.3g} mm a pixel" if square else f"{view.spacing[-2]:.3g} x {across:.3g} mm a pixel"]
    step = volume.steps[0]
    turned = plane != "acquired" and volume.tilt > STRAIGHT_DEG and not projected
    if turned or (plane not in ("acquired", volume.plane) and abs(step / across - 1) > 0.01):
        said.append(f"interpolated between slices {step:.3g} mm apart")
    if not volume.even:
        gap = max(b - a for a, b in zip(volume.places, volume.places[1:], strict=False))
        said.append(f"the slices are unevenly spaced, up to {gap:.4g} mm apart; what lies in a gap is not known")
    if volume.sheared > 0.5:
        mended = "is corrected" if plane != "acquired" and not projected else "is not corrected"
        said.append(f"the slices are sheared by {volume.sheared:.0f} degrees (gantry tilt), which {mended}")
    elif plane != "acquired" and volume.tilt > STRAIGHT_DEG:
        lie = f"the slices lie oblique, {volume.tilt:.0f} degrees off"
        said.append(f"{lie}; the picture is tilted by as much" if projected else lie)
    if not volume.known and plane != "acquired":
        said.append("the file does not tell how the patient lies; the slices are taken to be axial, from the feet")
    return "; ".join(said)
