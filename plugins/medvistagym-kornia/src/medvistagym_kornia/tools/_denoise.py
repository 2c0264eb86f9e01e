"""The tool `denoise`: noise taken out of values, which keep their unit and dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia._batching import FilterCall, prepare_or_error, run_batched, run_one
from medvistagym_kornia._planes import replace_values, value_planes
from medvistagym_kornia.backends import FilterBackend, select_backend

if TYPE_CHECKING:
    import numpy as np


@tool
class Denoise:
    """Take noise out of an image; its values stay in their unit.

    Use it on grainy, low-dose or fast scans before looking for something faint. It wipes out detail of one or two pixels: leave
    it when fine texture is the question.

    Args:
        image: The image to denoise.
        method: "median" takes out specks, "bilateral" smooths but keeps edges, "gaussian" smooths everything.
        radius: Reach in pixels.
    """

    def setup(self, device: str) -> None:
        self.backend = select_backend(device)

    def run(
        self,
        image: Image,
        method: Literal["median", "bilateral", "gaussian"] = "median",
        radius: Annotated[int, Field(ge=1, le=2)] = 1,
    ) -> Image:
        return run_one(self.backend, _prepare_denoise(image, method, radius))


@cast(Tool, Denoise).batch  # to a type checker a decorated class is still the class
def _run_calls(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    return run_batched(instance.backend, [prepare_or_error(_prepare_denoise, call) for call in calls])


def _prepare_denoise(image: Image, method: str, radius: int) -> FilterCall:
    planes = value_planes(image)
    tolerance = 3 * _estimate_noise_std(planes) if method == "bilateral" else 0.0

    def smooth(backend: FilterBackend, x: np.ndarray) -> np.ndarray:
        import numpy as np

        if method == "median":
            return backend.median(x, radius)
        if method == "gaussian":
            return backend.gaussian(x, radius / 2)
        return backend.bilateral(x, radius, np.full(len(x), tolerance, np.float32))

    return FilterCall(planes, (method, radius, tolerance), smooth, lambda x: replace_values(image, x, window="keep"))


def _estimate_noise_std(planes: np.ndarray) -> float:
    """Standard deviation of the noise, from the median of differences between neighbours in a row; never 0.

    Source: Rousseeuw and Croux, Alternatives to the median absolute deviation, JASA 88, 1993 (the factor 1.4826).
    """
    import numpy as np

    thinned = planes[:: max(1, len(planes) // 8)]
    steps = np.abs(np.diff(thinned, axis=2))
    noise = 1.4826 / 2**0.5 * float(np.median(steps)) if steps.size else 0.0
    return noise or float(np.ptp(planes)) / 100 or 1.0
