"""Real scans with masks drawn by others, fetched by pinned package into a cache; skipped where they cannot be had.

Lung CT with tumour masks: pyradiomics 3.0.1 (sdist). MNI152 head T1 with tissue maps: nilearn 0.14.1.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.image import Image
from medvistagym_segment import Segment, SegmentCrop

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NONE: dict[str, Any] = {"point": None, "box": None, "tolerance": None}


@pytest.fixture(scope="session")
def fetched() -> Callable[[str, list[str]], dict[str, np.ndarray]]:
    """A function that gives members of a package as arrays `(slice, row, column)`, and their spacing by name."""
    import SimpleITK

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "medvistagym-tests"

    def fetch(requirement: str, members: list[str], *options: str) -> dict[str, Any]:
        folder = cache / requirement
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob(f"{requirement.split('==')[0]}*.*")):
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                *options,
                requirement,
                "-d",
                folder,
            ]
            if subprocess.run(command, capture_output=True, timeout=300).returncode:
                pytest.skip(f"{requirement} cannot be fetched")
        (archive,) = folder.glob(f"{requirement.split('==')[0]}*.*")
        found: dict[str, Any] = {}
        for member in members:
            file = folder / Path(member).name
            if not file.exists():
                file.with_suffix(".part").write_bytes(_read(archive, member))
                file.with_suffix(".part").replace(file)
            image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(file)), "LPS")
            found[Path(member).name] = SimpleITK.GetArrayFromImage(image)
            found["spacing"] = tuple(image.GetSpacing()[::-1])
        return found

    return fetch


def _read(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).read(member)
    with tarfile.open(archive) as tar:
        opened = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
        assert opened is not None
        return opened.read()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def box_iou(a: list[int], b: list[int]) -> float:
    inner = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inner / (sum(areas) - inner)


@pytest.mark.parametrize(
    ("name", "tolerance", "volume", "least"),
    [("lung1", 300.0, 0.9, 0.9), ("lung1", None, 0.7, 0.75), ("lung2", None, 0, 0.85)],
)
def test_a_tumour_grows_from_a_point(
    fetched: Callable[..., dict[str, Any]], name: str, tolerance: float | None, volume: float, least: float
) -> None:
    files = [f"data/{name}_image.nrrd", f"data/{name}_label.nrrd"]
    data = fetched("pyradiomics==3.0.1", files, "--no-binary", ":all:", "--no-build-isolation")
    truth = data[f"{name}_label.nrrd"] > 0
    z = int(truth.sum((1, 2)).argmax())
    rows, columns = np.nonzero(truth[z])
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    y, x = int(rows[nearest]), int(columns[nearest])
    h, w = truth.shape[1:]
    asked = {
        **NONE,
        "method": "region",
        "point": [(2 * x + 1) * 500 // w, (2 * y + 1) * 500 // h],
        "tolerance": tolerance,
    }
    scan = Image(pixels=data[f"{name}_image.nrrd"], unit="HU", modality="CT", spacing=data["spacing"], frame=z)
    single = scan.replace(pixels=scan.pixels[z], spacing=scan.spacing[1:], frame=None)  # type: ignore[index]
    mask, _, facts = Segment(single, **asked)
    assert dice(mask.pixels, truth[z]) > least
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    drawn = [left * 1000 // w, top * 1000 // h, -(-right * 1000 // w), -(-bottom * 1000 // h)]
    assert box_iou(facts["box"], [int(n) for n in drawn]) > 0.7
    if volume:
        part, _, _ = SegmentCrop(scan, **asked, margin_mm=5.0)
        assert part.frames < 10
        assert dice(Segment(scan, **asked)[0].pixels, truth) > volume


def test_the_lungs_hold_the_tumour_within_them(fetched: Callable[..., dict[str, Any]]) -> None:
    files = ["data/lung1_image.nrrd", "data/lung1_label.nrrd"]
    data = fetched("pyradiomics==3.0.1", files, "--no-binary", ":all:", "--no-build-isolation")
    scan = Image(pixels=data["lung1_image.nrrd"], unit="HU", modality="CT", spacing=data["spacing"])
    mask, _, facts = Segment(scan, method="lung", **NONE)
    assert mask.pixels[data["lung1_label.nrrd"] > 0].mean() > 0.99
    assert 1500 < facts["volume_ml"] < 7000


@pytest.mark.skipif(importlib.util.find_spec("deepbet") is None, reason="deepbet is not installed")
def test_the_pretrained_network_finds_the_brain(fetched: Callable[..., dict[str, Any]]) -> None:
    names = [f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("t1", "gm", "wm")]
    data = fetched("nilearn==0.14.1", [f"nilearn/datasets/data/{name}" for name in names])
    t1, grey, white = (data[name] for name in names)
    head = Image(pixels=t1, unit="raw", modality="MR", spacing=data["spacing"])
    mask, text, _ = Segment(head, method="brain", **NONE)
    assert text.startswith("brain: ")
    tissue = grey.astype(int) + white > 127
    assert dice(mask.pixels, tissue) > 0.93
    assert mask.pixels[tissue].mean() > 0.999
    assert dice(mask.pixels, t1 > 0) > 0.97  # the template is without its skull
