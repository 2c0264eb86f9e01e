"""The tool `edges`: where values change steeply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import Field

from medvistagym_core.imaging import Image, mask_image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia._batching import FilterCall, prepare_or_error, run_batched, run_one
from medvistagym_kornia._planes import grayscale_planes, stack_planes, value_planes, window_up_to_percentile
from medvistagym_kornia.backends import select_backend

if TYPE_CHECKING:
    import numpy as np

_SIGMA: Final = 1.0  # pixels, before the gradient of Canny
_DEFAULT_THRESHOLD: Final = 0.25
_LOW_THRESHOLD: Final = 0.4  # of the threshold: a line goes on as long as it is this steep


@tool
class Edges:
    """Show where values change steeply.

    Use it to trace an outline or to tell a sharp border from a blurred one.

    Args:
        image: The image to look at.
        method: "sobel" gives the steepness in values per pixel, "canny" thin lines as a mask.
        threshold: For "canny" alone: how steep a line must be, as a fraction of the steepest place; 0.25 unless given.
    """

    def setup(self, device: str) -> None:
        self.backend = select_backend(device)

    def run(
        self,
        image: Image,
        method: Literal["sobel", "canny"] = "sobel",
        threshold: Annotated[float, Field(ge=0.01, le=0.99)] | None = None,
    ) -> Image:
        return run_one(self.backend, _prepare_edges(image, method, threshold))


@cast(Tool, Edges).batch  # to a type checker a decorated class is still the class
def _run_calls(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    return run_batched(instance.backend, [prepare_or_error(_prepare_edges, call) for call in calls])


def _prepare_edges(image: Image, method: str, threshold: float | None) -> FilterCall:
    if method == "canny":
        high = _DEFAULT_THRESHOLD if threshold is None else threshold
        return FilterCall(
            grayscale_planes(image).astype("float32"),
            (method, high),
            lambda backend, x: backend.canny(x, _SIGMA, _LOW_THRESHOLD * high, high),
            lambda x: mask_image(stack_planes(image, x.astype(bool)), image, keep_frame=True),
        )
    if threshold is not None:
        raise ValueError('threshold goes with the method "canny", not with "sobel"')
    planes = value_planes(image)
    if image.photometric == "RGB":
        planes = grayscale_planes(image).astype("float32")
    return FilterCall(planes, method, lambda backend, x: backend.gradient(x), lambda x: _gradient_image(image, x))


def _gradient_image(image: Image, planes: np.ndarray) -> Image:
    """The steepness, in the image's unit per pixel; of colours that of the luma."""
    unit = "grey" if image.photometric == "RGB" else image.unit
    return image.replace(
        pixels=stack_planes(image, planes), unit=f"{unit}/px", photometric="MONOCHROME2",
        window=window_up_to_percentile(planes), windows=(), detail=None,
    )  # fmt: skip
