"""What the tools give is what MONAI's own transforms (of parts, SimpleITK) give, on a head CT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medvistagym_core.imaging import Image, Window
from medvistagym_dicom import read_one
from medvistagym_monai import components, crop_foreground, fill_holes, resample, scale_intensity

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def head() -> Image:
    return read_one(get_testdata_file("693_UNCR.dcm"))


@pytest.fixture(scope="module")
def transforms() -> Any:
    return pytest.importorskip("monai.transforms")


def test_foreground(head: Image, transforms: Any) -> None:
    pixels = head.pixels[None].copy()  # torch warns of arrays that may not be written to
    theirs = transforms.CropForeground(select_fn=lambda x: x > -300, allow_smaller=True)(pixels)
    ours, _ = crop_foreground(head, above=-300.0)
    assert np.array_equal(ours.pixels, np.asarray(theirs)[0])
    wider = transforms.CropForeground(select_fn=lambda x: x > 300, margin=(6, 6), allow_smaller=True)(pixels)
    assert head.spacing is not None
    ours, _ = crop_foreground(head, above=300.0, margin_mm=6 * head.spacing[0])
    assert np.array_equal(ours.pixels, np.asarray(wider)[0])


def test_intensity(head: Image, transforms: Any) -> None:
    values = head.pixels[None].astype(np.float32)
    theirs = {
        "percentiles": transforms.ScaleIntensityRangePercentiles(1, 99, 0, 255, clip=True)(values),
        "range": transforms.ScaleIntensityRange(-160, 240, 0, 255, clip=True)(values),
        "zscore": (transforms.NormalizeIntensity()(values) + 3).clip(0, 6) * 255 / 6,
    }
    for method, expected in theirs.items():
        low, high = (-160.0, 240.0) if method == "range" else (None, None)
        result, _ = scale_intensity(head, method=method, low=low, high=high)  # type: ignore[arg-type]
        assert np.abs(result.pixels - np.asarray(expected)[0]).max() < 0.51


def test_resampling(head: Image, transforms: Any) -> None:
    """`Resize` covers the same region; `Spacing` keeps the centre of the first pixel, which moves the region."""
    assert head.spacing is not None
    for factor, mode in ((2.0, "area"), (0.5, "bilinear")):
        result, _ = resample(head, spacing_mm=head.spacing[0] * factor)
        size = tuple(round(n / factor) for n in head.shape)
        theirs = transforms.Resize(size, mode=mode)(head.pixels[None].astype(np.float32))
        assert result.shape == size
        assert np.abs(result.pixels - np.asarray(theirs)[0]).max() < 0.01


def test_resampling_of_a_volume(head: Image, transforms: Any) -> None:
    volume = Image(pixels=np.stack([head.pixels[::k, ::k][:64, :64] for k in (1, 2, 3, 4)]), spacing=(4.0, 1.0, 1.0))
    for slice_mm, mode in ((1.0, "trilinear"), (8.0, "area")):
        result, _ = resample(volume, spacing_mm=1.0, slice_mm=slice_mm)
        theirs = transforms.Resize((result.frames, 64, 64), mode=mode)(volume.pixels[None].astype(np.float32))
        assert np.abs(result.pixels - np.asarray(theirs)[0]).max() < 0.01


def test_holes(head: Image, transforms: Any) -> None:
    bone = head.pixels > 40
    theirs = transforms.FillHoles(connectivity=1)(torch.as_tensor(bone[None].astype(np.uint8)))
    filled, _, data = fill_holes(Image(pixels=bone, unit="mask", window=Window(0.5, 1.0, "linear_exact")))
    assert data["holes"] > 10
    assert np.array_equal(filled.pixels, np.asarray(theirs)[0] > 0)


def test_parts(head: Image) -> None:
    """MONAI needs scikit-image for this; SimpleITK is asked instead."""
    import SimpleITK

    sitk: Any = SimpleITK
    for bone in (head.pixels > 150, np.stack([head.pixels > limit for limit in (100, 150, 300, 200)])):
        spacing = (1.0,) * bone.ndim
        labels = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(bone.astype(np.uint8))))
        theirs = sitk.GetArrayFromImage(labels)
        for keep in (1, 2):
            kept, _, data = components(Image(pixels=bone, unit="mask", spacing=spacing), keep=keep)
            assert np.array_equal(kept.pixels, theirs == keep)
            assert data["parts"] == theirs.max()
