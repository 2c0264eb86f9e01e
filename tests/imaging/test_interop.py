"""Images to and from NumPy, PyTorch, SimpleITK and Pillow, and their parts by index."""

import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import SimpleITK
import torch

from medvistagym_core.imaging import Image, Window, patient_geometry


@pytest.fixture
def volume():
    """A CT of 6 slices that lies obliquely in the patient, its slices 2.5 mm apart."""
    pixels = np.arange(6 * 8 * 10, dtype=np.int16).reshape(6, 8, 10)
    return Image(
        pixels=pixels,
        unit="HU",
        modality="CT",
        spacing=(2.5, 0.8, 0.7),
        window=Window(40, 400),
        attributes={"direction": "0.8 0.6 0 -0.6 0.8 0 0 0 1", "position_mm": "-10 20 30"},
    )


def place(image, z, y, x):
    """Where a pixel lies in the patient, in mm."""
    geometry = patient_geometry(image)
    return np.array(geometry.position) + np.array(geometry.steps).T @ (x, y, z)


def test_to_numpy_is_read_only_unless_it_is_a_copy(volume):
    assert np.asarray(volume).dtype == np.int16
    with pytest.raises(ValueError, match="read-only"):
        volume.to_numpy()[0] = 1
    copy = volume.to_numpy(np.float32, copy=True)
    copy[0] = 1
    assert volume.pixels[0, 0, 1] == 1
    assert volume.pixels[0, 0, 5] == 5


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, bool, ">i2"])
def test_torch_there_and_back(dtype):
    pixels = np.array([[0, 1], [1, 0]], dtype)
    tensor = Image(pixels=pixels, unit="raw").to_torch()
    tensor[0, 0] = 1  # memory of its own
    assert pixels[0, 0] == 0
    back = Image.from_torch(tensor, unit="raw")
    assert back.pixels.tolist() == [[1, 1], [1, 0]]
    assert torch.from_dlpack(Image(pixels=np.eye(2, dtype=np.float32))).tolist() == [[1, 0], [0, 1]]


def test_from_torch_takes_a_tensor_with_a_gradient():
    image = Image.from_torch(torch.ones(2, 2, requires_grad=True))
    assert image.pixels.dtype == np.float32


def test_sitk_there_and_back_keeps_values_unit_and_place(volume):
    sitk = volume.to_sitk()
    assert sitk.GetSpacing() == pytest.approx((0.7, 0.8, 2.5))
    for index in ((0, 0, 0), (9, 7, 5), (3, 1, 2)):
        x, y, z = index
        assert sitk.TransformIndexToPhysicalPoint(index) == pytest.approx(tuple(place(volume, z, y, x)), abs=1e-4)
        assert sitk[index] == volume.pixels[z, y, x]
    back = Image.from_sitk(sitk, modality="CT")
    assert (back.unit, back.spacing, back.modality) == ("HU", pytest.approx((2.5, 0.8, 0.7)), "CT")
    assert np.array_equal(back.pixels, volume.pixels)
    assert place(back, 5, 7, 9) == pytest.approx(place(volume, 5, 7, 9), abs=1e-3)


def test_a_slice_goes_to_sitk_at_its_place(volume):
    sitk = volume[2][2:6, 1:5].to_sitk()
    assert sitk.GetSize() == (4, 4, 1)
    assert sitk.TransformIndexToPhysicalPoint((0, 0, 0)) == pytest.approx(tuple(place(volume, 2, 2, 1)), abs=1e-4)
    assert Image.from_sitk(sitk).pixels.shape == (4, 4)


def test_sitk_of_colours_masks_and_what_is_no_image():
    colours = Image(pixels=np.full((4, 5, 3), 7, np.uint8), photometric="RGB", spacing=(0.5, 0.25))
    sitk = colours.to_sitk()
    assert (sitk.GetSize(), sitk.GetSpacing(), sitk.GetNumberOfComponentsPerPixel()) == ((5, 4), (0.25, 0.5), 3)
    assert Image.from_sitk(sitk).photometric == "RGB"
    mask = Image(pixels=np.eye(3, dtype=bool), unit="mask").to_sitk()
    assert mask.GetPixelID() == SimpleITK.sitkUInt8
    with pytest.raises(ValueError, match="4 axes"):
        Image.from_sitk(SimpleITK.Image([2, 2, 2, 2], SimpleITK.sitkInt16))


