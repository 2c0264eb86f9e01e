"""Images: units, geometry, and the picture a policy sees."""

import dataclasses

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from medvistagym_core import Box, Image, Window


def ct(pixels=None, **changes):
    if pixels is None:
        pixels = np.arange(64 * 32, dtype=np.int16).reshape(64, 32) - 1000
    return Image(pixels=pixels, unit="HU", spacing=(0.5, 0.25), modality="CT", **changes)


def test_linear_window_is_dicom_c_11_2_1_2():
    # the worked example of PS3.3 C.11.2.1.2.1: center 2048, width 4096 keeps 0..4095 as it is
    values = np.array([-5, 0, 1, 2047, 4094, 4095, 9000])
    assert np.allclose(Window(2048, 4096).apply(values), np.clip(values, 0, 4095) * 255 / 4095, atol=1e-3)
    assert Window(10, 1).apply(np.array([9, 10])).tolist() == [0, 255]
    assert np.allclose(Window(10, 4, "linear_exact").apply(np.array([8, 10, 12])), [0, 127.5, 255])
    assert np.allclose(Window(10, 4, "sigmoid").apply(np.array([10, 1e9, -1e9])), [127.5, 255, 0])


@pytest.mark.parametrize("width", [0, -1, 0.5, float("nan")])
def test_impossible_window_is_refused(width):
    with pytest.raises(ValueError, match="width"):
        Window(0, width)


def test_pixels_are_read_only_and_the_callers_array_is_not_touched():
    mine = np.zeros((4, 4))
    image = Image(pixels=mine)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0] = 1
    mine[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.unit = "HU"


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros(5), "shape"),
        (np.zeros((2, 2, 2, 2, 2)), "shape"),
        (np.zeros((0, 4)), "at least one pixel"),
        (np.zeros((4, 4), complex), "real numbers"),
        (np.array([["a"]]), "real numbers"),
    ],
)
def test_pixels_that_are_no_image_are_refused(pixels, reason):
    with pytest.raises(ValueError, match=reason):
        Image(pixels=pixels)


def test_bad_spacing_and_overlay_are_refused():
    with pytest.raises(ValueError, match="positive"):
        Image(pixels=np.zeros((4, 4)), spacing=(1, -1))
    with pytest.raises(ValueError, match="overlay"):
        Image(pixels=np.zeros((4, 4)), overlay=np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match="frame 7"):
        Image(pixels=np.zeros((2, 4, 4)), frame=7)


def test_crop_and_resize_keep_the_way_back_to_the_source():
    image = ct()
    crop = image.crop(8, 16, 24, 48)
    assert np.array_equal(crop.pixels, image.pixels[16:48, 8:24])
    large = crop.resized(64, 32)
    assert large.spacing == (0.25, 0.125)
    assert large.box_to_source(Box(0, 0, 1000, 1000)) == (8, 16, 24, 48)
    assert large.box_to_source(Box(500, 500, 1000, 1000)) == (16, 32, 24, 48)
    again = large.crop(16, 32, 32, 64)
    assert again.box_to_source(Box(0, 0, 1000, 1000)) == (16, 32, 24, 48)
    assert again.source_shape == (64, 32)
    assert large.detail is crop


def test_crop_outside_is_refused():
    with pytest.raises(ValueError, match="32 x 64"):
        ct().crop(0, 0, 33, 10)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 32), (1000, 1000)])
def test_every_box_covers_at_least_a_pixel_and_stays_inside(shape):
    image = Image(pixels=np.zeros(shape, np.uint8))
    for box in (Box(0, 0, 1, 1), Box(999, 999, 1000, 1000), Box(0, 0, 1000, 1000), Box(333, 10, 334, 900)):
        x0, y0, x1, y1 = image.box_to_pixels(box)
        assert 0 <= x0 < x1 <= shape[1]
        assert 0 <= y0 < y1 <= shape[0]


def test_box_is_a_list_of_four_ordered_grid_integers_in_json():
    class Holder(BaseModel):
        box: Box

    assert Holder.model_validate_json('{"box": [0, 10, 1000, 20]}').box == Box(0, 10, 1000, 20)
    schema = Holder.model_json_schema()["properties"]["box"]
    assert (schema["minItems"], schema["maxItems"], schema["items"]) == (
        4,
        4,
        {"type": "integer", "minimum": 0, "maximum": 1000},
    )
    for bad in (
        "[0, 0, 10]",
        "[10, 0, 10, 20]",
        "[20, 0, 10, 20]",
        "[0, 0, 10, 1001]",
        "[0.5, 0, 10, 20]",
        '"0,0,1,1"',
    ):
        with pytest.raises(ValidationError):
            Holder.model_validate_json(f'{{"box": {bad}}}')


def test_view_averages_values_before_windowing():
    checker = np.indices((8, 8)).sum(0) % 2 * 2000.0  # windowed first, its mean would be mid-grey of 0 and 255 as well
    image = Image(pixels=checker, window=Window(1000, 100, "linear_exact"))
    assert np.unique(image.view(4)).tolist() == [128]
    assert np.unique(image.view()).tolist() == [0, 255]


