"""The two backends give the same, within what is stated here; and a batch gives what its calls give one by one."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_dicom import read_one
from medvistagym_kornia import Denoise, Edges, EnhanceContrast, Morphology, Sharpen, orient
from medvistagym_kornia.backends import FilterBackend, select_backend

pytest.importorskip("torch")
pytest.importorskip("kornia")

import torch

from medvistagym_kornia.backends._kornia import KorniaBackend

EXACT = 0.0
FLOAT = 1e-5  # of the range of values
BETWEEN = 1e-4  # of it, where places are float32 on the one side


@pytest.fixture(scope="module")
def head() -> Image:
    return read_one(get_testdata_file("693_UNCR.dcm"))


@pytest.fixture(scope="module")
def values(head: Image) -> np.ndarray:
    return np.stack([head.pixels, head.pixels[::-1]])[:, 100:380, 90:400].astype(np.float32)


@pytest.fixture(scope="module")
def greys(head: Image) -> np.ndarray:
    return np.stack([head.view(), head.view()[::-1]])[:, 100:380, 100:388]


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU)])
def kornia_backend(request: pytest.FixtureRequest) -> FilterBackend:
    return KorniaBackend(request.param)


def furthest(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    return float(np.abs(a.astype(np.float64) - b).max())


@pytest.mark.parametrize(
    ("name", "arguments", "tolerance"),
    [
        ("gaussian", (0.5,), FLOAT),
        ("gaussian", (3.0,), FLOAT),
        ("median", (1,), EXACT),
        ("median", (2,), EXACT),
        ("gradient", (), FLOAT),
        ("warp_affine", ((0.9, -0.4, 30.25, 0.4, 0.9, -70.5), (300, 400), -1000.0), BETWEEN),
        *(("morphology", (kind, 3), EXACT) for kind in ("erode", "dilate", "open", "close", "gradient", "top_hat")),
        ("morphology", ("black_hat", 15), EXACT),
    ],
)
def test_values(kornia_backend: FilterBackend, values: np.ndarray, name: str, arguments: Any, tolerance: float) -> None:
    one, other = (getattr(backend, name)(values, *arguments) for backend in (select_backend("cpu"), kornia_backend))
    assert furthest(one, other) <= tolerance * float(np.ptp(values))


@pytest.mark.parametrize("radius", [1, 2])
def test_bilateral(kornia_backend: FilterBackend, values: np.ndarray, radius: int) -> None:
    tolerances = np.array([20, 80], np.float32)
    one, other = (backend.bilateral(values, radius, tolerances) for backend in (select_backend("cpu"), kornia_backend))
    assert furthest(one, other) <= FLOAT * float(np.ptp(values))


def test_contrast(kornia_backend: FilterBackend, greys: np.ndarray) -> None:
    cpu = select_backend("cpu")
    assert furthest(cpu.equalize(greys), kornia_backend.equalize(greys)) == 0
    flat = np.full((2, 8, 8), 9, np.uint8)
    assert furthest(cpu.equalize(flat), kornia_backend.equalize(flat)) == 0
    one, other = (backend.clahe(greys, 2.0, (8, 8)) for backend in (cpu, kornia_backend))
    assert furthest(one, other) <= 3  # kornia places the tiles' centres half a pixel elsewhere
    assert np.abs(one.astype(float) - other).mean() < 0.2


def test_turning(kornia_backend: FilterBackend, head: Image) -> None:
    """Of tilted pictures, at the sides too, and of a plane one pixel wide."""
    small = head.pixels[200:260, 200:300].astype(np.float32)[None]
    for planes in (small, small[:, :, :1], small[:, :1], small[:, :1, :1]):
        to_input = (0.8, -0.6, 3.3, 0.6, 0.8, -2.7)
        one, other = (
            backend.warp_affine(planes, to_input, (50, 40), -1024.0)
            for backend in (select_backend("cpu"), kornia_backend)
        )
        assert furthest(one, other) <= BETWEEN * float(np.ptp(head.pixels))


def test_canny(kornia_backend: FilterBackend, greys: np.ndarray) -> None:
    planes = greys.astype(np.float32)
    one, other = (backend.canny(planes, 1.0, 0.1, 0.25) for backend in (select_backend("cpu"), kornia_backend))
    assert 0.01 < one.mean() < 0.3
    assert (one != other).mean() < 1e-3


CALLS: list[tuple[Tool, list[dict[str, Any]]]] = [
    (Denoise, [{"method": "median", "radius": 1}, {"method": "bilateral", "radius": 2}]),
    (Sharpen, [{"amount": 1.0, "radius": 1.0}, {"amount": 3.0, "radius": 2.0}]),
    (EnhanceContrast, [{"method": "clahe", "gamma": None}, {"method": "gamma", "gamma": 0.7}]),
    (Edges, [{"method": "sobel", "threshold": None}, {"method": "canny", "threshold": 0.3}]),
    (Morphology, [{"operation": "open", "radius": 2}, {"operation": "dilate", "radius": 1}]),
    (orient, [{"angle": 20.0}, {"angle": -130.0}]),
]


@pytest.mark.parametrize(("tool", "choices"), CALLS, ids=lambda part: getattr(part, "name", ""))
@pytest.mark.parametrize("device", ["cpu", "kornia"])
def test_a_batch_is_its_calls(tool: Tool, choices: list[dict[str, Any]], device: str, head: Image) -> None:
    small = head.crop(150, 150, 240, 230)
    broken = Image(pixels=np.full((80, 90), np.nan, np.float32))
    images = [small, small.replace(pixels=small.pixels[::-1]), head.crop(100, 100, 140, 160), broken]
    calls = [{"image": image, **choice} for choice in choices for image in images]
    instance: Any = type(
        "Instance", (), {"backend": select_backend("cpu") if device == "cpu" else KorniaBackend("cpu")}
    )()
    kernel: Any = tool._batch
    with torch.inference_mode():
        results = kernel(instance, calls)
    for call, result in zip(calls, results, strict=True):
        if call["image"] is broken and tool is not orient:  # which puts no value where there was none
            assert isinstance(result, ValueError)
            continue
        (alone,) = kernel(instance, [call])
        assert result.pixels.shape == alone.pixels.shape
        np.testing.assert_allclose(result.pixels, alone.pixels, rtol=1e-5, atol=1 if device != "cpu" else 0)
        if device == "cpu":
            assert np.array_equal(tool(**call).pixels, result.pixels, equal_nan=True)


def test_a_device_without_kornia_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(RuntimeError, match=r"pip install 'medvistagym-kornia\[gpu\]'"):
        select_backend("cuda")