def test_pillow_there_and_back():
    picture = PIL.Image.fromarray(np.array([[0, 40000]], np.uint16))
    deep = Image.from_pil(picture, unit="raw")
    assert deep.pixels.max() == 40000
    assert deep.to_pil().size == (2, 1)
    see_through = PIL.Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert Image.from_pil(see_through).pixels.min() == 255
    assert Image.from_pil(PIL.Image.new("P", (2, 2))).photometric == "RGB"
    assert Image.from_pil(PIL.Image.new("1", (2, 2), 1)).pixels.max() == 255


def test_from_numpy_is_displayed_as_its_unit_asks():
    values = np.linspace(-1000, 3000, 100, dtype=np.float32).reshape(10, 10)
    assert Image.from_numpy(values, unit="HU").window is not None
    assert Image.from_numpy(values, unit="HU", window=Window(0, 10)).window == Window(0, 10)


@pytest.mark.parametrize("key", [2, -1, np.int64(3)])
def test_a_slice_of_a_volume(volume, key):
    at = int(key) % 6
    part = volume[key]
    assert np.array_equal(part.pixels, volume.pixels[key])
    assert (part.spacing, part.unit, part.window) == ((0.8, 0.7), "HU", Window(40, 400))
    assert place(part, 0, 3, 4) == pytest.approx(place(volume, at, 3, 4), abs=1e-3)


@pytest.mark.parametrize("key", [slice(1, 4), slice(None, None, 2), slice(1, None, 3)])
def test_some_slices_of_a_volume(volume, key):
    part = volume[key]
    assert np.array_equal(part.pixels, volume.pixels[key])
    start, _, step = key.indices(6)
    last = part.frames - 1
    assert place(part, last, 1, 2) == pytest.approx(place(volume, start + step * last, 1, 2), abs=1e-3)
    assert place(part[1:], 0, 0, 0) == pytest.approx(place(part, 1, 0, 0), abs=1e-3)


def test_slices_that_are_uneven_keep_their_own_places():
    image = Image(
        pixels=np.zeros((4, 2, 2)),
        spacing=(1, 1),
        frame=1,
        attributes={
            "direction": "1 0 0 0 1 0 0 0 1", "position_mm": "0 0 5", "slice_offsets_mm": "0 1 3 7",
        },
    )  # fmt: skip
    assert image[2].attributes["position_mm"].split()[2] == "8"
    assert image[1:][2].attributes["position_mm"].split()[2] == "12"
    assert image[::2].attributes["slice_offsets_mm"] == "0 3"


def test_a_part_of_a_volume_and_of_a_picture(volume):
    part = volume[1:3, 2:6, -4:]
    assert np.array_equal(part.pixels, volume.pixels[1:3, 2:6, -4:])
    assert place(part, 0, 0, 0) == pytest.approx(place(volume, 1, 2, 6), abs=1e-3)
    picture = Image(pixels=np.arange(30, dtype=np.uint8).reshape(5, 6))
    assert picture[1:3].pixels.shape == (2, 6)
    assert picture[:, 2:4].to_source == (1, 0, 2, 0, 1, 0)


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        (9, IndexError, "slice 9 does not exist; the image has slices 0 to 5"),
        (slice(3, 3), ValueError, "holds none of the slices 0 to 5"),
        (slice(None, None, -1), ValueError, "in their order"),
        ((0, slice(0, 4, 2)), ValueError, "steps of 2"),
        ((0, slice(5, 5)), ValueError, "holds none of the 8"),
        ((0, 1), TypeError, "no image"),
        ("first", TypeError, "image\\[slice\\]"),
        ((0, slice(None), slice(None), slice(None)), TypeError, "indexed as"),
    ],
)
def test_what_names_no_part_is_said(volume, key, error, says):
    with pytest.raises(error, match=says):
        _ = volume[key]


def test_a_volume_is_a_series_of_slices(volume):
    assert [int(part.pixels[0, 0]) for part in volume] == [0, 80, 160, 240, 320, 400]


def test_importing_images_imports_no_other_library():
    code = "import sys, medvistagym_core.imaging as i; i.Image; print({'torch', 'SimpleITK', 'PIL'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
