"""The tool `acquisition`: what is known of how an image was made, without anything that identifies a person."""

from __future__ import annotations

import math
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_dicom.region import unit_in_words

# Attribute -> how it is said. What is not listed here is not told.
_SAID: Final = {
    "body_part": "body part {}",
    "laterality": "{} side",
    "view_position": "view {}",
    "patient_position": "patient position {}",
    "localizer": "a localizer",
    "kvp": "{} kVp",
    "tube_current_ma": "{} mA",
    "exposure_mas": "{} mAs",
    "kernel": "kernel {}",
    "field_strength_t": "{} T",
    "sequence": "sequence {}",
    "acquisition_type": "{} acquisition",
    "repetition_time_ms": "TR {} ms",
    "echo_time_ms": "TE {} ms",
    "inversion_time_ms": "TI {} ms",
    "flip_angle_deg": "flip angle {} degrees",
    "slice_thickness_mm": "slice thickness {} mm",
    "slice_spacing": "{} slice spacing",
    "gantry_tilt_deg": "gantry tilt {} degrees",
    "shear_deg": "slices sheared by {} degrees",
    "plane": "{} view",
    "projection": "{} projection",
    "slice": "slice {}",
    "frame": "frame {}",
    "slices": "slices {} of the scan",
    "position_mm": "the scan's first pixel at {} mm (left, back, head)",
    "rescale": "rescale slope and intercept {}, applied",
    "padding": "padding {} (least, greatest value)",
    "voi_lut": "VOI LUT: {}",
    "lossy": "compressed with loss",
    "burned_in_annotation": "burned-in annotation: {}",
}
_TEXTS: Final = frozenset(
    """
    body_part laterality view_position patient_position localizer kernel sequence acquisition_type slice_spacing plane
    projection slices voi_lut lossy burned_in_annotation
    """.split()  # noqa: SIM905
)


@tool
def acquisition(image: Image) -> tuple[str, dict[str, Any]]:
    """Tell how an image was made: modality, body part, plane, spacing, slices, scan settings, and the windows of its file.

    Use it when the answer depends on the technique, or to choose a window, a slice or a tool. It names no person or date.

    Args:
        image: The image to tell about.
    """
    source = image.detail or image
    h, w = source.shape
    known = {key: text for key in _SAID if (text := source.attributes.get(key)) and _value(key, text) is not None}
    lie, oblique = _lie(source)
    data: dict[str, Any] = {
        "modality": source.modality,
        "columns": w,
        "rows": h,
        "frames": source.frames,
        "unit": source.unit,
        "photometric": source.photometric,
        "spacing_mm": None if source.spacing is None else [round(v, 5) for v in source.spacing],
        "spacing_at": None if source.spacing is None else source.attributes.get("spacing_at", "patient"),
        "orientation": lie,
        "oblique_deg": oblique,
        "windows": [
            {"center": v.center, "width": v.width, "function": v.function, **({"name": v.name} if v.name else {})}
            for v in source.windows
        ],
        **{key: _value(key, text) for key, text in known.items()},
    }
    size = f"{source.frames} slices or frames of {w} x {h} pixels" if source.is_stack else f"{w} x {h} pixels"
    said = [f"{source.modality or 'modality unknown'}", size, unit_in_words(source)]
    if source.spacing is None:
        said.append("pixel spacing not known")
    else:
        down, across = source.spacing[-2:]
        at = " at the detector" if data["spacing_at"] == "detector" else ""
        said.append(f"pixels {down:.4g} x {across:.4g} mm{at}")
        if source.is_stack:
            between = f"{source.spacing[0]:.4g} mm" if len(source.spacing) == 3 else "not known"
            said.append(f"distance of slices {between}")
    if lie is not None:
        said.append(f"slices {lie}" + (f", {oblique:.0f} degrees oblique" if oblique else ""))
    said += [_SAID[key].format(text) for key, text in known.items()]
    offered = ", ".join(f"{v.center:g}/{v.width:g}{f' {v.name}' if v.name else ''}" for v in source.windows[:8])
    said.append(f"windows (center/width) {offered}" if offered else "no window in the file")
    return "; ".join(said), data


def _value(key: str, text: str) -> Any:
    """An attribute as data: its text, its number or its numbers; None when it should be numbers and is not."""
    if key in _TEXTS:
        return text
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return None
    return numbers[0] if len(numbers) == 1 else numbers


def _lie(image: Image) -> tuple[str | None, float | None]:
    """The plane that the rows and columns of the file lie closest to, and the angle to it; None where it does not tell."""
    cosines = [float(v) for v in image.attributes.get("direction", "").split()]
    if len(cosines) < 6:
        return None, None
    (ax, ay, az), (bx, by, bz) = cosines[:3], cosines[3:6]
    normal = [abs(v) for v in (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)]
    nearest = max(range(3), key=normal.__getitem__)
    angle = math.degrees(math.acos(min(1.0, normal[nearest])))
    return ("sagittal", "coronal", "axial")[nearest], round(angle, 1) if angle > 1 else None
