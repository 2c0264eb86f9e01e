"""The families of `realsmoke`: questions about pieces of real slices, films and ultrasound pictures.

A piece carries its pixels, spacing, unit and window, so that tools can work; the prompt shows pixels alone. What the answer
follows from, the header and the values, is told by a tool, or (the lead marker) seen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Box, Image
from medvistagym_realsmoke._draft import Draft, Family, box_values, choice, grid_box, number
from medvistagym_realsmoke._studies import (
    CLIPS,
    CT,
    MARKER_FILM,
    MEASURABLE,
    MODALITIES,
    TEXT_PIECES,
    draw_piece,
    piece,
    read_part,
    read_study,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

TISSUES: Final = ("air", "fat", "soft tissue", "bone")
TISSUE_HU: Final = {"air": (-1100, -900), "fat": (-125, -70), "soft tissue": (20, 90), "bone": (300, 3000)}
"""Means that a tissue's part has, in HU, with room between two tissues."""
_MAX_SD_HU: Final = {"air": 60, "fat": 25, "soft tissue": 25, "bone": 400}
DENSE_HU: Final = 300
PLACES: Final = ("the first", "the second", "the third", "the fourth")
_SIDE: Final = 256
_MAX_TRIES: Final = 20_000


def make_tissue(rng: np.random.Generator, split: str) -> Draft:
    """What a small box of a CT slice consists of."""
    wanted = TISSUES[int(rng.integers(len(TISSUES)))]
    low, high = TISSUE_HU[wanted]

    def fits(values: np.ndarray) -> bool:
        return low <= values.mean() <= high and bool(values.std() <= _MAX_SD_HU[wanted])

    image, box = _find_box(rng, split, (8, 14), fits)
    return choice(
        f"Which of these does the part {list(box)} of image 0 consist of, by its mean value?", (image,), wanted, TISSUES
    )


def make_mean_value(rng: np.random.Generator, split: str) -> Draft:
    """The mean value of a box in HU; means of all sizes are as likely."""
    aim = float(rng.uniform(-900, 700))
    image, box = _find_box(rng, split, (16, 48), lambda values: abs(values.mean() - aim) <= 100)
    mean = float(box_values(image, box).mean())
    return number(f"What is the mean value, in HU, within {list(box)} of image 0?", (image,), mean, "HU", 3.0)


def make_dense(rng: np.random.Generator, split: str) -> Draft:
    """Whether a box of soft tissue holds something dense."""
    dense = bool(rng.integers(2))

    def fits(values: np.ndarray) -> bool:
        most = values.max()
        return bool(-50 < values.mean() < 250 and (most > DENSE_HU + 60 if dense else 60 < most < DENSE_HU - 60))

    image, box = _find_box(rng, split, (24, 40), fits)
    question = f"Does anything within {list(box)} of image 0 exceed {DENSE_HU} HU?"
    return choice(question, (image,), "yes" if dense else "no", ("yes", "no"))


def make_distance(rng: np.random.Generator, split: str) -> Draft:
    """The distance of two points in mm."""
    image = _draw_measurable(rng, split)
    h, w = image.shape
    assert image.spacing is not None
    for _ in range(_MAX_TRIES):
        (ax, ay), (bx, by) = ((int(v) for v in rng.integers(50, 951, 2)) for _ in range(2))
        along = (ax - bx) * w / 1000 * image.spacing[-1]
        across = (ay - by) * h / 1000 * image.spacing[-2]
        distance = math.hypot(along, across)
        if math.hypot(ax - bx, ay - by) > 300:
            break
    else:
        raise RuntimeError(f"no two points are far enough apart after {_MAX_TRIES} tries")
    question = f"How far apart, in mm, are the points [{ax}, {ay}] and [{bx}, {by}] of image 0?"
    return number(question, (image,), distance, "mm", max(0.3, 0.01 * distance))


