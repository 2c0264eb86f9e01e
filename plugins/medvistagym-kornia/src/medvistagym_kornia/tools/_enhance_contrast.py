"""The tool `enhance_contrast`: grey levels of the picture as it is displayed, spread so that faint differences stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia._batching import FilterCall, prepare_or_error, run_batched, run_one
from medvistagym_kornia._planes import display_planes, grayscale_planes
from medvistagym_kornia.backends import FilterBackend, select_backend

if TYPE_CHECKING:
    import numpy as np

_MIN_TILE_SIDE: Final = 16  # pixels of a tile of CLAHE
_MAX_TILES: Final = 8  # along each side
_CLIP_LIMIT: Final = 2.0
_DEFAULT_GAMMA: Final = 0.5


@tool
class EnhanceContrast:
    """Spread the grey levels of the picture as it is shown, so that faint differences stand out.

    Use it when a window cannot show dark and bright parts at once. The result is grey levels without a unit: measure on the
    original.

    Args:
        image: The image to enhance.
        method: "clahe" evens out contrast part by part, "equalize" over the whole picture, "gamma" brightens or darkens.
        gamma: For "gamma" alone: below 1 brightens dark parts, above 1 darkens them; 0.5 unless given.
    """

    def setup(self, device: str) -> None:
        self.backend = select_backend(device)

    def run(
        self,
        image: Image,
        method: Literal["clahe", "equalize", "gamma"] = "clahe",
        gamma: Annotated[float, Field(ge=0.1, le=10)] | None = None,
    ) -> Image:
        return run_one(self.backend, _prepare_contrast(image, method, gamma))


@cast(Tool, EnhanceContrast).batch  # to a type checker a decorated class is still the class
def _run_calls(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    return run_batched(instance.backend, [prepare_or_error(_prepare_contrast, call) for call in calls])


def _prepare_contrast(image: Image, method: str, gamma: float | None) -> FilterCall:
    if gamma is not None and method != "gamma":
        raise ValueError(f'gamma goes with the method "gamma", not with "{method}"')
    power = _DEFAULT_GAMMA if gamma is None else gamma

    def enhance(backend: FilterBackend, x: np.ndarray) -> np.ndarray:
        if method == "clahe":
            return _clahe_padded(backend, x)
        return backend.equalize(x) if method == "equalize" else _gamma_table(power)[x]

    return FilterCall(grayscale_planes(image), (method, power), enhance, lambda x: _grey_level_image(image, x))


def _clahe_padded(backend: FilterBackend, planes: np.ndarray) -> np.ndarray:
    """CLAHE of any size: mirrored at the end to a whole number of tiles, which are the same for both backends then."""
    import numpy as np

    h, w = planes.shape[1:]
    tiles = (min(_MAX_TILES, max(1, h // _MIN_TILE_SIDE)), min(_MAX_TILES, max(1, w // _MIN_TILE_SIDE)))
    rest = (-h % tiles[0], -w % tiles[1])
    padded = np.pad(planes, ((0, 0), (0, rest[0]), (0, rest[1])), mode="reflect") if any(rest) else planes
    return backend.clahe(padded, _CLIP_LIMIT, tiles)[:, :h, :w]


def _gamma_table(gamma: float) -> np.ndarray:
    """Uint8 `(256,)`: what becomes of each grey level."""
    import numpy as np

    table: np.ndarray = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table


def _grey_level_image(image: Image, planes: np.ndarray) -> Image:
    """The picture as displayed, with other grey levels; of colours only the luma changes."""
    import numpy as np

    if image.photometric == "RGB":
        shift = planes.astype(np.int16) - grayscale_planes(image)
        planes = np.clip(display_planes(image) + shift[..., None], 0, 255).astype(np.uint8)
    colour = image.photometric == "RGB"
    return image.with_pixels(
        planes.reshape(image.pixels.shape),
        unit="RGB" if colour else "grey",
        photometric="RGB" if colour else "MONOCHROME2",
        window=None,
        windows=(),
    )
