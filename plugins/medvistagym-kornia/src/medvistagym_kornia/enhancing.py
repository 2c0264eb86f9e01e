"""The tools `sharpen`, `denoise`, `enhance_contrast`, `edges` and `morphology`.

`sharpen`, `denoise` and `morphology` work on values and keep their unit and type; `enhance_contrast` works on the picture as it
is shown, and gives grey levels. Each runs through `Kernels`, chosen by the device it is set up for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import Field

from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia.kernels import Operation, kernels
from medvistagym_kornia.planes import Work, as_mask, colours, done, greys, together, values, with_values

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_kornia.kernels import Kernels

Radius = Annotated[int, Field(ge=1, le=2)]
_TILE: Final = 16  # pixels that a tile of CLAHE has at least, along each side
_TILES: Final = 8
_LIMIT: Final = 2.0
_SMOOTH: Final = 1.0


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
        self.kernels = kernels(device)

    def run(
        self, image: Image, method: Literal["median", "bilateral", "gaussian"] = "median", radius: Radius = 1
    ) -> Image:
        return done(self.kernels, _denoising(image, method, radius))


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
        self.kernels = kernels(device)

    def run(
        self,
        image: Image,
        amount: Annotated[float, Field(gt=0, le=10)] = 1.0,
        radius: Annotated[float, Field(ge=0.5, le=10)] = 1.0,
    ) -> Image:
        return done(self.kernels, _sharpening(image, amount, radius))


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
        self.kernels = kernels(device)

    def run(
        self,
        image: Image,
        method: Literal["clahe", "equalize", "gamma"] = "clahe",
        gamma: Annotated[float, Field(ge=0.1, le=10)] | None = None,
    ) -> Image:
        return done(self.kernels, _contrasting(image, method, gamma))


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
        self.kernels = kernels(device)

    def run(
        self,
        image: Image,
        method: Literal["sobel", "canny"] = "sobel",
        threshold: Annotated[float, Field(ge=0.01, le=0.99)] | None = None,
    ) -> Image:
        return done(self.kernels, _tracing(image, method, threshold))


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
        self.kernels = kernels(device)

    def run(self, image: Image, operation: Operation, radius: Annotated[int, Field(ge=1, le=15)] = 1) -> Image:
        return done(self.kernels, _shaping(image, operation, radius))


def _denoising(image: Image, method: str, radius: int) -> Work:
    planes = values(image)
    if method == "median":
        return Work(planes, (method, radius), lambda k, x: k.median(x, radius), lambda x: with_values(image, x))
    if method == "gaussian":
        return Work(planes, (method, radius), lambda k, x: k.gaussian(x, radius / 2), lambda x: with_values(image, x))
    tolerance = 3 * _noise(planes)

    def smooth(k: Kernels, x: np.ndarray) -> np.ndarray:
        import numpy as np

        return k.bilateral(x, radius, np.full(len(x), tolerance, np.float32))

    return Work(planes, (method, radius, tolerance), smooth, lambda x: with_values(image, x))


def _sharpening(image: Image, amount: float, radius: float) -> Work:
    def sharp(k: Kernels, x: np.ndarray) -> np.ndarray:
        sharper: np.ndarray = x + (x - k.gaussian(x, radius)) * x.dtype.type(amount)
        return sharper

    return Work(values(image), (amount, radius), sharp, lambda x: with_values(image, x))


def _contrasting(image: Image, method: str, gamma: float | None) -> Work:
    if gamma is not None and method != "gamma":
        raise ValueError(f'gamma goes with the method "gamma", not with "{method}"')
    power = 0.5 if gamma is None else gamma

    def spread(k: Kernels, x: np.ndarray) -> np.ndarray:
        if method == "clahe":
            return _in_tiles(k, x)
        return k.equalize(x) if method == "equalize" else _powers(power)[x]

    return Work(greys(image), (method, power), spread, lambda x: _as_greys(image, x))


def _tracing(image: Image, method: str, threshold: float | None) -> Work:
    if method == "canny":
        high = 0.25 if threshold is None else threshold
        planes = greys(image).astype("float32")
        return Work(
            planes, (method, high), lambda k, x: k.canny(x, _SMOOTH, 0.4 * high, high), lambda x: as_mask(image, x)
        )
    if threshold is not None:
        raise ValueError('threshold goes with the method "canny", not with "sobel"')
    planes = values(image)
    if image.photometric == "RGB":
        planes = greys(image).astype("float32")
    return Work(planes, method, lambda k, x: k.gradient(x), lambda x: _as_steepness(image, x))


def _shaping(image: Image, operation: Operation, radius: int) -> Work:
    if image.photometric == "MONOCHROME1":
        raise ValueError("low values are bright in this image (MONOCHROME1); use enhance_contrast or a mask first")

    def finish(x: np.ndarray) -> Image:
        new = with_values(image, x)
        if operation not in ("gradient", "top_hat", "black_hat") or image.unit == "mask":
            return new
        return new.replace(window=_reaching(x), windows=())

    return Work(values(image), (operation, radius), lambda k, x: k.morphology(x, operation, radius), finish)


def _noise(planes: np.ndarray) -> float:
    """Standard deviation of the noise, from the median of differences between neighbours in a row; never 0.

    Source: Rousseeuw and Croux, Alternatives to the median absolute deviation, JASA 88, 1993 (the factor 1.4826).
    """
    import numpy as np

    thinned = planes[:: max(1, len(planes) // 8)]
    steps = np.abs(np.diff(thinned, axis=2))
    noise = 1.4826 / 2**0.5 * float(np.median(steps)) if steps.size else 0.0
    return noise or float(np.ptp(planes)) / 100 or 1.0


def _in_tiles(k: Kernels, planes: np.ndarray) -> np.ndarray:
    """CLAHE of any size: mirrored at the end to a whole number of tiles, which are the same for both backends then."""
    import numpy as np

    h, w = planes.shape[1:]
    tiles = (min(_TILES, max(1, h // _TILE)), min(_TILES, max(1, w // _TILE)))
    rest = (-h % tiles[0], -w % tiles[1])
    padded = np.pad(planes, ((0, 0), (0, rest[0]), (0, rest[1])), mode="reflect") if any(rest) else planes
    return k.clahe(padded, _LIMIT, tiles)[:, :h, :w]


def _powers(gamma: float) -> np.ndarray:
    import numpy as np

    table: np.ndarray = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table


def _as_greys(image: Image, planes: np.ndarray) -> Image:
    """The picture as shown, with other grey levels; of colours only the luma changes."""
    import numpy as np

    if image.photometric == "RGB":
        shown = colours(image)
        shift = planes.astype(np.int16) - greys(image)
        planes = np.clip(shown + shift[..., None], 0, 255).astype(np.uint8)
    return image.replace(
        pixels=planes.reshape(image.pixels.shape),
        unit="grey",
        photometric="RGB" if image.photometric == "RGB" else "MONOCHROME2",
        window=None,
        windows=(),
        detail=None,
    )


def _as_steepness(image: Image, planes: np.ndarray) -> Image:
    unit = "grey" if image.photometric == "RGB" else image.unit
    return image.replace(
        pixels=planes.reshape(-1, *image.shape) if image.is_stack else planes[0],
        unit=f"{unit}/px", photometric="MONOCHROME2", window=_reaching(planes), windows=(), detail=None,
    )  # fmt: skip


def _reaching(planes: np.ndarray) -> Window:
    """From 0 to what only a few pixels exceed."""
    import numpy as np

    most = float(np.percentile(planes[..., :: max(1, planes[0].size // 2**20)], 99.5)) or float(planes.max()) or 1.0
    return Window(most / 2, most, "linear_exact")


def _batch(prepare: Callable[..., Work]) -> Callable[[Any, Sequence[Mapping[str, Any]]], list[Image | Exception]]:
    """The batched kernel of a tool whose calls `prepare` makes ready."""

    def kernel(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
        return together(instance.kernels, [_prepared(prepare, call) for call in calls])

    return kernel


def _prepared(prepare: Callable[..., Work], call: Mapping[str, Any]) -> Work | Exception:
    try:
        return prepare(**call)
    except ValueError as error:
        return error


# a decorated class is a tool; type checkers take it for a class still
for _tool, _prepare in (
    (Denoise, _denoising),
    (Sharpen, _sharpening),
    (EnhanceContrast, _contrasting),
    (Edges, _tracing),
    (Morphology, _shaping),
):
    cast(Tool, _tool).batch(_batch(_prepare))
