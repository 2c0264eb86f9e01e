"""The tool `sharpen`: unsharp masking of values, which keep their unit and dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia._batching import FilterCall, prepare_or_error, run_batched, run_one
from medvistagym_kornia._planes import replace_values, value_planes
from medvistagym_kornia.backends import FilterBackend, select_backend

if TYPE_CHECKING:
    import numpy as np


@tool
class Sharpen:
    """Sharpen an image by unsharp masking; its values stay in their unit.

    Use it when edges or fine lines look soft. It amplifies noise too: on a grainy image denoise first.

    Args:
        image: The image to sharpen.
        amount: How much of the fine detail is added; 1 doubles it.
        radius: Size of that detail in pixels (sigma).
    """

    def setup(self, device: str) -> None:
        self.backend = select_backend(device)

    def run(
        self,
        image: Image,
        amount: Annotated[float, Field(gt=0, le=10)] = 1.0,
        radius: Annotated[float, Field(ge=0.5, le=10)] = 1.0,
    ) -> Image:
        return run_one(self.backend, _prepare_sharpen(image, amount, radius))


@cast(Tool, Sharpen).batch  # to a type checker a decorated class is still the class
def _run_calls(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    return run_batched(instance.backend, [prepare_or_error(_prepare_sharpen, call) for call in calls])


def _prepare_sharpen(image: Image, amount: float, radius: float) -> FilterCall:
    def sharpen(backend: FilterBackend, x: np.ndarray) -> np.ndarray:
        sharpened: np.ndarray = x + (x - backend.gaussian(x, radius)) * x.dtype.type(amount)
        return sharpened

    return FilterCall(value_planes(image), (amount, radius), sharpen, lambda x: replace_values(image, x))
