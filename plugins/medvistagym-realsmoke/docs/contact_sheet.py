"""Draw a picture of each kind of question: `python docs/contact_sheet.py`, beside the packages of `realsmoke_masks`."""

from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from medvistagym_realsmoke import REALSMOKE, REALSMOKE_MASKS

SIDE, PAD, ACROSS = 200, 44, 6


def main() -> None:
    """Write `contact_sheet.png` beside this file."""
    tasks = (REALSMOKE, REALSMOKE_MASKS)
    cases = [task.case("test", k) for task in tasks for k in range(len(task.families))]
    rows = -(-len(cases) // ACROSS)
    sheet = PIL.Image.new("RGB", (ACROSS * SIDE, rows * (SIDE + PAD)), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for k, case in enumerate(cases):
        x, y = k % ACROSS * SIDE, k // ACROSS * (SIDE + PAD)
        picture = case.images[0].to_pil(SIDE - 8).convert("RGB")
        sheet.paste(picture, (x + (SIDE - picture.width) // 2, y + PAD))
        unit = f" {case.answer.unit}" if case.answer.unit else ""
        draw.text((x + 6, y + 6), case.family, fill="black")
        draw.text((x + 6, y + 22), f"{case.answer.value}{unit}", fill="#0b6")
    sheet.quantize(64).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
