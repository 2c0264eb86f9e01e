"""The tool `morphology`: what is bright grown, shrunk or cleaned with a disc; values keep their unit and dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia._batching import FilterCall, prepare_or_error, run_batched, run_one
from medvistagym_kornia._planes import replace_values, value_planes, window_up_to_percentile
from medvistagym_kornia.backends import MorphologyOperation, select_backend

if TYPE_CHECKING:
    import numpy as np

_DIFFERENCES: Final = ("gradient", "top_hat", "black_hat")  # operations that give a difference of two images


@tool
class Morphology:
    """Grow, shrink or clean what is bright, with a disc; masks and images alike.

    Use it to mend a mask (open drops specks, close fills gaps) or to bring out what is smaller than the disc (top_hat what is
    bright, black_hat what is dark).

    Args:
        image: The mask or image to change.
        operation: erode, dilate, open (erode, then dilate), close (dilate, then erode), gradient (dilate minus erode), top_hat
            (what open takes away), black_hat (what close adds).
        radius: Radius of the disc in pixels.
    """

    def setup(self, device: str) -> None:
        self.backend = select_backend(device)

    def run(
        self, image: Image, operation: MorphologyOperation, radius: Annotated[int, Field(ge=1, le=15)] = 1
    ) -> Image:
        return run_one(self.backend, _prepare_morphology(image, operation, radius))


@cast(Tool, Morphology).batch  # to a type checker a decorated class is still the class
def _run_calls(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    return run_batched(instance.backend, [prepare_or_error(_prepare_morphology, call) for call in calls])


def _prepare_morphology(image: Image, operation: MorphologyOperation, radius: int) -> FilterCall:
    if image.photometric == "MONOCHROME1":
        raise ValueError("low values are bright in this image (MONOCHROME1); use enhance_contrast or a mask first")

    def finish(x: np.ndarray) -> Image:
        if image.unit == "mask":
            return replace_values(image, x, window="keep")
        if operation in _DIFFERENCES:
            return replace_values(image, x, window=window_up_to_percentile(x), windows=())
        return replace_values(image, x)

    return FilterCall(
        value_planes(image), (operation, radius), lambda backend, x: backend.morphology(x, operation, radius), finish
    )
