"""Draw `contact_sheet.png`: for each family a scout, what a wrong call shows, and what the right calls show.

Run it from anywhere: `python docs/contact_sheet.py`. All pictures are what a policy sees: 64 pixels a side, here enlarged.
"""

from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from medvistagym_core import Box, Image, ToolCall
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, viewer
from medvistagym_scoutvqa.demonstration import box_call, right_call, window_call
from medvistagym_scoutvqa.scene import BASES

SIDE, GAP, LINE = 192, 8, 13
INDICES = {"window": 16, "zoom": 25, "measure": 2, "direct": 11, "chain": 5}


def panel(sheet: PIL.Image.Image, image: Image | None, place: tuple[int, int], *captions: str) -> None:
    """Draw a picture as a policy sees it, and up to two lines under it."""
    x, y = (GAP + k * step for k, step in zip(place, (SIDE + GAP, SIDE + 2 * LINE + 2 * GAP), strict=True))
    if image is not None:
        sheet.paste(image.to_pil(64).resize((SIDE, SIDE), PIL.Image.Resampling.NEAREST), (x, y))
    drawing = PIL.ImageDraw.Draw(sheet)
    for k, caption in enumerate(captions):
        drawing.text((x, y + (SIDE if image is not None else SIDE // 3) + 2 + k * LINE), caption, fill=0)


def worded(call: ToolCall) -> str:
    """A call as a caption."""
    given = ", ".join(str(v) if isinstance(v, list) else f"{k} {v}" for k, v in call.arguments.items() if k != "image")
    return f"{call.name} {given}"


def main() -> None:
    """Draw the sheet beside this file."""
    height = len(INDICES) * (SIDE + 2 * LINE + 2 * GAP) + GAP
    sheet = PIL.Image.new("L", (4 * (SIDE + GAP) + GAP, height), 255)
    for row, (family, index) in enumerate(INDICES.items()):
        case = (CHAIN if family == "chain" else SCOUTVQA).case("test", index)
        scout, truth = case.images[0], case.truth
        panel(sheet, scout, (0, row), case.question, f"(the scout; answer: {case.answer.value})")
        if family == "direct":
            panel(sheet, None, (1, row), "nothing to call")
            continue
        if family == "measure":
            right = right_call(truth)
            panel(sheet, None, (1, row), worded(right), viewer.reading(right, scout))
            continue
        wrong = window_call(300, 400) if family == "window" else box_call("zoom", opposite(truth.quadrant))
        steps = [right_call(truth)]
        if family == "chain":
            wrong = window_call(BASES[truth.tissue], 40)
            steps.append(wrong)
        panel(sheet, viewer.picture(wrong, scout), (1, row), worded(wrong), "shows nothing")
        shown = scout
        for column, step in enumerate(steps, 2):
            shown = viewer.picture(step, shown)
            last = column == len(steps) + 1
            panel(sheet, shown, (column, row), worded(step), "shows it" if last else "shows nothing yet")
    sheet.save(Path(__file__).with_name("contact_sheet.png"), optimize=True)


def opposite(quadrant: str) -> Box:
    """A zoom box in the corner opposite to a quadrant."""
    x, y = 0 if "right" in quadrant else 750, 0 if "lower" in quadrant else 750
    return Box(x, y, x + 250, y + 250)


if __name__ == "__main__":
    main()
