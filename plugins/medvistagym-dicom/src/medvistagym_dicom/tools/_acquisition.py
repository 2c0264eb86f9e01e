"""The tool `acquisition`: how an image was acquired, without anything that identifies a person."""

from __future__ import annotations

import math
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_dicom.tools._roi import format_unit
from medvistagym_dicom.tools._scale import location_note

# Attribute -> its phrase in the text. An attribute that is not listed here is not reported.
_ATTRIBUTE_PHRASES: Final = {
    "body_part": "body part {}",
    "laterality": "{} side",
    "view_position": "view {}",
    "patient_position": "patient position {}",
    "localizer": "a localizer",
    "derived": "derived from other images",
    "composite": "a {} of slices, whose places are not told",
    "row_direction": "rows run to the {}",
    "column_direction": "columns run to the {}",
    "conversion": "a converted picture ({})",
    "part": "volume {} of its series",
    "told_apart_by": "told apart by {}",
    "segment": "segment {}",
    "segmentation_type": "{} segmentation",
    "dose_type": "{} dose",
    "suv_type": "SUV type {}",
    "decay_correction": "decay correction {}",
    "complex_component": "{} image",
    "volumetric_properties": "{} in space, so that lengths may not hold",
    "presentation_intent": "values {}, not for display",
    "pixel_intensity": "pixel intensity relationship {}",
    "regions": "calibrated parts of the picture (left, top, right, bottom in pixels; rows, columns in mm) {}",
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
    "diffusion_b_value": "b-value {} s/mm2",
    "frame_time_ms": "{} ms a frame",
    "slice_thickness_mm": "slice thickness {} mm",
    "slice_spacing": "{} slice spacing",
    "slice_order": "the order of slices {}",
    "missing_slices": "{} slices missing",
    "unreadable_slices": "{} slices could not be read",
    "gantry_tilt_deg": "gantry tilt {} degrees",
    "shear_deg": "slices sheared by {} degrees",
    "plane": "{} view",
    "projection": "{} projection",
    "slice": "slice {}",
    "frame": "frame {}",
    "slices": "slices {} of the scan",
    "position_mm": "the scan's first pixel at {} mm (left, back, head)",
    "calibration": "spacing calibrated by {}",
    "magnification": "spacing corrected for a magnification of {}",
    "pixel_aspect": "pixels {} times as high as wide",
    "supplemental_colour": "its supplemental palette is {}",
    "rescale": "rescale slope and intercept {}, applied",
    "padding": "padding {} (least, greatest value)",
    "voi_lut": "VOI LUT: {}",
    "lossy": "compressed with loss",
    "burned_in_annotation": "burned-in annotation: {}",
}
_TEXT_ATTRIBUTES: Final = frozenset(
    """
    body_part laterality view_position patient_position localizer derived composite row_direction column_direction
    conversion part told_apart_by segmentation_type dose_type suv_type decay_correction complex_component
    volumetric_properties presentation_intent pixel_intensity regions kernel sequence acquisition_type slice_spacing
    slice_order missing_slices unreadable_slices plane projection slices calibration supplemental_colour voi_lut lossy
    burned_in_annotation
    """.split()  # noqa: SIM905
)


@tool(light=True)
def acquisition(image: Image) -> tuple[str, dict[str, Any]]:
    """Tell how an image was made: modality, body part, plane, spacing, slices, scan settings, and the windows of its file.

    Use it when the answer depends on the technique, or to choose a window, a slice or a tool. It names no person or date.

    Args:
        image: The image to tell about.
    """
    source = image.detail or image
    h, w = source.shape
    present = {
        key: text
        for key in _ATTRIBUTE_PHRASES
        if (text := source.attributes.get(key)) and _attribute_value(key, text) is not None
    }
    plane, oblique_deg = _nearest_plane(source)
    data: dict[str, Any] = {
        "modality": source.modality,
        "columns": w,
        "rows": h,
        "frames": source.frames,
        "unit": source.unit,
        "photometric": source.photometric,
        "spacing_mm": None if source.spacing is None else [round(v, 5) for v in source.spacing],
        "spacing_at": None if source.spacing is None else source.attributes.get("spacing_at", "patient"),
        "orientation": plane,
        "oblique_deg": oblique_deg,
        "windows": [
            {"center": v.center, "width": v.width, "function": v.function, **({"name": v.name} if v.name else {})}
            for v in source.windows
        ],
        **{key: _attribute_value(key, text) for key, text in present.items()},
    }
    size = f"{source.frames} slices or frames of {w} x {h} pixels" if source.is_stack else f"{w} x {h} pixels"
    parts = [f"{source.modality or 'modality unknown'}", size, format_unit(source)]
    if source.spacing is None:
        parts.append("pixel spacing not known")
    else:
        down, across = source.spacing[-2:]
        parts.append(f"pixels {down:.4g} x {across:.4g} mm{location_note(source)}")
        if source.is_stack:
            between = f"{source.spacing[0]:.4g} mm" if len(source.spacing) == 3 else "not known"
            parts.append(f"distance of slices {between}")
    if plane is not None:
        parts.append(f"slices {plane}" + (f", {oblique_deg:.0f} degrees oblique" if oblique_deg else ""))
    parts += [_ATTRIBUTE_PHRASES[key].format(text) for key, text in present.items()]
    windows = ", ".join(f"{v.center:g}/{v.width:g}{f' {v.name}' if v.name else ''}" for v in source.windows[:8])
    parts.append(f"windows (center/width) {windows}" if windows else "no window in the file")
    return "; ".join(parts), data


def _attribute_value(key: str, text: str) -> Any:
    """An attribute as data: its text, its number or its numbers; None when it should be numbers and is not."""
    if key in _TEXT_ATTRIBUTES:
        return text
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return None
    return numbers[0] if len(numbers) == 1 else numbers


def _nearest_plane(image: Image) -> tuple[str | None, float | None]:
    """The plane that the rows and columns of the file lie closest to, and the angle to it; None where it does not tell."""
    cosines = [float(v) for v in image.attributes.get("direction", "").split()]
    if len(cosines) < 6:
        return None, None
    (ax, ay, az), (bx, by, bz) = cosines[:3], cosines[3:6]
    normal = [abs(v) for v in (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)]
    nearest = max(range(3), key=normal.__getitem__)
    angle = math.degrees(math.acos(min(1.0, normal[nearest])))
    return ("sagittal", "coronal", "axial")[nearest], round(angle, 1) if angle > 1 else None