@pytest.mark.parametrize("side", [1, 10, 32, 64, 100])
def test_view_has_the_side_asked_for_and_keeps_the_aspect(side):
    view = ct().view(side)
    assert view.dtype == np.uint8
    assert view.shape == (side, max(1, round(side / 2)))


def test_view_of_odd_values_is_defined():
    pixels = np.array([[np.nan, np.inf, -np.inf], [1.0, 3.0, 2.0]], np.float32)
    assert Image(pixels=pixels).view().tolist() == [[0, 255, 0], [0, 255, 128]]
    assert Image(pixels=pixels, window=Window(2, 2, "linear_exact")).view().tolist() == [[0, 255, 0], [0, 255, 128]]
    assert np.unique(Image(pixels=np.full((3, 3), 7.0)).view()).size == 1


def test_monochrome1_is_shown_inverted_and_keeps_its_values():
    pixels = np.array([[0, 255]], np.uint8)
    image = Image(pixels=pixels, photometric="MONOCHROME1")
    assert image.view().tolist() == [[255, 0]]
    assert np.array_equal(image.pixels, pixels)


def test_overlay_is_drawn_on_views_only():
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    image = Image(pixels=np.full((16, 16), 100, np.uint8), overlay=mask)
    view = image.view()
    assert view[4, 4] == 0
    assert view[6, 6] == 255
    assert view[0, 0] == 100
    assert np.unique(image.pixels).tolist() == [100]
    assert image.crop(8, 8, 16, 16).view()[0, 0] == 255


def test_stacks_and_colour():
    stack = Image(pixels=np.stack([np.full((4, 6), k, np.uint8) for k in range(5)]), spacing=(2, 1, 1))
    assert (stack.frames, stack.shape, stack.view()[0, 0]) == (5, (4, 6), 2)
    assert stack.replace(frame=4).view()[0, 0] == 4
    colour = Image(pixels=np.zeros((4, 6, 3), np.uint8), photometric="RGB")
    assert colour.view(12).shape == (8, 12, 3)


def test_with_pixels_keeps_the_shape():
    with pytest.raises(ValueError, match="keeps the shape"):
        ct().with_pixels(np.zeros((2, 2)))


def test_digest_tells_contents_apart():
    image = ct()
    assert image.digest == ct().digest
    others = [
        image.with_window(Window(1, 2)),
        image.replace(unit="raw"),
        image.crop(0, 0, 32, 63),
        ct(image.pixels + 1),
    ]
    assert len({image.digest, *(other.digest for other in others)}) == 5


def test_arrays_arrive_by_dlpack_and_the_array_protocol():
    class Spoken:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **kwargs):
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    mine = np.arange(12.0).reshape(3, 4)
    assert np.shares_memory(Image(pixels=Spoken(mine)).pixels, mine)
    assert Image(pixels=[[1, 2], [3, 4]]).shape == (2, 2)


def test_an_image_is_an_array_to_array_libraries():
    image = ct()
    assert np.shares_memory(np.asarray(image), image.pixels)
    assert np.asarray(image, np.float32).dtype == np.float32
    assert np.array(image).flags.writeable
    assert np.array_equal(np.from_dlpack(image), image.pixels)
    assert np.array_equal(Image(pixels=image).pixels, image.pixels)
    with pytest.raises(ValueError, match="cannot be float32 without a copy"):
        np.asarray(image, np.float32, copy=False)

    class Old:
        """A library that knows no read-only arrays, and so asks without a version."""

        def __init__(self, image):
            self.capsule = image.__dlpack__()

    assert Old(image).capsule is not None


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((4, 4, 3), 'photometric="RGB" for colours'),
        ((512, 512, 3), "512 frames of 3 x 512 pixels"),
        ((64, 48, 4), 'three of the 4 channels and photometric="RGB"'),
        ((64, 48, 1), r"pixels\[..., 0\] for a picture"),
        ((2, 64, 48, 3), r'not \(2, 64, 48, 3\) \(photometric="RGB" for colours\)'),
    ],
)
def test_an_array_that_may_be_colours_is_not_taken_for_frames(shape, advice):
    with pytest.raises(ValueError, match=advice):
        Image(pixels=np.zeros(shape))


def test_frames_that_look_like_colours_are_frames_once_that_is_said():
    pixels = np.zeros((4, 4, 3))
    for said in ({"photometric": "MONOCHROME2"}, {"frame": 0}, {"spacing": (1.0, 1.0, 1.0)}):
        assert Image(pixels=pixels, **said).frames == 4
    assert Image(pixels=pixels, photometric="RGB").frames == 1
    assert Image(pixels=np.zeros((2, 4, 4))).frames == 2
    narrow = Image(pixels=np.zeros((4, 9, 9))).crop(0, 0, 3, 9)
    assert narrow.replace(unit="raw").pixels.shape == (4, 9, 3)


def test_the_unit_of_colours_is_not_grey():
    assert Image(pixels=np.zeros((4, 4, 3), np.uint8), photometric="RGB").unit == "RGB"
    assert Image(pixels=np.zeros((4, 4))).unit == "grey"
    assert ct().physical_unit == "HU"


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    image = Image(pixels=np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8))
    image.save(tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert np.array_equal(Image.open(tmp_path / "a.png").pixels, image.pixels)
    with pytest.raises(FileNotFoundError):
        image.save(tmp_path / "nowhere" / "a.png")
