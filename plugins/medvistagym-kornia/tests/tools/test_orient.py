"""Turning and mirroring: where every pixel comes from, what it is worth, and what becomes of boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Box, Image, LocalExecutor, Registry, ToolCall, Window
from medvistagym_core.execution import ImageStore
from medvistagym_dicom import measure, reformat, zoom
from medvistagym_kornia import orient

WHOLE = Box(0, 0, 1000, 1000)


def smooth(h: int, w: int, spacing: tuple[float, ...] | None = (1.0, 1.0)) -> Image:
    """Values that are linear in millimetres, so that linear interpolation is exact: 3 HU a mm across, -2 down."""
    down, across = spacing or (1.0, 1.0)
    y, x = np.mgrid[:h, :w]
    pixels = (3 * (x + 0.5) * across - 2 * (y + 0.5) * down).astype(np.float32)
    return Image(pixels=pixels, unit="HU", spacing=spacing, modality="CT", window=Window(0, 100))


def to_source(image: Image, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = image.to_source
    return a * x + b * y + c, d * x + e * y + f


def inner(image: Image, margin: float = 1.0) -> list[tuple[int, int, float, float]]:
    """Pixels of a turned image and where their middles lie in the source, away from its border."""
    h, w = image.source_shape or image.shape
    places = [(x, y, *to_source(image, x + 0.5, y + 0.5)) for y in range(image.shape[0]) for x in range(image.shape[1])]
    return [p for p in places if margin <= p[2] <= w - margin and margin <= p[3] <= h - margin]


# -- quarter turns


@pytest.mark.parametrize("turn", ["left", "right", "half", "mirror_left_right", "mirror_top_bottom"])
@pytest.mark.parametrize("kind", ["grey", "stack", "colour"])
def test_every_pixel_knows_where_it_came_from(turn: Any, kind: str) -> None:
    shape = {"grey": (6, 9), "stack": (2, 6, 9), "colour": (6, 9, 3)}[kind]
    rows, columns = np.mgrid[:6, :9]
    code = rows * 9 + columns
    pixels = np.broadcast_to(code if kind != "colour" else code[..., None], shape).astype(np.int16)
    source = Image(
        pixels=pixels, spacing=(2.0, 1.0), photometric="RGB" if kind == "colour" else "MONOCHROME2", overlay=code > 20
    )
    turned = orient(source, turn=turn)
    for y in range(turned.shape[0]):
        for x in range(turned.shape[1]):
            column, row = to_source(turned, x + 0.5, y + 0.5)
            value = turned.pixels[..., y, x] if kind != "colour" else turned.pixels[y, x]
            assert np.all(value == int(row) * 9 + int(column))
            assert turned.overlay is not None
            assert turned.overlay[y, x] == (int(row) * 9 + int(column) > 20)
    assert turned.spacing == ((1.0, 2.0) if turn in ("left", "right") else (2.0, 1.0))
    assert turned.source_shape == (6, 9)


def test_turning_back_gives_the_same_image() -> None:
    image = smooth(96, 128).crop(10, 20, 70, 60).resized(20, 30)
    for turns in (["left", "right"], ["half", "half"], ["left"] * 4, ["mirror_left_right"] * 2):
        turned = image
        for turn in turns:
            turned = orient(turned, turn=turn)
        assert turned.digest == image.digest


def test_a_turned_image_keeps_its_finest_pixels() -> None:
    turned = orient(smooth(96, 128).resized(24, 32), turn="left")
    assert turned.detail is not None
    assert turned.detail.shape == (128, 96)
    assert turned.detail.box_to_source(WHOLE) == turned.box_to_source(WHOLE) == (0, 0, 128, 96)


# -- any angle


@pytest.mark.parametrize("angle", [12.5, -7, 45, 90, 135, -100, 179.5, -180, 0.25])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (2.0, 0.8), None])
def test_values_and_places_agree_at_any_angle(angle: float, spacing: tuple[float, float] | None) -> None:
    source = smooth(21, 34, spacing)
    turned = orient(source, angle=float(angle))
    places = inner(turned)
    assert len(places) > 300
    down, across = spacing or (1.0, 1.0)
    for x, y, column, row in places:
        assert turned.pixels[y, x] == pytest.approx(3 * column * across - 2 * row * down, abs=0.02)
    assert (turned.unit, turned.window, turned.source_shape) == ("HU", source.window, (21, 34))
    assert turned.pixels.dtype == np.float32


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.8), (3, 1.5, 0.5)])
@pytest.mark.parametrize("angle", [30.0, -75.0])
def test_a_turn_is_counter_clockwise_by_that_angle_in_millimetres(angle: float, spacing: Any) -> None:
    shape = (40, 60) if len(spacing) == 2 else (2, 40, 60)
    turned = orient(Image(pixels=np.zeros(shape, np.int16), spacing=spacing), angle=angle)
    assert turned.spacing == spacing
    down, across = spacing[-2:]
    x0, y0 = to_source(turned, 10, 10)
    for right, below in ((10, 0), (0, 10)):
        x, y = to_source(turned, 10 + right, 10 + below)
        got = np.array([(x - x0) * across, (y - y0) * down])
        shown = np.array([right * across, below * down])
        assert np.hypot(*got) == pytest.approx(np.hypot(*shown))  # lengths stay
        # what points this way in the picture pointed there before it was turned counter-clockwise, y pointing down
        turn = math.degrees(math.atan2(-shown[1], shown[0]) - math.atan2(-got[1], got[0]))
        assert (turn - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_a_bar_that_leans_stands_straight_when_turned_back() -> None:
    y, x = np.mgrid[:101, :101] - 50
    leaning = (np.abs(x * math.cos(0.3) + y * math.sin(0.3)) < 4) & (np.hypot(x, y) < 40)  # its top leans to the right
    turned = orient(Image(pixels=leaning.astype(np.float32)), angle=math.degrees(0.3))
    rows, columns = np.nonzero(turned.pixels > 0.5)
    assert np.ptp(columns) + 1 == pytest.approx(8, abs=1)
    assert np.ptp(rows) + 1 == pytest.approx(80, abs=2)


@pytest.mark.parametrize("angle", [17.0, -63.0, 90.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.7, 0.6)])
def test_the_whole_image_is_held(angle: float, spacing: tuple[float, float]) -> None:
    source = Image(pixels=np.ones((30, 50), np.uint8), spacing=spacing, unit="raw")
    turned = orient(source, angle=angle)
    h, w = turned.shape
    a, b, c, d, e, f = turned.to_source
    back = np.linalg.inv(np.array([[a, b, c], [d, e, f], [0, 0, 1]]))
    corners = np.array([[0, 0, 1], [50, 0, 1], [0, 30, 1], [50, 30, 1]]).T
    x, y, _ = back @ corners
    for along, size in ((x, w), (y, h)):
        assert min(along) >= -1e-6
        assert max(along) <= size + 1e-6
        assert max(along) - min(along) > size - 1
    left, top, right, bottom = turned.box_to_source(WHOLE)
    assert left < 0 or angle == 90
    assert right - left >= 49.9
    assert bottom - top >= 29.9


def test_right_angles_of_square_pixels_change_no_value() -> None:
    source = smooth(20, 30)
    for angle, turn in ((90.0, "left"), (-90.0, "right"), (180.0, "half"), (-180.0, "half")):
        assert orient(source, angle=angle).digest == orient(source, turn=turn).digest
    assert orient(source, angle=0.0).digest == source.digest
    flat = smooth(20, 30, (2.0, 1.0))
    assert orient(flat, angle=180.0).digest == orient(flat, turn="half").digest
    standing = orient(flat, angle=90.0)  # the same picture in the pixels of the image, 30 mm high and 40 wide
    assert (standing.shape, standing.spacing) == ((15, 40), (2.0, 1.0))


@pytest.mark.parametrize(
    ("pixels", "photometric", "expected"),
    [
        (np.array([[-1000, 40], [60, 80]], np.int16), "MONOCHROME2", -1000),
        (np.array([[200, 40], [60, 4000]], np.uint16), "MONOCHROME1", 4000),
        (np.array([[np.nan, -3.5], [2, np.inf]], np.float32), "MONOCHROME2", -3.5),
        (np.full((2, 2, 3), 70, np.uint8), "RGB", 0),
        (np.full((2, 2), 7, np.uint8), "MONOCHROME2", 7),
    ],
)
def test_the_corners_are_filled_with_the_darkest_value(pixels: np.ndarray, photometric: Any, expected: float) -> None:
    big = np.kron(pixels, np.ones((8, 8, 1) if photometric == "RGB" else (8, 8), pixels.dtype))
    turned = orient(Image(pixels=big, photometric=photometric), angle=45.0)
    assert turned.pixels.dtype == pixels.dtype
    assert np.all(turned.pixels[0, 0] == expected)
    assert np.all(turned.pixels[-1, -1] == expected)


def test_what_has_no_value_stays_without_one() -> None:
    pixels = np.zeros((40, 40), np.float32)
    pixels[10:20, 10:20], pixels[30, 30] = np.nan, np.inf
    turned = orient(Image(pixels=pixels), angle=30.0)
    for x, y, column, row in inner(turned):
        value, before = turned.pixels[y, x], pixels[int(row), int(column)]
        assert np.array_equal(np.isnan(value), np.isnan(before))
        assert np.isinf(value) == np.isinf(before)
    assert orient(Image(pixels=np.full((9, 9), np.nan, np.float32)), angle=30.0).shape == (13, 13)


@pytest.mark.parametrize("kind", ["bool", "label", "stack"])
def test_masks_take_the_nearest_pixel_and_get_no_other_value(kind: str) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.choice([0, 3, 7], (3, 30, 40) if kind == "stack" else (30, 40)).astype(np.int32)
    mask = Image(pixels=pixels > 0 if kind == "bool" else pixels, unit="mask" if kind == "bool" else "label")
    turned = orient(mask, angle=20.0)
    assert turned.pixels.dtype == mask.pixels.dtype
    assert set(np.unique(turned.pixels)) == set(np.unique(mask.pixels))
    for x, y, column, row in inner(turned, 0):
        assert np.all(turned.pixels[..., y, x] == mask.pixels[..., int(row), int(column)])


@pytest.mark.parametrize("colour", [False, True])
def test_stacks_turn_frame_by_frame_and_colours_plane_by_plane(colour: bool) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 200, (3, 20, 30, 3) if colour else (3, 20, 30)).astype(np.uint8)
    drawn = pixels.reshape(3, 20, 30, -1)[0, ..., 0] > 150
    stack = Image(pixels=pixels, photometric="RGB" if colour else "MONOCHROME2", frame=2, overlay=drawn)
    turned = orient(stack, angle=33.0)
    assert turned.frame == 2
    inside = [(x, y) for x, y, _, _ in inner(turned)]
    for k in range(3):
        alone = orient(Image(pixels=pixels[k], photometric=stack.photometric), angle=33.0)
        assert alone.shape == turned.shape
        assert all(np.array_equal(turned.pixels[k, y, x], alone.pixels[y, x]) for x, y in inside)
    assert turned.overlay is not None
    assert turned.overlay.shape == turned.shape
    assert not turned.overlay[0, 0]


def test_a_box_of_a_turned_image_leads_back_to_its_place() -> None:
    source = smooth(200, 300)
    turned = orient(source, angle=25.0)
    part = zoom(turned, Box(400, 400, 600, 600))
    left, top, right, bottom = turned.box_to_source(Box(400, 400, 600, 600))
    assert left < 150 < right
    assert top < 100 < bottom
    assert part.box_to_source(WHOLE) == pytest.approx((left, top, right, bottom), abs=2)
    middle = part.shape[1] / 2, part.shape[0] / 2
    assert to_source(part, *middle) == pytest.approx((150, 100), abs=1)
    assert measure(turned, Box(450, 450, 550, 550))[1]["mean"] == pytest.approx(3 * 150 - 2 * 100, abs=3)


def test_a_turned_overview_keeps_its_detail_in_the_same_place() -> None:
    source = smooth(203, 301, (0.7, 0.7))
    turned = orient(source.resized(50, 77), angle=-40.0)
    assert turned.detail is not None
    assert turned.detail.spacing == source.spacing
    assert turned.detail.detail is None
    for box in (WHOLE, Box(100, 700, 250, 900)):
        assert turned.box_to_source(box) == pytest.approx(turned.detail.box_to_source(box), abs=1e-6)
    assert turned.spacing is not None
    extent = [n * step for n, step in zip(turned.shape, turned.spacing, strict=True)]
    assert extent == pytest.approx([n * 0.7 for n in turned.detail.shape])
    near = inner(turned, 12)  # one pixel to the next is 8 HU; the overview itself is off by up to 1.5
    assert all(turned.pixels[y, x] == pytest.approx((3 * c - 2 * r) * 0.7, abs=2) for x, y, c, r in near)
    assert len(near) > 1000


def test_turning_back_gives_nearly_the_same_values() -> None:
    source = smooth(60, 80)
    again = orient(orient(source, angle=20.0), angle=-20.0)
    h, w = again.shape
    x, y = to_source(again, w / 2, h / 2)
    assert (x, y) == pytest.approx((40, 30))
    a, b, _, d, e, _ = again.to_source
    assert (a, b, d, e) == pytest.approx((1, 0, 0, 1), abs=1e-12)


def test_other_planes_of_a_tilted_volume_are_refused() -> None:
    volume = Image(pixels=np.zeros((4, 20, 20), np.int16), spacing=(2, 1, 1), modality="CT", unit="HU")
    error = reformat.run({"image": orient(volume, angle=10.0), "plane": "coronal", "index": 3}).error
    assert error is not None
    assert "turned by an angle" in error.message


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (17, 33), (3, 1, 1), (2, 40, 30)])
@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, bool, np.int64])
def test_any_shape_and_type_can_be_turned(shape: tuple[int, ...], kind: Any) -> None:
    turned = orient(Image(pixels=np.ones(shape, kind)), angle=33.0)
    assert turned.pixels.dtype == kind
    assert turned.view().dtype == np.uint8
    h, w = shape[-2:]
    radians = math.radians(33)
    assert turned.shape == (
        math.ceil(w * math.sin(radians) + h * math.cos(radians)), math.ceil(w * math.cos(radians) + h * math.sin(radians))
    )  # fmt: skip


def test_calls_of_a_batch_give_what_each_gives_alone() -> None:
    images = [smooth(30, 40), smooth(40, 30), Image(pixels=np.ones((30, 40), bool)), smooth(30, 40, (2.0, 1.0))]
    toolbox = Registry.discover(allow=["kornia"]).toolbox(["orient"])
    calls: list[dict[str, Any]] = [
        *({"image": k, "angle": angle} for k in range(4) for angle in (10.0, -80.0, 0.0)),
        {"image": 0, "turn": "left"}, {"image": 1}, {"image": 1, "turn": "left", "angle": 3.0},
    ]  # fmt: skip
    with LocalExecutor(toolbox, workers=1) as executor:
        (results,) = executor.run([(ImageStore(images), [ToolCall(name="orient", arguments=call) for call in calls])])
    for call, result in zip(calls, results, strict=True):
        alone = orient.run({**call, "image": images[call["image"]]})
        assert str(result.error) == str(alone.error)
        assert [image.digest for image in result.images] == [image.digest for image in alone.images]
    assert [bool(result.error) for result in results] == [False] * 13 + [True] * 2


def test_what_cannot_be_turned_is_refused_with_what_can(refusal: Callable[..., str]) -> None:
    image = smooth(20, 30)
    assert "give a turn or an angle: left, right, half, mirror_left_right, mirror_top_bottom; 12.5 degrees" in refusal(
        orient, image=image
    )
    assert "not both" in refusal(orient, image=image, turn="left", angle=5.0)
    wide = Image(pixels=np.broadcast_to(np.uint8(0), (2, 40_000)))
    assert "at most 67,108,864 pixels and 32,766 a side" in refusal(orient, image=wide, angle=5.0)
    thin = Image(pixels=np.zeros((9000, 9), np.uint8), spacing=(10.0, 0.001))
    assert "take a part of it with zoom first" in refusal(orient, image=thin, angle=45.0)
    for spacing in ((1e-300, 1e300), (1e300, 1e-300), (1.0, 1e-7)):
        needles = Image(pixels=np.zeros((4, 4), np.uint8), spacing=spacing)
        for angle in (5.0, 90.0):
            assert "times as tall as wide; give a turn" in refusal(orient, image=needles, angle=angle)
        assert orient(needles, turn="left").spacing == spacing[::-1]
    huge = Image(pixels=np.broadcast_to(np.uint8(0), (100_000, 100_000)))
    assert "10,000,000,000 pixels" in refusal(orient, image=huge, angle=5.0)
    calls = [
        ToolCall(name="orient", arguments={"image": 0, "angle": a}) for a in (360.5, -361, math.nan, math.inf, "x")
    ]
    with LocalExecutor(Registry.discover(allow=["kornia"]).toolbox(["orient"]), workers=1) as executor:
        (results,) = executor.run([(ImageStore([image]), calls)])
    assert [result.error.code for result in results if result.error] == ["bad_arguments"] * 5
    assert results[0].error is not None
    assert "360" in results[0].error.message
