"""Masks: the box that holds one, its size, and the same mask on the grid of another image of the region."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import (
    MASK_WINDOW,
    Image,
    MaskBounds,
    bounding_boxes,
    darkest_value,
    format_crop,
    format_frame,
    format_mask_slices,
    format_measurements,
    full_resolution,
    mask_bounds,
    mask_image,
    mask_measurements,
    require_finite,
    resample_mask_to,
    to_boolean,
    to_grayscale_array,
)

# -- boxes


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 1.0])
def test_boxes_hold_what_is_set(share: float) -> None:
    random = np.random.default_rng(int(share * 1e4))
    for _ in range(60):
        n, h, w = (int(random.integers(1, most)) for most in (5, 140, 90))
        masks = random.random((n, h, w)) < share
        if w % 2:
            masks = np.asfortranarray(masks)
        expected = []
        for mask in masks:
            y, x = np.nonzero(mask)
            expected.append([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])
        boxes = bounding_boxes(masks)
        assert boxes.tolist() == expected
        assert boxes.dtype.kind == "i"


def test_boxes_of_nothing_and_of_edges() -> None:
    assert bounding_boxes(np.zeros((0, 8, 8), bool)).shape == (0, 4)
    assert bounding_boxes(np.zeros((3, 0, 8), bool)).tolist() == [[0] * 4] * 3
    masks = np.zeros((6, 70, 33), bool)
    for mask, (y, x) in zip(masks, ((0, 0), (0, 32), (69, 0), (69, 32), (31, 16)), strict=False):
        mask[y, x] = True
    expected = [[0, 0, 1, 1], [32, 0, 33, 1], [0, 69, 1, 70], [32, 69, 33, 70], [16, 31, 17, 32], [0, 0, 0, 0]]
    assert bounding_boxes(masks).tolist() == expected
    assert bounding_boxes(masks[:, ::-1, ::-1])[:4].tolist() == expected[3::-1]


def test_bounds_of_a_volume_grow_by_millimetres_and_end_at_the_image() -> None:
    mask = np.zeros((6, 20, 30), bool)
    mask[2:4, 5:8, 10:25] = True
    image = Image(pixels=np.zeros(mask.shape, np.int16), unit="HU", spacing=(4.0, 1.0, 2.0), frame=5)
    bounds = mask_bounds(mask)
    assert bounds == MaskBounds((10, 25), (5, 8), (2, 4))
    assert bounds.dilate_mm(8.0, image) == MaskBounds((6, 29), (0, 16), (0, 6))
    part = bounds.crop(image)
    assert part.pixels.shape == (2, 3, 15)
    assert part.attributes["slices"] == "2-3"
    assert part.frame == 1  # the slice nearest to the one that was displayed
    assert bounds.box(image) == [333, 250, 834, 400]
    assert format_crop(image, bounds, 8.0) == (
        "Cut to 15 x 3 x 2 pixels at box [333, 250, 834, 400], 30.0 x 3.0 x 8.0 mm"
    )


# -- sizes


def test_sizes_are_in_millimetres_where_the_spacing_is_known() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:8, 10:25] = True
    image = Image(pixels=np.zeros(mask.shape, np.int16), spacing=(1.0, 2.0))
    data = mask_measurements(mask, image)
    assert data == {"box": [333, 250, 834, 400], "pixels": 45, "share": 0.075, "area_mm2": 90.0}
    assert format_measurements(data) == "90 mm2, 7.5 % of the image, box [333, 250, 834, 400]"
    unknown = mask_measurements(mask, image.replace(spacing=None))
    assert format_measurements(unknown).startswith("45 pixels (no size in mm known)")
    volume = np.repeat(mask[None], 4, 0)
    stack = Image(pixels=np.zeros(volume.shape, np.int16), spacing=(5.0, 1.0, 2.0))
    text = format_measurements(mask_measurements(volume, stack))
    assert text == "1.8 ml, 7.5 % of the image, box [333, 250, 834, 400], slices 0 to 3"


# -- masks as images


def test_a_mask_displays_a_slice_that_is_not_empty() -> None:
    mask = np.zeros((5, 8, 8), bool)
    mask[3, 2, 2] = True
    source = Image(pixels=np.zeros(mask.shape, np.int16), unit="HU", spacing=(1.0, 1.0, 1.0), frame=1)
    image = mask_image(mask, source)
    assert (image.unit, image.window, image.frame) == ("mask", MASK_WINDOW, 3)
    assert sorted(np.unique(image.view())) == [0, 255]
    assert mask_image(mask, source, keep_frame=True).frame == 1


def test_what_counts_as_a_mask() -> None:
    two_values = np.array([[0, 255], [255, 0]], np.uint8)
    assert to_boolean(Image(pixels=two_values)).tolist() == [[False, True], [True, False]]
    for dtype in (np.int16, np.float32):  # as files of others hold masks
        assert to_boolean(Image(pixels=two_values.astype(dtype), unit="raw")).tolist() == [[False, True], [True, False]]
    assert to_boolean(Image(pixels=np.array([[0, 3]], np.int16), unit="label")).tolist() == [[False, True]]
    for image in (
        Image(pixels=np.arange(4, dtype=np.uint8).reshape(2, 2)),
        Image(pixels=two_values.astype(np.int16), unit="HU"),
        Image(pixels=np.zeros((2, 2, 3), np.uint8), photometric="RGB"),
    ):
        with pytest.raises(ValueError, match="give one that segment made"):
            to_boolean(image)


def test_a_mask_is_resampled_to_the_grid_of_its_image() -> None:
    pixels = np.zeros((10, 20), bool)
    pixels[2:4, 5:10] = True
    image = Image(pixels=np.zeros((10, 20), np.int16), unit="HU")
    mask = Image(pixels=pixels, unit="mask")
    finer = image.resized(20, 40)
    assert np.array_equal(resample_mask_to(mask, finer), np.kron(pixels, np.ones((2, 2), bool)))
    with pytest.raises(ValueError, match="another region"):
        resample_mask_to(mask.crop(0, 0, 10, 10), image)
    with pytest.raises(ValueError, match="empty"):
        resample_mask_to(mask.replace(pixels=np.zeros_like(pixels)), image)
    speck = np.zeros((10, 20), bool)
    speck[9, 19] = True
    with pytest.raises(ValueError, match="smaller than a pixel"):
        resample_mask_to(mask.replace(pixels=speck), image.resized(5, 10))


def volume(frames: int = 5, **changes: Any) -> Image:
    return Image(pixels=np.zeros((frames, 8, 8), np.int16), unit="HU", spacing=(2.0, 1.0, 1.0), **changes)


def slice_mask(**attributes: str) -> Image:
    pixels = np.zeros((8, 8), bool)
    pixels[2, 3] = True
    return Image(pixels=pixels, unit="mask", attributes=attributes)


def test_a_mask_of_one_slice_is_used_for_all_of_a_volume_and_that_is_told() -> None:
    mask = slice_mask()
    assert resample_mask_to(mask, volume()).shape == (8, 8)
    assert format_mask_slices(mask, volume()) == "; the mask is a single slice and was used for all 5 of the image"


def test_of_the_mask_of_a_volume_the_slice_of_the_image_is_used_and_that_is_told() -> None:
    pixels = np.zeros((5, 8, 8), bool)
    pixels[3, 2, 2] = True
    mask = volume().replace(pixels=pixels, unit="mask", spacing=None)
    image = full_resolution(volume(frame=3).replace(spacing=None))
    assert np.array_equal(resample_mask_to(mask, image), pixels[3])
    assert format_mask_slices(mask, image) == "; of the mask, slice 3 of 0 to 4 was used"
    assert format_mask_slices(mask, volume()) == ""
    with pytest.raises(ValueError, match="the mask is empty"):
        resample_mask_to(mask, image.replace(attributes={"frame": "1"}))
    with pytest.raises(ValueError, match="the mask has slices 0 to 4, and the image shows slice 7"):
        resample_mask_to(mask, image.replace(attributes={"frame": "7"}))
    with pytest.raises(ValueError, match="5 slices and the image 6 slices"):
        resample_mask_to(mask, volume(6).replace(spacing=None))


@pytest.mark.parametrize(
    ("of_mask", "of_image"),
    [
        ({"frame": "2"}, {"frame": "3"}),
        ({"plane": "axial", "slice": "2"}, {"plane": "axial", "slice": "3"}),
        ({"plane": "axial", "slice": "2"}, {"plane": "coronal", "slice": "2"}),
    ],
)
def test_the_mask_of_another_slice_is_refused(of_mask: dict[str, str], of_image: dict[str, str]) -> None:
    image = Image(pixels=np.zeros((8, 8), np.int16), attributes=of_image)
    with pytest.raises(ValueError, match=r"the mask shows (frame|plane|slice) "):
        resample_mask_to(slice_mask(**of_mask), image)
    assert resample_mask_to(slice_mask(**of_image), image).any()
    assert resample_mask_to(slice_mask(), image).any()  # as it is read from a file


def test_the_size_of_frames_without_a_distance_is_counted_in_pixels() -> None:
    mask = np.ones((5, 8, 8), bool)
    data = mask_measurements(mask, volume().replace(spacing=(1.0, 1.0)))
    assert data == {"box": [0, 0, 1000, 1000], "pixels": 320, "share": 1.0, "slices": [0, 4]}


# -- values


def test_grayscale_is_bright_where_the_picture_is() -> None:
    hu = Image(pixels=np.array([[-3024, 40]], np.int16), unit="HU")
    assert to_grayscale_array(hu).tolist() == [[-1024, 40]]
    assert to_grayscale_array(hu.replace(photometric="MONOCHROME1")).tolist() == [[1024, -40]]
    green = Image(pixels=np.array([[[0, 100, 0]]], np.uint8), photometric="RGB")
    assert to_grayscale_array(green) == pytest.approx(58.7)


def test_the_full_resolution_is_what_an_image_was_made_from() -> None:
    image = Image(pixels=np.arange(64, dtype=np.int16).reshape(8, 8), unit="HU")
    assert full_resolution(image.resized(2, 2)) is image
    frames = Image(pixels=np.stack([image.pixels, image.pixels + 1]), frame=1)  # no volume: no distance between them
    displayed = full_resolution(frames)
    assert np.array_equal(displayed.pixels, image.pixels + 1)
    assert displayed.attributes["frame"] == "1"
    assert format_frame(frames, displayed) == "; frame 1 of 0 to 1 alone, as no distance between them is known"
    assert full_resolution(frames, keep_frames=True) is frames
    assert format_frame(image, image) == format_frame(frames, frames) == ""
    huge = Image(pixels=np.broadcast_to(np.int16(0), (100_000, 100_000)))
    with pytest.raises(ValueError, match="10,000,000,000 pixels"):
        full_resolution(huge)


def test_values_that_are_none_are_counted() -> None:
    values = np.array([1.0, np.nan, np.inf, 4.0], np.float32)
    with pytest.raises(ValueError, match="2 of 4 pixels have no value"):
        require_finite(values)
    assert require_finite(values[[0, 3]]) == (1.0, 4.0)


def test_the_darkest_value_is_that_of_the_display() -> None:
    pixels = np.array([[np.nan, -3.0, 7.0]], np.float32)
    assert darkest_value(Image(pixels=pixels, unit="raw")) == -3
    assert darkest_value(Image(pixels=pixels, unit="raw", photometric="MONOCHROME1")) == 7
    assert darkest_value(Image(pixels=np.full((2, 2, 3), 9, np.uint8), photometric="RGB")) == 0


# -- masks of volumes


def lying(direction: str, pixels: np.ndarray, position: str = "0 0 0", **changes: Any) -> Image:
    fields: dict[str, Any] = {"unit": "HU", "spacing": (4.0, 2.0, 1.0)}
    return Image(pixels=pixels, attributes={"direction": direction, "position_mm": position}, **{**fields, **changes})


def test_the_mask_of_a_volume_is_put_in_the_order_of_the_image() -> None:
    inside = np.zeros((3, 5, 7), bool)
    inside[0, 1, 2:4] = True
    image = lying("1 0 0 0 1 0 0 0 1", np.zeros((3, 5, 7), np.int16))
    other = lying("-1 0 0 0 1 0 0 0 -1", inside[::-1, :, ::-1], position="6 0 8", unit="mask")
    assert np.array_equal(resample_mask_to(other, image), inside)
    turned = lying("0 1 0 1 0 0 0 0 1", inside.swapaxes(1, 2), unit="mask", spacing=(4.0, 1.0, 2.0))
    assert np.array_equal(resample_mask_to(turned, image), inside)


def test_the_mask_of_another_volume_is_refused() -> None:
    image = lying("1 0 0 0 1 0 0 0 1", np.zeros((3, 5, 7), np.int16))
    mask = np.ones((3, 5, 7), bool)
    with pytest.raises(ValueError, match="another region"):
        resample_mask_to(lying("1 0 0 0 1 0 0 0 1", mask, position="40 0 0", unit="mask"), image)
    with pytest.raises(ValueError, match="other planes of the patient"):
        resample_mask_to(lying("0.8 0.6 0 -0.6 0.8 0 0 0 1", mask, unit="mask"), image)
    with pytest.raises(ValueError, match=r"the mask holds slice 2 alone of 5, .* \.nii\.gz"):
        resample_mask_to(slice_mask(frame="2", frames="5"), volume())
