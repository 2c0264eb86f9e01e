"""The pixel work of the tools beside that of other packages, on one core.

`python benchmarks/tools.py` installs the peers in build/tools, runs every contestant there in turn, round after round, and
writes medians and the median of the paired ratios into benchmarks/results.json. Times are processor time. Everything runs on
one thread: OMP_NUM_THREADS=1, OMP_WAIT_POLICY=passive, torch.set_num_threads(1), cv2.setNumThreads(1).

- `window`: int16 512 x 512 to uint8 with the window 40/400, values from -1024 to 3071 at random: `render` into an array that
  is used again, MONAI's ScaleIntensityRange, pydicom's apply_windowing and torch written plainly, each on the whole batch and
  slice by slice (which is faster: their intermediate arrays then stay in the cache), and a loop in C that the compiler turns
  into vector instructions. "batch of 1" is ours, one slice at a time. ms a slice. `window, head CT`: the same on a real slice,
  where pydicom is faster, because its branches are foreseen.
- `zoom to 224`: parts of int16 slices enlarged to float32: the kernel of `zoom`, kornia's crop_and_resize on the whole batch
  and slice by slice, MONAI's SpatialCrop and Resize, and a loop over cv2.resize. ms a slice.
- `zoom`: the tool itself, which enlarges to the side of the scan (512). ms a call.
- `clahe`: the tool `enhance_contrast` on uint8 512 x 512, a loop over OpenCV, kornia on the whole batch and slice by slice,
  scikit-image. ms a slice.
- `mask to box`: 512 x 512 masks: `bounding_boxes`, MONAI's generate_spatial_bounding_box, the algorithm of torchvision's
  masks_to_boxes (written down here: torchvision itself is not installed), and C. ms a mask.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shutil
import subprocess
import tempfile
import time
import tomllib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from rows import RESULTS, ROOT, Contestant, compare, environment, merge

Bench = Callable[[int, int], list[dict[str, Any]]]  # of the largest batch and the number of rounds

SIDE = 512
CENTER, WIDTH = 40.0, 400.0
PEERS = (
    "torch==2.13.0", "numpy", "kornia", "monai", "pydicom", "pydicom-data", "scikit-image", "opencv-python-headless",
    "simpleitk",
)  # fmt: skip
GAZE = (
    "aiohttp<4",
    "beartype<1",
    "defusedxml<1",
    "httpx<1",
    "loguru<1",
    "minijinja<3",
    "openai>=2.40,<3",
    "tenacity<10",
)
SOURCES = (
    "src",
    "native/medvistagym-native/src",
    *(f"plugins/medvistagym-{name}/src" for name in ("dicom", "kornia", "segment")),
)

PASSES = """
#include <stdint.h>
#include <stddef.h>
#include <string.h>
void window(const int16_t *restrict x, uint8_t *restrict y, size_t n, float a, float b) {
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * a + b;
        v = v < 0 ? 0 : v;
        v = v > 255 ? 255 : v;
        y[i] = (uint8_t)(int)(v + 0.5f);
    }
}
void boxes(const uint8_t *m, int64_t *out, size_t count, size_t h, size_t w) {
    for (size_t k = 0; k < count; k++, m += h * w) {
        uint8_t column[8192] = {0};
        int64_t top = -1, bottom = -1, left = -1, right = -1;
        for (size_t y = 0; y < h; y++) {
            uint8_t any = 0;
            for (size_t x = 0; x < w; x++) { column[x] |= m[y * w + x]; any |= m[y * w + x]; }
            if (any) { if (top < 0) top = y; bottom = y; }
        }
        for (size_t x = 0; x < w; x++) if (column[x]) { if (left < 0) left = x; right = x; }
        int64_t box[4] = {left, top, right + 1, bottom + 1};
        memcpy(out + 4 * k, box, sizeof box);
    }
}
"""


def compiled() -> Any:
    """The passes in C, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("no C compiler (cc, gcc, clang): the rows of C are left out")
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "passes.c"), Path(folder, "passes.so")
        source.write_text(PASSES, "utf-8")
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, "-o", str(library), str(source)], check=True)
        passes = ctypes.CDLL(str(library))
    pointer, size, real = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float
    passes.window.argtypes = [pointer, pointer, size, real, real]
    passes.boxes.argtypes = [pointer, pointer, size, size, size]
    return passes


