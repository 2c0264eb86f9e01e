"""Images as a notebook shows them: a picture with a line that says what it is."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._picture_files import encode_png
from medvistagym_core.imaging._voi_lut import Window

if TYPE_CHECKING:
    from medvistagym_core.imaging._image import Image

_MAX_SIDE: Final = 1024
_FIGURE: Final = "display:inline-block;margin:0 12px 12px 0;vertical-align:top"
_CAPTION: Final = "font:12px/1.4 system-ui,sans-serif;max-width:384px"


def notebook_png(image: Image, max_side: int = _MAX_SIDE) -> bytes:
    """The PNG file of `view`, no larger than `max_side` pixels."""
    return encode_png(image.view(max_side if max(image.shape) > max_side else None))


def image_caption(image: Image) -> str:
    """An image in a line: its modality, size, unit, spacing, window and the slice that is shown."""
    h, w = image.shape
    parts = [image.modality or "", f"{w} × {h}" + (f" × {image.frames}" if image.is_stack else ""), image.unit]
    if image.spacing is not None:
        parts.append(f"{' × '.join(f'{length:.3g}' for length in image.spacing[::-1])} mm")
    if isinstance(image.window, Window):
        parts.append(f"window {image.window.center:g} / {image.window.width:g}")
    if image.is_stack:
        parts.append(f"slice {image.displayed_frame} of 0 to {image.frames - 1}")
    return " · ".join(part for part in parts if part)


def figure_html(image: Image, title: str = "", max_side: int = 384) -> str:
    """An image as HTML: its picture and `image_caption`.

    Args:
        image: The image; of a stack, the frame that is displayed.
        title: Text before the caption, in bold; escaped here.
        max_side: Longer side of the picture in pixels, at most.
    """
    title = f"<b>{html.escape(title)}</b> " if title else ""
    return picture_html(notebook_png(image, max_side), image_caption(image), title)


def picture_html(png: bytes, caption: str, title: str = "") -> str:
    """A picture as HTML.

    Args:
        png: Its file.
        caption: Text below it.
        title: HTML before the text.
    """
    data = base64.b64encode(png).decode("ascii")
    text = html.escape(caption)
    return (
        f'<figure style="{_FIGURE}"><img src="data:image/png;base64,{data}" alt="{text}" style="max-width:100%">'
        f'<figcaption style="{_CAPTION}">{title}{text}</figcaption></figure>'
    )


def text_html(text: Any) -> str:
    """Text as HTML, its lines and blanks kept."""
    style = "white-space:pre-wrap;margin:0 0 8px;font:13px/1.5 system-ui,sans-serif"
    return f'<p style="{style}">{html.escape(str(text))}</p>'
