"""Controls for a score: the same questions with blank images, another case's images, or none.

What a policy scores without the right images it did not get by looking at them. Question, options, answer and everything
else of a case stay as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Literal, get_args

from medvistagym_core.environment import Case, Task, count_cases, deal_case
from medvistagym_core.imaging import Image

ImageControl = Literal["blank", "shuffled", "none"]
"""blank: images of the same size, unit and spacing, 0 everywhere. shuffled: those of another case. none: no image."""

IMAGE_CONTROLS: Final[tuple[ImageControl, ...]] = get_args(ImageControl)
_MAX_CANDIDATES: Final = 256
"""How many other cases are looked at for images that are not the same."""
_WITHOUT_END: Final = 100_000
"""From how many cases of a task without an end another one is taken."""

CaseChange = Callable[[Case], Case]
"""Another case in place of one that was dealt. It raises `ValueError` where it has none."""


def image_control(control: ImageControl, task: Task, *, seed: int = 0) -> CaseChange:
    """What puts other images into the cases of a task; the facet "images" of a changed case says which.

    Args:
        control: Which images.
        task: Where the cases come from, and the other images.
        seed: Seed that the cases are dealt with.

    Raises:
        ValueError: There is no such control.
    """
    if control not in IMAGE_CONTROLS:
        raise ValueError(f"images are {', '.join(IMAGE_CONTROLS)}, not {control!r}")

    def change(case: Case) -> Case:
        if control == "none":
            images: tuple[Image, ...] = ()
        elif control == "blank":
            images = tuple(blank_image(image) for image in case.images)
        else:
            images = _find_other(task, case, seed).images
        return dataclasses.replace(case, images=images, facets={**case.facets, "images": control})

    return change


def find_other_case(task: Task, case: Case, seed: int, suits: Callable[[Case], bool]) -> Case | None:
    """The first case after this one in its split, and from the beginning after the last, that suits; None when none does.

    Cases that cannot be dealt, such as those with a broken picture, are passed over. At most 256 are looked at.

    Args:
        task: The task of the case.
        case: The case to find another for.
        seed: Seed of the cases.
        suits: Whether a case will do.
    """
    count = count_cases(task, case.split)
    size = _WITHOUT_END if count is None else count
    for step in range(1, min(size, _MAX_CANDIDATES + 1)):
        try:
            other = deal_case(task, case.split, (case.index + step) % size, seed)
        except ValueError:
            continue
        if suits(other):
            return other
    return None


def _find_other(task: Task, case: Case, seed: int) -> Case:
    """Another case with as many images, none of which is one of this case."""
    own = {image.digest for image in case.images}

    def suits(other: Case) -> bool:
        return len(other.images) == len(case.images) and own.isdisjoint(image.digest for image in other.images)

    other = find_other_case(task, case, seed, suits)
    if other is None:
        raise ValueError(
            f"{case.id}: none of the next {_MAX_CANDIDATES} cases of {case.split} has {len(case.images)} other images to show"
        )
    return other


def blank_image(image: Image) -> Image:
    """An image of the same size, unit, spacing and display window, 0 everywhere."""
    import numpy as np

    pixels = np.zeros(image.pixels.shape, image.pixels.dtype)
    window = image.window if hasattr(image.window, "center") else None
    return Image(
        pixels=pixels,
        unit=image.unit,
        spacing=image.spacing,
        modality=image.modality,
        photometric=image.photometric,
        window=window,
        frame=image.frame,
    )
