"""Rollouts of image tools through the environment beside loops over other packages, on one core.

`python benchmarks/rollouts.py` uses the peers' environment of benchmarks/tools.py, runs the contestants there in turn, and
writes medians and the median of the paired ratios into benchmarks/results.json. Times are processor time, on one thread.

- `rollout`: window, crop to the structure found by Otsu's threshold, zoom and CLAHE of 64 head CTs, by the vector environment,
  and by a loop that parses each call and runs MONAI, scikit-image and kornia, as TRL's loop runs tools; both make the picture
  after each. "groups of 8": 8 scans, 8 episodes of each, as GRPO plays them; equal calls run once in the environment. Turns a
  second.
- `rollout, 8 bit`: the tools that GAZE has too (window, crop, statistics, zoom, CLAHE) on 8-bit pictures, by the vector
  environment, and by GAZE's registry. GAZE asks for an older Pillow than the one here. Tool calls a second.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rows import compare
from tools import SIDE, Bench, in_peers_environment, rate, scans


class Scans:
    """What is to be seen? Each case has an image of its own."""

    name = "scans"
    description = "Look at scans."
    families = ("look",)
    splits = ("train",)
    tools = ()
    abstention = None

    def __init__(self, pixels: Any, distinct: int, **image: Any) -> None:
        self._pixels, self._distinct, self._image, self._next = pixels, distinct, image, 0

    def case(self, split: str, index: int, seed: int = 0) -> Any:
        from medvistagym_core import Answer, Case
        from medvistagym_core.imaging import Image

        which = self._next % self._distinct
        self._next += 1
        image = Image(pixels=self._pixels[which], **self._image)
        return Case(
            id=f"train-{which}", task=self.name, split=split, index=which, family="look", question="What is seen?",
            images=(image,), answer=Answer("a head"),
        )  # fmt: skip

    def vocabulary(self) -> tuple[str, ...]:
        return ()


def turn(name: str, **arguments: Any) -> str:
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<think>{'I look at it again. ' * 5}</think><tool_call>{call}</tool_call>"


def playing(
    pixels: Any, episodes: int, distinct: int, turns: Sequence[str], tools: Sequence[Any], **image: Any
) -> Callable[[], None]:
    """A scripted policy in the vector environment, from reset to the answer, nothing being known from a run before."""
    from medvistagym_core import Toolbox
    from medvistagym_core.environment import EpisodeConfig, Limits, MedVistaVectorEnv

    settings = EpisodeConfig(limits=Limits(max_turns=8, max_calls=8))
    env = MedVistaVectorEnv(
        Scans(pixels, distinct, **image), Toolbox({tool.name: tool for tool in tools}), episodes, settings
    )

    def play() -> None:
        env.reset(seed=0)
        for said in turns:
            env.step([said] * episodes)
            errors = {episode.last_error for episode in env.episodes}
            if errors != {None}:
                raise RuntimeError(f"{said}: {errors}")
        env.close()

    return play


def monai_and_kornia(pixels: Any, episodes: int, turns: Sequence[str]) -> Callable[[int], None]:
    """The calls of all turns but the last, done with MONAI and kornia, one episode after the other."""
    import kornia
    import numpy as np
    import PIL.Image
    import torch
    from monai.transforms import (
        FillHoles,
        GaussianSmooth,
        KeepLargestConnectedComponent,
        ScaleIntensityRange,
        SpatialCrop,
    )
    from monai.transforms.utils import generate_spatial_bounding_box
    from skimage.filters import threshold_otsu

    smooth, largest, fill = GaussianSmooth(1.0), KeepLargestConnectedComponent(), FillHoles()

    def shown(values: Any, scale: Any) -> Any:
        return PIL.Image.fromarray(np.asarray(scale(values)).reshape(values.shape[-2:])).convert("RGB")

    def loop(distinct: int) -> None:
        for k in range(episodes):
            values = torch.from_numpy(pixels[k % distinct])[None].float()
            scale = ScaleIntensityRange(-1024, 3071, 0, 255, clip=True, dtype=np.uint8)
            shown(values, scale)
            for said in turns[:-1]:
                call = json.loads(said[said.index("<tool_call>") + 11 : said.index("</tool_call>")])
                if call["name"] == "window":
                    scale = ScaleIntensityRange(0, 80, 0, 255, clip=True, dtype=np.uint8)
                elif call["name"] == "segment_crop":
                    soft = smooth(values.clamp(min=-1024))
                    mask = fill(largest((soft > threshold_otsu(np.asarray(soft))).to(torch.uint8)))
                    start, end = generate_spatial_bounding_box(mask, margin=10)
                    values = SpatialCrop(roi_start=start, roi_end=end)(values).as_tensor()
                elif call["name"] == "zoom":
                    h, w = values.shape[-2:]
                    x0, y0, x1, y1 = (
                        edge * side / 1000 for edge, side in zip(call["arguments"]["box"], (w, h) * 2, strict=True)
                    )
                    box = torch.tensor([[[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]])
                    size = (round(SIDE * h / max(h, w)), round(SIDE * w / max(h, w)))
                    values = kornia.geometry.transform.crop_and_resize(values[None], box, size)[0]
                else:
                    grey = torch.as_tensor(np.asarray(scale(values))).float() / 255
                    rest = [-side % 8 for side in grey.shape[-2:]]
                    grey = torch.nn.functional.pad(grey[None], (0, rest[1], 0, rest[0]), mode="reflect")
                    values = kornia.enhance.equalize_clahe(grey, 2.0, (8, 8))[0] * 255
                    scale = ScaleIntensityRange(0, 255, 0, 255, clip=True, dtype=np.uint8)
                shown(values, scale)

    return loop


def rollout_rows(pixels: Any, episodes: int, rounds: int) -> list[dict[str, Any]]:
    from medvistagym_dicom import window, zoom
    from medvistagym_kornia import EnhanceContrast
    from medvistagym_segment import SegmentCrop

    answer = "<think>So it is.</think><answer>a head</answer>"
    turns = [
        turn("window", image=0, preset="brain"),
        turn("segment_crop", image=1, method="otsu"),
        turn("zoom", image=2, box=[250, 250, 750, 750]),
        turn("enhance_contrast", image=3),
        answer,
    ]
    loop = monai_and_kornia(pixels, episodes, turns)
    tools = (window, SegmentCrop, zoom, EnhanceContrast)
    rows = []
    for distinct, suffix in ((episodes, ""), (max(1, episodes // 8), ", groups of 8")):
        count = episodes * len(turns)

        def ours(distinct: int = distinct) -> Callable[[], None]:
            return playing(pixels, episodes, distinct, turns, tools, unit="HU", modality="CT", spacing=(0.5, 0.5))

        def theirs(distinct: int = distinct) -> Callable[[], None]:
            return lambda: loop(distinct)

        peers = {f"MONAI and kornia, a loop{suffix}": rate(count, theirs)}
        rows += compare("rollout", episodes, "1/s", rate(count, ours), peers, rounds)
    return rows


def gaze_rows(pixels: Any, episodes: int, rounds: int) -> list[dict[str, Any]]:
    import PIL.Image
    from gaze.tools.registry import ToolRegistry
    from gaze.tools.visual import create_visual_tools

    from medvistagym_core.imaging import Image, Window, render_batch
    from medvistagym_dicom import measure, window, zoom
    from medvistagym_kornia import EnhanceContrast

    pictures = render_batch([Image(pixels=one, window=Window(40, 400)) for one in pixels[:episodes]])
    turns = [
        turn("window", image=0, center=128, width=160),
        turn("zoom", image=1, box=[200, 200, 700, 700]),
        turn("measure", image=2, box=[250, 250, 750, 750]),
        turn("zoom", image=2, box=[250, 250, 750, 750]),
        turn("enhance_contrast", image=3),
        "<think>So it is.</think><answer>a head</answer>",
    ]
    theirs: list[tuple[str, dict[str, Any]]] = [
        ("window_level", {"center": 128, "width": 160}),
        ("crop", {"box": [0.2, 0.2, 0.7, 0.7]}),
        ("get_intensity_stats", {"box": [0.25, 0.25, 0.75, 0.75]}),
        ("zoom", {"factor": 2.0}),
        ("adaptive_equalize", {"clip_limit": 2.0, "tile_size": 8}),
    ]

    async def one_after_another() -> None:
        for picture in pictures:
            registry = ToolRegistry(tools=create_visual_tools())
            registry.get_image_manager().set_preloaded_image(PIL.Image.fromarray(picture), Path("picture.png"))
            for name, arguments in theirs:
                result = await registry.execute(name, **arguments)
                assert result.error is None
            await registry.aclose()

    def ours() -> Callable[[], None]:
        return playing(pictures, episodes, episodes, turns, (window, zoom, measure, EnhanceContrast))

    count = episodes * len(theirs)
    gaze = rate(count, lambda: lambda: asyncio.run(one_after_another()))
    return compare("rollout, 8 bit", episodes, "1/s", rate(count, ours), {"GAZE": gaze}, rounds)


BENCHES: dict[str, Bench] = {
    "rollout": lambda most, rounds: rollout_rows(scans(min(64, most)), min(64, most), min(3, rounds)),
    "gaze": lambda most, rounds: gaze_rows(scans(min(16, most)), min(16, most), min(3, rounds)),
}


if __name__ == "__main__":
    in_peers_environment(__file__, BENCHES, __doc__ or "")
