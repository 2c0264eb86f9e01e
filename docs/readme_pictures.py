"""Makes the pictures of the README: an episode as it was played, and its example of a tool on three kinds of image.

    python docs/readme_pictures.py              write them to docs/
    python docs/readme_pictures.py --out DIR    write them into another folder

The episode is played by the scripted expert of ScoutVQA, which sees what a policy sees; the tool is read from the README
itself. The images come with the packages `pydicom` and `pydicom-data`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from pydicom.data import get_testdata_file

import medvistagym_core as mv
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import ExpertPolicy, rollout
from medvistagym_core.trajectories import Trajectory, TrajectoryWriter

ROOT: Final = Path(__file__).resolve().parents[1]
CASE: Final = 17  # of the test split
SCOUT: Final = 64  # longer side of what a policy sees, as in the recipe of `train`
MARGIN: Final = 16
WIDTH: Final = 960  # of every picture, in pixels
GAP: Final = 20
INK: Final = (24, 28, 36)
QUIET: Final = (92, 100, 114)
GROUND: Final = (255, 255, 255)
BOX: Final = (0, 158, 115)
# File, what its column is called, and the window that is chosen before the tool is called.
SCANS: Final = (
    ("693_UNCR.dcm", "CT, brain window", "brain"),
    ("RG1_UNCR.dcm", "chest film", None),
    ("MR2_UNCR.dcm", "MR", None),
)


def episode_picture() -> PIL.Image.Image:
    """The scout with the box of the call, the sub-image that the call made, and what was asked, called and answered."""
    registry = Registry.discover()
    task, toolbox = registry.task("scoutvqa"), registry.toolbox("window,zoom,measure")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trajectories.jsonl")
        with TrajectoryWriter(file, toolbox) as writer:
            settings = mv.EpisodeConfig(view_side=SCOUT)
            list(rollout(ExpertPolicy(task), task, toolbox, "test", [CASE], settings, writer=writer))
        (episode,) = mv.TrajectoryReader(file)
        scout, part = (
            PIL.Image.open(Path(folder, "images", f"{one.picture}.png")).convert("RGB") for one in episode.images
        )
        return _draw_episode(episode, scout, part)


def _draw_episode(episode: Trajectory, scout: PIL.Image.Image, part: PIL.Image.Image) -> PIL.Image.Image:
    side = (WIDTH - GAP - 2 * MARGIN) // 2
    call = episode.turns[0].calls[0]
    arguments: Any = call.arguments
    ground = PIL.Image.new("RGB", (WIDTH, side + 206), GROUND)
    large = scout.resize((side, side), PIL.Image.Resampling.NEAREST)
    draw = PIL.ImageDraw.Draw(large)
    draw.rectangle([n * side / 1000 for n in arguments["box"]], outline=BOX, width=5)
    ground.paste(large, (MARGIN, 40))
    ground.paste(part.resize((side, side), PIL.Image.Resampling.NEAREST), (MARGIN + side + GAP, 40))
    draw = PIL.ImageDraw.Draw(ground)
    height, width = episode.images[0].shape
    size = f"{scout.width} x {scout.height} of {width} x {height} pixels"
    _write(draw, MARGIN, 4, f"scout: {size}", QUIET, 24)
    _write(draw, MARGIN + side + GAP, 4, "what the call gave back", QUIET, 24)
    named = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
    for row, (who, said, ink) in enumerate(
        (
            ("asked", f"{episode.question} ({', '.join(episode.options)})", INK),
            ("called", f"{call.name}({named})", BOX),
            ("answer", f"{episode.outcome.answer} ({'right' if episode.outcome.correct else 'wrong'})", INK),
        )
    ):
        _write(draw, MARGIN, side + 58 + 46 * row, who, QUIET, 28)
        _write(draw, MARGIN + 112, side + 58 + 46 * row, said, ink, 28)
    return ground


def tool_picture(tool: mv.Tool) -> PIL.Image.Image:
    """Three kinds of image above, and what the tool makes of each below."""
    side = (WIDTH - 2 * GAP - 2 * MARGIN) // 3
    ground = PIL.Image.new("RGB", (WIDTH, 2 * side + GAP + 40), GROUND)
    draw = PIL.ImageDraw.Draw(ground)
    window = mv.tools("window")["window"]
    toolbox = mv.Toolbox({tool.spec.name: tool})
    with mv.LocalExecutor(toolbox) as executor:
        for column, (file, name, preset) in enumerate(SCANS):
            image = mv.open(str(get_testdata_file(file)))
            if preset is not None:
                image = window(image, preset=preset).image
            call = mv.ToolCall(name=tool.spec.name, arguments={"image": 0})
            [[result]] = executor.run([(mv.ImageStore([image]), [call])])
            left = MARGIN + column * (side + GAP)
            _write(draw, left, 4, name, QUIET, 26)
            for row, shown in enumerate((image, result.images[0])):
                ground.paste(_fit(shown.to_pil().convert("RGB"), side), (left, 40 + row * (side + GAP)))
    return ground


def readme_tool() -> mv.Tool:
    """The tool of the README's example, from the block of code as it is printed there."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "medvistagym_tools" in block]
    names: dict[str, Any] = {"__name__": "medvistagym_invert"}
    with tempfile.TemporaryDirectory() as folder:  # a tool's signature is read from a file
        file = Path(folder, "medvistagym_invert.py")
        file.write_text(code, "utf-8")
        exec(compile(code, str(file), "exec"), names)
        (tool,) = names["medvistagym_tools"]()
    found: mv.Tool = tool
    return found


def _fit(picture: PIL.Image.Image, side: int) -> PIL.Image.Image:
    scale = side / max(picture.size)
    size = tuple(max(1, round(n * scale)) for n in picture.size)
    ground = PIL.Image.new("RGB", (side, side), (128, 128, 128))
    small = picture.resize((size[0], size[1]), PIL.Image.Resampling.BOX if scale < 1 else PIL.Image.Resampling.BICUBIC)
    ground.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return ground


def _write(draw: PIL.ImageDraw.ImageDraw, x: float, y: float, text: str, ink: tuple[int, int, int], size: int) -> None:
    draw.text((x, y), text, fill=ink, font=PIL.ImageFont.load_default(size))


PICTURES: Final[Mapping[str, Callable[[], PIL.Image.Image]]] = {
    "episode.png": episode_picture,
    "own-tool.png": lambda: tool_picture(readme_tool()),
}


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=ROOT / "docs")
    out: Path = parser.parse_args().out
    for name, make in PICTURES.items():
        part = out / f".{name}.part"
        make().quantize(64, dither=PIL.Image.Dither.NONE).save(part, "PNG", optimize=True)
        part.replace(out / name)


if __name__ == "__main__":
    main()