def make_area(rng: np.random.Generator, split: str) -> Draft:
    """The area of an ellipse in mm2."""
    image = _draw_measurable(rng, split)
    h, w = image.shape
    assert image.spacing is not None
    x0, y0 = (int(v) for v in rng.integers(0, 500, 2))
    x1, y1 = x0 + int(rng.integers(200, 500)), y0 + int(rng.integers(200, 500))
    width, height = (x1 - x0) * w / 1000 * image.spacing[-1], (y1 - y0) * h / 1000 * image.spacing[-2]
    area = math.pi / 4 * width * height
    question = f"What is the area, in mm2, of the ellipse that fills the box [{x0}, {y0}, {x1}, {y1}] of image 0?"
    return number(question, (image,), area, "mm2", 0.02 * area)


def make_width(rng: np.random.Generator, split: str) -> Draft:
    """How wide the region is that a picture shows, in mm."""
    image = _draw_measurable(rng, split)
    width = image.shape[1] * _column_mm(image)
    question = "How wide, in mm, is the region that image 0 shows from its left edge to its right edge?"
    return number(question, (image,), width, "mm", 0.01 * width)


def make_wider(rng: np.random.Generator, split: str) -> Draft:
    """Which of two pictures of as many pixels shows the wider region."""
    names = MEASURABLE[split]
    for _ in range(_MAX_TRIES):
        first, second = (read_part(names[int(k)], split) for k in rng.choice(len(names), 2, replace=False))
        if not 0.8 < _column_mm(first) / _column_mm(second) < 1.25:
            break
    else:
        raise RuntimeError(f"no two {split} pictures differ enough in their spacing after {_MAX_TRIES} tries")
    side = min(_SIDE, *first.shape, *second.shape)
    images = tuple(_cut(rng, image, side) for image in (first, second))
    wider = "image 0" if _column_mm(first) > _column_mm(second) else "image 1"
    return choice("Which image shows the wider region of the body, in mm?", images, wider, ("image 0", "image 1"))


def make_brightest(rng: np.random.Generator, split: str) -> Draft:
    """Which of four boxes has the greatest mean, by a clear margin that a display window hides or not."""
    for _ in range(_MAX_TRIES):
        image = _draw_ct(rng, split)
        boxes = [_random_box(rng, image, 20) for _ in PLACES]
        means = [float(box_values(image, box).mean()) for box in boxes]
        *_, second, most = sorted(means)
        if 15 < most - second < 400 and most > -500:
            break
    else:
        raise RuntimeError(f"no box of the {split} slices is clearly the brightest after {_MAX_TRIES} tries")
    listed = "; ".join(f"{place} {list(box)}" for place, box in zip(PLACES, boxes, strict=True))
    question = f"Which of these boxes of image 0 has the greatest mean value: {listed}?"
    return choice(question, (image,), PLACES[means.index(most)], PLACES)


def make_modality(rng: np.random.Generator, split: str) -> Draft:
    """How a picture was made; colours, sizes and units do not tell."""
    names = MODALITIES[split]
    modality = tuple(names)[int(rng.integers(len(names)))]
    study = names[modality][int(rng.integers(len(names[modality])))]
    image = read_part(study, split)
    cut = _cut(rng, image, min(128, *image.shape))
    plain = cut.replace(unit="raw", window=None)
    return choice("How was image 0 made?", (plain,), modality, tuple(names))


def make_burned_text(rng: np.random.Generator, split: str) -> Draft:
    """Whether text is burned into a piece of an ultrasound picture."""
    has_text = bool(rng.integers(2))
    pieces = TEXT_PIECES[split][has_text]
    name, x0, y0, x1, y1 = pieces[int(rng.integers(len(pieces)))]
    image = piece(read_study(name), x0, y0, x1, y1)
    question = "Is any text burned into image 0?"
    return choice(question, (image,), "yes" if has_text else "no", ("yes", "no"))


def make_marker_side(rng: np.random.Generator, split: str) -> Draft:
    """On which side of the leg, as shown, the lead marker is; the film is mirrored or not."""
    film = read_study(MARKER_FILM)
    h, w = film.shape
    mirrored = bool(rng.integers(2))
    x0, y0 = int(w * rng.uniform(0.33, 0.37)), int(h * rng.uniform(0.56, 0.66))
    # Both edges lie within the collimated field; the marker is at 0.64 to 0.71 of the width and 0.77 to 0.86 of the height.
    cut = piece(film, x0, y0, int(w * 0.715), y0 + int(h * 0.32), mirrored=mirrored)
    question = "On which side of the leg, as image 0 shows it, is the lead marker?"
    return choice(question, (cut,), "left" if mirrored else "right", ("left", "right"))


