"""Draw `contact_sheet.png`: for each family a scout, what a wrong call shows, and what the right calls show.

Run it from anywhere: `python docs/contact_sheet.py`. All pictures are what a policy sees: 64 pixels a side, here enlarged.
"""

from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from medvistagym_core import Box, Image, ToolCall
from medvistagym_scoutvqa import CHAIN, SCOUTVQA
from medvistagym_scoutvqa._demonstrations import box_call, informative_call, window_call
from medvistagym_scoutvqa._scenes import TISSUE_CENTERS_HU
from medvistagym_scoutvqa._tool_calls import tool_image, tool_text

SIDE, GAP, LINE = 192, 8, 13
INDICES = {"window": 16, "zoom": 25, "measure": 2, "direct": 11, "chain": 5}


def draw_panel(sheet: PIL.Image.Image, image: Image | None, place: tuple[int, int], *captions: str) -> None:
    """Draw a picture as a policy sees it, and up to two lines under it.

    Args:
        sheet: Where to draw it.
        image: What is shown; None for captions alone.
        place: Column and row.
        captions: The lines.
    """
    x, y = (GAP + k * step for k, step in zip(place, (SIDE + GAP, SIDE + 2 * LINE + 2 * GAP), strict=True))
    if image is not None:
        sheet.paste(image.to_pil(64).resize((SIDE, SIDE), PIL.Image.Resampling.NEAREST), (x, y))
    drawing = PIL.ImageDraw.Draw(sheet)
    for k, caption in enumerate(captions):
        drawing.text((x, y + (SIDE if image is not None else SIDE // 3) + 2 + k * LINE), caption, fill=0)


def format_call(call: ToolCall) -> str:
    """A call as a caption."""
    arguments = ", ".join(
        str(value) if isinstance(value, list) else f"{name} {value}"
        for name, value in call.arguments.items()
        if name != "image"
    )
    return f"{call.name} {arguments}"


def main() -> None:
    """Draw the sheet beside this file."""
    height = len(INDICES) * (SIDE + 2 * LINE + 2 * GAP) + GAP
    sheet = PIL.Image.new("L", (4 * (SIDE + GAP) + GAP, height), 255)
    for row, (family, index) in enumerate(INDICES.items()):
        case = (CHAIN if family == "chain" else SCOUTVQA).case("test", index)
        scout, truth = case.images[0], case.truth
        draw_panel(sheet, scout, (0, row), case.question, f"(the scout; answer: {case.answer.value})")
        if family == "direct":
            draw_panel(sheet, None, (1, row), "nothing to call")
            continue
        right = informative_call(truth)
        if family == "measure":
            draw_panel(sheet, None, (1, row), format_call(right), tool_text(right, scout))
            continue
        wrong = window_call(300, 400) if family == "window" else box_call("zoom", opposite_box(truth.quadrant))
        steps = [right]
        if family == "chain":
            wrong = window_call(TISSUE_CENTERS_HU[truth.tissue], 40)
            steps.append(wrong)
        draw_panel(sheet, tool_image(wrong, scout), (1, row), format_call(wrong), "shows nothing")
        image = scout
        for column, step in enumerate(steps, 2):
            image = tool_image(step, image)
            last = column == len(steps) + 1
            draw_panel(sheet, image, (column, row), format_call(step), "shows it" if last else "shows nothing yet")
    sheet.save(Path(__file__).with_name("contact_sheet.png"), optimize=True)


def opposite_box(quadrant: str) -> Box:
    """A zoom box in the corner opposite to a quadrant."""
    x, y = 0 if "right" in quadrant else 750, 0 if "lower" in quadrant else 750
    return Box(x, y, x + 250, y + 250)


if __name__ == "__main__":
    main()