def each(count: int, work: Callable[[], object]) -> Contestant:
    """Processor time of a piece of work in ms, of `count` that are done at once."""

    def run() -> float:
        began = time.process_time()
        work()
        return 1000 * (time.process_time() - began) / count

    return run


def rate(count: int, prepare: Callable[[], Callable[[], object]]) -> Contestant:
    """Pieces of work a second of processor time; what prepares the work is not counted."""

    def run() -> float:
        work = prepare()
        gc.collect()
        began = time.process_time()
        work()
        return count / (time.process_time() - began)

    return run


def scans(count: int) -> Any:
    """`count` different head CTs, int16 in HU: one real slice, moved and with noise of its own."""
    import numpy as np
    from pydicom.data import get_testdata_file

    from medvistagym_dicom import read_one

    slice_ = read_one(get_testdata_file("693_UNCR.dcm")).pixels
    rng = np.random.default_rng(0)
    moved = [np.roll(slice_, rng.integers(-20, 21, 2).tolist(), (0, 1)) for _ in range(count)]
    return np.stack([one + rng.integers(-3, 4, one.shape, dtype=np.int16) for one in moved]).astype(np.int16)


def window_rows(bench: str, pixels: Any, batches: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    import numpy as np
    import torch
    from monai.transforms import ScaleIntensityRange
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_windowing

    from medvistagym_core.imaging import Image, Window, render_batch

    passes = compiled()
    low = CENTER - 0.5 - (WIDTH - 1) / 2
    header = Dataset()
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = CENTER, WIDTH, "LINEAR"
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 16, 1
    scale = ScaleIntensityRange(low, low + WIDTH - 1, 0, 255, clip=True, dtype=np.uint8)
    images = [Image(pixels=one, unit="HU", window=Window(CENTER, WIDTH)) for one in pixels]
    rows = []
    for batch in batches:
        values, tensor = pixels[:batch], torch.from_numpy(pixels[:batch])
        out, other = np.empty(values.shape, np.uint8), np.empty(values.shape, np.uint8)

        def ours(batch: int = batch, out: Any = out) -> None:
            render_batch(images[:batch], out=out)

        def alone(batch: int = batch, out: Any = out) -> None:
            for k in range(batch):
                render_batch(images[k : k + 1], out=out[k : k + 1])

        def plain(tensor: Any = tensor) -> Any:
            return ((tensor.float() - low) * (255 / (WIDTH - 1))).clamp(0, 255).to(torch.uint8)

        def standard(values: Any = values) -> Any:
            lowest, span = -(2**15), 2**16 - 1  # its range of output for 16 bits
            return ((apply_windowing(values, header) - lowest) * (255 / span)).astype(np.uint8)

        def in_c(values: Any = values, other: Any = other) -> None:
            factor = 255 / (WIDTH - 1)
            passes.window(values.ctypes.data, other.ctypes.data, values.size, factor, -low * factor)

        peers: dict[str, Contestant] = {
            "MONAI ScaleIntensityRange": each(batch, lambda tensor=tensor: scale(tensor)),  # type: ignore[misc]
            "pydicom apply_windowing": each(batch, standard),
            "torch, plain": each(batch, plain),
        }
        if batch > 1:
            peers["batch of 1"] = each(batch, alone)
            singly = [tensor[k : k + 1] for k in range(batch)]
            peers |= {
                "MONAI, slice by slice": each(batch, lambda s=singly: [scale(one) for one in s]),  # type: ignore[misc]
                "pydicom, slice by slice": each(batch, lambda v=values: [standard(one) for one in v]),  # type: ignore[misc]
                "torch, slice by slice": each(batch, lambda s=singly: [plain(one) for one in s]),  # type: ignore[misc]
            }
        if passes is not None:
            peers["C"] = each(batch, in_c)
        rows += compare(bench, batch, "ms", each(batch, ours), peers, rounds)
        if passes is not None:
            assert np.abs(out.astype(int) - other).max() <= 1
        assert np.abs(out.astype(int) - np.asarray(scale(tensor))).max() <= 1
        assert np.abs(out.astype(int) - standard()).max() <= 1
    return rows


def zoom_rows(pixels: Any, batches: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    import cv2
    import kornia
    import numpy as np
    import torch
    from monai.transforms import Resize, SpatialCrop

    from medvistagym_core import Box
    from medvistagym_core.imaging import Image
    from medvistagym_dicom import zoom
    from medvistagym_dicom.tools import upsample

    rng = np.random.default_rng(1)
    sizes = rng.integers(80, 221, (len(pixels), 2))
    places = [(x, y, x + w, y + h) for (w, h) in sizes.tolist() for x, y in [rng.integers(0, SIDE - 220, 2).tolist()]]
    corners = torch.tensor(
        [[[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]] for x0, y0, x1, y1 in places], dtype=torch.float32
    )
    images = [Image(pixels=one, unit="HU") for one in pixels]
    rows = []

    def kornias(batch: int, side: int, step: int) -> Any:
        values = torch.from_numpy(pixels[:batch])[:, None]
        resize = kornia.geometry.transform.crop_and_resize
        parts = [slice(k, min(k + step, batch)) for k in range(0, batch, step)]
        return [resize(values[part].float(), corners[part], (side, side)) for part in parts]

    def monais(batch: int, side: int) -> Any:
        resize = Resize((side, side), mode="bilinear")
        cut = [SpatialCrop(roi_start=(y0, x0), roi_end=(y1, x1)) for x0, y0, x1, y1 in places[:batch]]
        return [resize(crop(torch.from_numpy(one)[None].float())) for one, crop in zip(pixels, cut, strict=False)]

    def opencvs(batch: int, side: int) -> Any:
        parts = [one[y0:y1, x0:x1] for one, (x0, y0, x1, y1) in zip(pixels[:batch], places, strict=False)]
        return [cv2.resize(part.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR) for part in parts]

    def peers(batch: int, side: int) -> dict[str, Contestant]:
        return {
            "kornia crop_and_resize": each(batch, lambda: kornias(batch, side, batch)),
            "kornia, slice by slice": each(batch, lambda: kornias(batch, side, 1)),
            "MONAI SpatialCrop, Resize": each(batch, lambda: monais(batch, side)),
            "OpenCV loop": each(batch, lambda: opencvs(batch, side)),
        }

    for batch in batches:

        def ours(batch: int = batch) -> Any:
            pairs = zip(images[:batch], places, strict=False)
            return [upsample(image.crop(*place), 224, 224, image) for image, place in pairs]

        np.testing.assert_allclose(ours()[3].pixels, opencvs(batch, 224)[3], atol=0.01)
        np.testing.assert_allclose(ours()[3].pixels, np.asarray(monais(batch, 224)[3])[0], atol=0.05)
        rows += compare("zoom to 224", batch, "ms", each(batch, ours), peers(batch, 224), rounds)

    batch = batches[0]
    boxes = [
        Box(*(round(edge * 1000 / SIDE) for edge in (x0, y0, x0 + w, y0 + w)))
        for (x0, y0, *_), (w, _) in zip(places, sizes.tolist(), strict=True)
    ]
    calls = [{"image": image, "box": box} for image, box in zip(images[:batch], boxes, strict=False)]
    rows += compare("zoom", batch, "ms", each(batch, lambda: zoom.run_batch(calls)), peers(batch, SIDE), rounds)
    return rows


def clahe_rows(pixels: Any, batch: int, rounds: int) -> list[dict[str, Any]]:
    import cv2
    import kornia
    import numpy as np
    import torch
    from skimage.exposure import equalize_adapthist

    from medvistagym_core.imaging import Image, Window, render_batch
    from medvistagym_kornia import EnhanceContrast

    pictures = render_batch([Image(pixels=one, window=Window(40, 100)) for one in pixels[:batch]])
    calls = [{"image": Image(pixels=one), "method": "clahe", "gamma": None} for one in pictures]
    tool: Any = EnhanceContrast

    def opencvs() -> Any:
        clahe = cv2.createCLAHE(2.0, (8, 8))
        return [clahe.apply(one) for one in pictures]

    def kornias(step: int) -> Any:
        parts = [torch.from_numpy(pictures[k : k + step])[:, None] for k in range(0, batch, step)]
        even = [kornia.enhance.equalize_clahe(part.float() / 255, 2.0, (8, 8)) for part in parts]
        return [(part * 255).to(torch.uint8) for part in even]

    def scikits() -> Any:
        even = [equalize_adapthist(one, kernel_size=SIDE // 8) for one in pictures]
        return [(one * 255).astype(np.uint8) for one in even]

    assert all(np.array_equal(a.images[0].pixels, b) for a, b in zip(tool.run_batch(calls), opencvs(), strict=True))
    peers = {
        "OpenCV loop": each(batch, opencvs),
        "kornia equalize_clahe": each(batch, lambda: kornias(batch)),
        "kornia, slice by slice": each(batch, lambda: kornias(1)),
        "scikit-image": each(batch, scikits),
    }
    return compare("clahe", batch, "ms", each(batch, lambda: tool.run_batch(calls)), peers, rounds)


def box_rows(batch: int, rounds: int) -> list[dict[str, Any]]:
    import cv2
    import numpy as np
    import torch
    from monai.transforms.utils import generate_spatial_bounding_box

    from medvistagym_core.imaging import bounding_boxes

    rng = np.random.default_rng(2)
    masks = np.zeros((batch, SIDE, SIDE), np.uint8)
    for mask in masks:
        centre, axes = rng.integers(130, 380, 2).tolist(), rng.integers(20, 120, 2).tolist()
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    inside, tensor = masks.astype(bool), torch.from_numpy(masks)
    out = np.empty((batch, 4), np.int64)

    def torchvisions() -> Any:
        boxes = torch.zeros((batch, 4))
        for k, mask in enumerate(tensor):
            y, x = torch.where(mask != 0)
            boxes[k] = torch.stack([x.min(), y.min(), x.max(), y.max()])
        return boxes

    peers = {
        "MONAI": each(batch, lambda: [generate_spatial_bounding_box(mask[None]) for mask in tensor]),
        "torchvision's algorithm": each(batch, torchvisions),
    }
    passes = compiled()
    if passes is not None:
        peers["C"] = each(batch, lambda: passes.boxes(masks.ctypes.data, out.ctypes.data, batch, SIDE, SIDE))
    rows = compare("mask to box", batch, "ms", each(batch, lambda: bounding_boxes(inside)), peers, rounds)
    assert np.array_equal(bounding_boxes(inside)[:, :2], torchvisions().numpy()[:, :2])
    return rows


def in_peers_environment(script: str, benches: dict[str, Bench], about: str) -> None:
    """Run the benches of a script in the environment of the peers, each in a process of its own, and keep their rows.

    What a process has allocated and freed before changes how fast a peer's large arrays are to be had, so nothing comes before.
    """
    parser = argparse.ArgumentParser(description=about.split("\n", 1)[0])
    parser.add_argument("--batch", type=int, default=256, help="largest batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=list(benches), default=list(benches))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--contest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest is not None:
        import cv2
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        warnings.filterwarnings("ignore")  # those of the peers
        rows = benches[options.only[0]](options.batch, options.rounds)
        options.contest.write_text(json.dumps(rows), "utf-8")
        return
    folder = ROOT / "build" / "tools"
    core = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    environment(folder, [*core, *PEERS, *GAZE])
    python = environment(folder, ["--no-deps", "gaze-vlm==0.1.1"])
    paths = os.pathsep.join(str(ROOT / source) for source in SOURCES)
    sizes = ["--batch", str(options.batch), "--rounds", str(options.rounds)]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.json"
        for name in options.only:
            command = [str(python), script, *sizes, "--only", name, "--contest", str(file)]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})
            merge(json.loads(file.read_text("utf-8")), options.out)


def noise(count: int) -> Any:
    """`count` slices of values from -1024 to 3071 at random."""
    import numpy as np

    return np.random.default_rng(0).integers(-1024, 3072, (count, SIDE, SIDE), dtype=np.int16)


def batches(most: int) -> list[int]:
    return [batch for batch in (32, 256) if batch <= most] or [most]


BENCHES: dict[str, Bench] = {
    "window": lambda most, rounds: window_rows("window", noise(most), [1, *batches(most)], rounds),
    "head": lambda most, rounds: window_rows("window, head CT", scans(min(32, most)), [min(32, most)], rounds),
    "zoom": lambda most, rounds: zoom_rows(scans(most), batches(most), rounds),
    "clahe": lambda most, rounds: clahe_rows(scans(min(32, most)), min(32, most), rounds),
    "mask": lambda most, rounds: box_rows(min(32, most), rounds),
}


if __name__ == "__main__":
    in_peers_environment(__file__, BENCHES, __doc__ or "")
