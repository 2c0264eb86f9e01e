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
from typing import Any, cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_segment import Segment, SegmentCrop, crop_to_mask

pytestmark = pytest.mark.slow

Fetch = Callable[..., dict[str, Any]]
segment, segment_crop = cast(Tool, Segment), cast(Tool, SegmentCrop)


@pytest.fixture(scope="session")
def fetch() -> Fetch:
    """A function that gives members of a package as arrays `(slice, row, column)`, and their spacing by name."""
    import SimpleITK

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "medvistagym-tests"

    def call(requirement: str, members: list[str], *options: str) -> dict[str, Any]:
        folder = cache / requirement
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob(f"{requirement.split('==')[0]}*.*")):
            command = [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, requirement, "-d", folder,
            ]  # fmt: skip
            if subprocess.run(command, capture_output=True, timeout=300).returncode:
                pytest.skip(f"{requirement} cannot be fetched")
        (archive,) = folder.glob(f"{requirement.split('==')[0]}*.*")
        arrays: dict[str, Any] = {}
        for member in members:
            file = folder / Path(member).name
            if not file.exists():
                file.with_suffix(".part").write_bytes(_read(archive, member))
                file.with_suffix(".part").replace(file)
            image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(file)), "LPS")
            arrays[Path(member).name] = SimpleITK.GetArrayFromImage(image)
            arrays["spacing"] = tuple(image.GetSpacing()[::-1])
        return arrays

    return call


def _read(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).read(member)
    with tarfile.open(archive) as tar:
        member_file = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
        assert member_file is not None
        return member_file.read()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of the boxes, upright in two or three dimensions, that hold two masks."""
    inner, sizes = 1, [1, 1]
    for first, last in zip(_ends(a), _ends(b), strict=True):
        inner *= max(0, min(first[1], last[1]) - max(first[0], last[0]))
        sizes = [sizes[0] * (first[1] - first[0]), sizes[1] * (last[1] - last[0])]
    return inner / (sum(sizes) - inner)


def _ends(mask: np.ndarray) -> list[tuple[int, int]]:
    return [(int(places.min()), int(places.max()) + 1) for places in np.nonzero(mask)]


@pytest.mark.parametrize(
    ("name", "tolerance", "plane", "volume"),
    [
        ("lung1", 300.0, (0.94, 0.87), (0.93, 0.68)),
        ("lung1", None, (0.79, 0.71), (0.74, 0.67)),
        ("lung2", None, (0.88, 0.77), None),
    ],
)
def test_a_tumour_grows_from_a_point(
    fetch: Fetch,
    name: str,
    tolerance: float | None,
    plane: tuple[float, float],
    volume: tuple[float, float] | None,
) -> None:
    files = [f"data/{name}_image.nrrd", f"data/{name}_label.nrrd"]
    data = fetch("pyradiomics==3.0.1", files, "--no-binary", ":all:", "--no-build-isolation")
    truth = data[f"{name}_label.nrrd"] > 0
    z = int(truth.sum((1, 2)).argmax())
    rows, columns = np.nonzero(truth[z])
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    y, x = int(rows[nearest]), int(columns[nearest])
    h, w = truth.shape[1:]
    arguments = {
        "method": "region",
        "point": [(2 * x + 1) * 500 // w, (2 * y + 1) * 500 // h],
        "tolerance": tolerance,
    }
    scan = Image(pixels=data[f"{name}_image.nrrd"], unit="HU", modality="CT", spacing=data["spacing"], frame=z)
    single = scan.replace(pixels=scan.pixels[z], spacing=scan.spacing[1:], frame=None)  # type: ignore[index]
    mask, _, measurements = segment(single, **arguments)
    assert dice(mask.pixels, truth[z]) > plane[0]
    assert box_iou(mask.pixels, truth[z]) > plane[1]
    (top, bottom), (left, right) = _ends(mask.pixels)
    assert measurements["box"] == [left * 1000 // w, top * 1000 // h, -(-right * 1000 // w), -(-bottom * 1000 // h)]
    if volume is not None:
        part, _, _ = segment_crop(scan, **arguments, margin_mm=5.0)
        assert part.frames < 10
        volume_mask = segment(scan, **arguments)[0].pixels
        assert dice(volume_mask, truth) > volume[0]
        assert box_iou(volume_mask, truth) > volume[1]


def test_the_lungs_hold_the_tumour_within_them(fetch: Fetch) -> None:
    files = ["data/lung1_image.nrrd", "data/lung1_label.nrrd"]
    data = fetch("pyradiomics==3.0.1", files, "--no-binary", ":all:", "--no-build-isolation")
    scan = Image(pixels=data["lung1_image.nrrd"], unit="HU", modality="CT", spacing=data["spacing"])
    mask, _, measurements = segment(scan, method="lung")
    assert mask.pixels[data["lung1_label.nrrd"] > 0].mean() > 0.99
    assert 1500 < measurements["volume_ml"] < 7000


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")  # deepbet holds TorchScript
@pytest.mark.skipif(importlib.util.find_spec("deepbet") is None, reason="deepbet is not installed")
def test_the_pretrained_network_finds_the_brain(fetch: Fetch) -> None:
    names = [f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("t1", "gm", "wm")]
    data = fetch("nilearn==0.14.1", [f"nilearn/datasets/data/{name}" for name in names])
    t1, grey, white = (data[name] for name in names)
    head = Image(pixels=t1, unit="raw", modality="MR", spacing=data["spacing"])
    mask, text, _ = segment(head, method="brain")
    assert text.startswith("brain: ")
    tissue = grey.astype(int) + white > 127
    assert dice(mask.pixels, tissue) > 0.93
    assert mask.pixels[tissue].mean() > 0.999
    assert dice(mask.pixels, t1 > 0) > 0.97  # the template is without its skull
    assert box_iou(mask.pixels, t1 > 0) > 0.98


def test_cleaning_up_brings_a_mask_nearer_to_the_truth(fetch: Fetch) -> None:
    """Grey and white matter: specks dropped and ventricles filled give the brain."""
    monai = pytest.importorskip("medvistagym_monai", reason="components and fill_holes are tools of medvistagym-monai")
    names = [f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("t1", "gm", "wm")]
    data = fetch("nilearn==0.14.1", [f"nilearn/datasets/data/{name}" for name in names])
    t1, grey, white = (data[name] for name in names)
    brain, tissue = t1 > 0, grey.astype(int) + white > 127
    mask = Image(pixels=tissue, unit="mask", modality="MR", spacing=data["spacing"])
    kept, _, of_kept = monai.components(mask)
    filled, _, of_filled = monai.fill_holes(kept)
    assert of_kept["parts"] > 10
    assert of_filled["volume_ml"] > of_kept["volume_ml"] + 40
    assert dice(tissue, brain) < 0.957
    assert dice(filled.pixels, brain) > 0.969
    scan = Image(pixels=t1, unit="raw", modality="MR", spacing=data["spacing"])
    part, _ = crop_to_mask(scan, filled, margin_mm=0.0)
    assert part.pixels.shape == tuple(end - first for first, end in _ends(filled.pixels))
