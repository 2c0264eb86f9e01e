"""What the page reads of a session: JSON values of images, turns, sources and tools."""

from __future__ import annotations

from typing import Any, Final

from medvistagym_core.imaging import Image, Window, patient_geometry
from medvistagym_core.play._session import PlaySession
from medvistagym_core.play._sources import ImageSource
from medvistagym_core.tools import Tool, inline_references, is_box_schema

MAX_TEXT: Final = 20_000
_SHOWN_ATTRIBUTES: Final = 24


def describe_tool(tool: Tool) -> dict[str, Any]:
    """A tool with the schema of its arguments, without references."""
    spec = tool.spec
    schema = inline_references(spec.parameters)
    return {
        "name": spec.name,
        "id": spec.id,
        "version": spec.version,
        "description": spec.description,
        "images": list(spec.images),
        "returns": list(spec.returns),
        "modalities": list(spec.modalities),
        "properties": schema["properties"],
        "required": list(schema.get("required", ())),
        "boxes": [name for name, one in schema["properties"].items() if is_box_schema(one)],
    }


def describe_source(source: ImageSource) -> dict[str, Any]:
    """A source as the list shows it."""
    return {"name": source.name, "files": len(source.files), "preview": source.preview_path is not None}


def describe_image(image: Image) -> dict[str, Any]:
    """What a caption says of an image."""
    window = image.window
    return {
        "shape": list(image.shape),
        "frames": image.frames,
        "stack": image.is_stack,
        "frame": image.displayed_frame,
        "unit": image.unit,
        "modality": image.modality,
        "colour": image.photometric == "RGB",
        "dtype": image.pixels.dtype.name,
        "spacing": list(image.spacing) if image.spacing is not None else None,
        "window": None if window is None else {"center": window.center, "width": window.width, "name": window.name},
        "table": window is not None and not isinstance(window, Window),
        "range": list(image.display_range) if image.display_range is not None else None,
        "windows": [{"center": w.center, "width": w.width, "name": w.name} for w in image.windows[:16]],
        "to_source": list(image.to_source),
        "source_shape": list(image.source_shape or image.shape),
        "attributes": {k: v[:200] for k, v in list(image.attributes.items())[:_SHOWN_ATTRIBUTES]},
    }


def describe_session(session: PlaySession) -> dict[str, Any]:
    """The images by handle, and the turns."""
    origins = {
        handle: (turn, call)
        for turn, step in enumerate(session.steps)
        for call, result in enumerate(step.results)
        for handle in result.handles
    }
    images = [
        {
            **describe_image(stored.image),
            "handle": handle,
            "parent": stored.parent,
            "made": origins.get(handle),
            "name": session.opened[handle].name if handle in session.opened else None,
        }
        for handle, stored in enumerate(session.store)
    ]
    turns = [
        {
            "who": author,
            "think": step.turn.reasoning,
            "text": step.turn.text[:MAX_TEXT],
            "answer": step.turn.answer,
            "error": None if step.turn.error is None else step.turn.error.message,
            "seconds": step.policy_seconds,
            "calls": [
                {
                    "name": call.name,
                    "arguments": call.arguments,
                    "text": result.text[:MAX_TEXT],
                    "data": result.data,
                    "error": None
                    if result.error is None
                    else {"code": result.error.code, "message": result.error.message},
                    "handles": list(result.handles),
                    "seconds": result.seconds,
                    "cached": result.cached,
                    "repairs": list(result.repairs),
                }
                for call, result in zip(step.calls, step.results, strict=False)
            ],
        }
        for author, step in zip(session.authors, session.steps, strict=False)  # a turn may be on its way
    ]
    return {
        "images": images,
        "turns": turns,
        "question": session.question,
        "answered": session.answered,
        "policy": session.policy.name if session.policy is not None else None,
    }


def describe_voxel(image: Image, frame: int, x: int, y: int) -> dict[str, Any]:
    """The value of a pixel, and where it lies in the patient in mm (DICOM's LPS), where the image says so.

    Raises:
        LookupError: The image has no such pixel.
    """
    height, width = image.shape
    if not (0 <= frame < image.frames and 0 <= x < width and 0 <= y < height):
        raise LookupError(f"the image has no pixel {x}, {y} of slice {frame}")
    value = (image.pixels[frame] if image.is_stack else image.pixels)[y, x].tolist()
    return {"value": value, "mm": _patient_position(image, frame, x, y)}


def _patient_position(image: Image, frame: int, x: int, y: int) -> list[float] | None:
    try:
        geometry = patient_geometry(image)
    except ValueError:  # slices at uneven distances lie on no grid
        return None
    if not geometry.is_oriented:
        return None
    along = (x, y, frame if image.is_stack else 0)
    return [
        round(geometry.position[axis] + sum(n * step[axis] for n, step in zip(along, geometry.steps, strict=True)), 2)
        for axis in range(3)
    ]
