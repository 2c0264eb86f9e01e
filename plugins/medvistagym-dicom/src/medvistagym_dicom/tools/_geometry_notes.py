"""What the tools that resample volumes say of a view: its pixels, and how the slices lie."""

from __future__ import annotations

from medvistagym_core.imaging import Image
from medvistagym_dicom.reformatting import MAX_OBLIQUITY_DEG, AnatomicalPlane, Volume


def geometry_notes(volume: Volume, view: Image, plane: AnatomicalPlane, *, projected: bool = False) -> str:
    """What to know of a view: its pixels, and what of the geometry of the acquisition it shows or corrects."""
    assert view.spacing is not None
    across = view.spacing[-1]
    is_square = abs(view.spacing[-2] / across - 1) < 0.01
    notes = [f"{across:.3g} mm a pixel" if is_square else f"{view.spacing[-2]:.3g} x {across:.3g} mm a pixel"]
    step = volume.spacing[0]
    is_oblique_cut = plane != "acquired" and volume.obliquity_deg > MAX_OBLIQUITY_DEG and not projected
    if is_oblique_cut or (plane not in ("acquired", volume.plane) and abs(step / across - 1) > 0.01):
        notes.append(f"interpolated between slices {step:.3g} mm apart")
    if not volume.is_evenly_spaced:
        gap = max(b - a for a, b in zip(volume.slice_positions, volume.slice_positions[1:], strict=False))
        notes.append(f"the slices are unevenly spaced, up to {gap:.4g} mm apart; what lies in a gap is not known")
    if volume.shear_deg > 0.5:
        corrected = "is corrected" if plane != "acquired" and not projected else "is not corrected"
        notes.append(f"the slices are sheared by {volume.shear_deg:.0f} degrees (gantry tilt), which {corrected}")
    elif plane != "acquired" and volume.obliquity_deg > MAX_OBLIQUITY_DEG:
        oblique = f"the slices lie oblique, {volume.obliquity_deg:.0f} degrees off"
        notes.append(f"{oblique}; the picture is tilted by as much" if projected else oblique)
    if not volume.has_orientation and plane != "acquired":
        notes.append("the file does not tell how the patient lies; the slices are taken to be axial, from the feet")
    return "; ".join(notes)