def make_frame(rng: np.random.Generator, split: str) -> Draft:
    """In which of two frames of a clip a box is brighter."""
    import numpy as np

    clip = read_study(CLIPS[split])
    pixels = clip.pixels if clip.pixels.ndim == 3 else clip.pixels[..., 0]
    pixels = pixels[:: max(1, len(pixels) // 12)]
    h, w = pixels.shape[1:]
    side = min(h, w) // 2
    y, x = int(rng.integers(h // 8, h - side - h // 8)), int(rng.integers(w // 4, w - side - w // 8))
    pixels = np.ascontiguousarray(pixels[:, y : y + side, x : x + side])
    stack = Image(pixels=pixels, unit="raw", frame=0)
    for _ in range(_MAX_TRIES):
        first, second = (int(k) for k in rng.choice(len(pixels), 2, replace=False))
        box = _random_box(rng, stack, max(6, side // 8))
        x0, y0, x1, y1 = stack.box_to_pixels(box)
        means = [float(pixels[k, y0:y1, x0:x1].mean()) for k in (first, second)]
        if abs(means[0] - means[1]) > 0.15 * max(means) + 3:
            break
    else:
        raise RuntimeError(f"no part of the {split} clip differs enough between frames after {_MAX_TRIES} tries")
    question = f"In which frame of image 0 is the part {list(box)} brighter: frame {first} or frame {second}?"
    options = (f"frame {first}", f"frame {second}")
    return choice(question, (stack,), options[means[1] > means[0]], options)


def _draw_ct(rng: np.random.Generator, split: str) -> Image:
    names = CT[split]
    return draw_piece(rng, names[int(rng.integers(len(names)))], _SIDE)


def _draw_measurable(rng: np.random.Generator, split: str) -> Image:
    names = MEASURABLE[split]
    return _cut(rng, read_part(names[int(rng.integers(len(names)))], split), int(rng.integers(128, 400)))


def _column_mm(image: Image) -> float:
    """Distance between two columns."""
    assert image.spacing is not None
    return image.spacing[-1]


def _cut(rng: np.random.Generator, image: Image, side: int) -> Image:
    h, w = image.shape
    side = min(side, h, w)
    y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
    return piece(image, x, y, x + side, y + side)


def _random_box(rng: np.random.Generator, image: Image, side: int) -> Box:
    h, w = image.shape
    y, x = int(rng.integers(h - side)), int(rng.integers(w - side))
    return grid_box(image, x, y, x + side, y + side)


def _find_box(
    rng: np.random.Generator, split: str, sides: tuple[int, int], fits: Callable[[np.ndarray], bool]
) -> tuple[Image, Box]:
    """A piece of a CT slice with a box whose values are as wanted; other pieces are tried where one has none."""
    for attempt in range(_MAX_TRIES):
        if attempt % 100 == 0:
            image = _draw_ct(rng, split)
        box = _random_box(rng, image, int(rng.integers(*sides)))
        if fits(box_values(image, box)):
            return image, box
    raise RuntimeError(f"no part of the {split} slices is as wanted after {_MAX_TRIES} tries")


FAMILIES: Final = (
    Family("tissue", make_tissue, "measure", 0.25),
    Family("mean_value", make_mean_value, "measure", 0.05),
    Family("dense", make_dense, "measure", 0.5),
    Family("distance", make_distance, "distance", 0.05),
    Family("area", make_area, "area", 0.05),
    Family("width", make_width, "acquisition", 0.05),
    Family("wider", make_wider, "acquisition", 0.5),
    Family("brightest", make_brightest, "measure", 0.25),
    Family("modality", make_modality, "acquisition", 0.25),
    Family("burned_text", make_burned_text, "read_text", 0.5),
    Family("marker_side", make_marker_side, "", 0.5),
    Family("frame", make_frame, None, 0.5),
)
"""The families, dealt out by index in turn."""
