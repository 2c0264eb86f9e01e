"""The pictures that tools are tried on: small, of every kind that an `Image` may be, and always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, Reader, Window

if TYPE_CHECKING:
    import numpy as np


_MAX_OWN: Final = 4


def _random() -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(7)


def _plain() -> Image:
    return Image(pixels=_random().integers(0, 256, (24, 32), dtype="uint8"), spacing=(0.5, 0.5), modality="CR")


def _colour() -> Image:
    return Image(pixels=_random().integers(0, 256, (20, 28, 3), dtype="uint8"), photometric="RGB", modality="US")


def _pixel() -> Image:
    return Image(pixels=_random().integers(0, 256, (1, 1), dtype="uint8"))


def _narrow() -> Image:
    return Image(
        pixels=_random().integers(0, 4096, (3, 97), dtype="uint16"),
        unit="raw",
        photometric="MONOCHROME1",
        modality="DX",
    )


def _volume() -> Image:
    pixels = _random().integers(-1024, 3072, (5, 18, 22), dtype="int16")
    return Image(pixels=pixels, unit="HU", spacing=(3.0, 0.8, 0.8), modality="CT", window=Window(40, 400), frame=3)


def _frames() -> Image:
    pixels = _random().integers(0, 256, (4, 16, 16, 3), dtype="uint8")
    return Image(pixels=pixels, photometric="RGB", modality="US")


def _hounsfield() -> Image:
    pixels = _random().integers(-1024, 3072, (32, 32), dtype="int16")
    windows = (Window(40, 400, name="abdomen"), Window(-600, 1500, name="lung"))
    return Image(pixels=pixels, unit="HU", spacing=(0.7, 0.7), modality="CT", window=windows[0], windows=windows)


def _not_finite() -> Image:
    import numpy as np

    pixels = _random().normal(0.0, 100.0, (16, 20)).astype("float32")
    pixels[0, 0], pixels[3, 4], pixels[5, 6] = np.nan, np.inf, -np.inf
    return Image(pixels=pixels, unit="raw", spacing=(1.0, 1.0), modality="MR")


def _empty_mask() -> Image:
    import numpy as np

    return Image(pixels=np.zeros((16, 16), "uint8"), unit="mask", spacing=(1.0, 1.0), overlay=np.zeros((16, 16), bool))


def _crop() -> Image:
    source = Image(
        pixels=_random().integers(-1024, 3072, (64, 48), dtype="int16"), unit="HU", spacing=(0.7, 0.7), modality="CT"
    )
    return source.crop(10, 20, 40, 60).resized(20, 15)


SAMPLE_IMAGES: Final[Mapping[str, Callable[[], Image]]] = {
    "2-D uint8": _plain,
    "RGB": _colour,
    "1 pixel": _pixel,
    "non-square uint16, MONOCHROME1": _narrow,
    "volume": _volume,
    "multi-frame RGB": _frames,
    "int16 HU": _hounsfield,
    "float with NaN and inf": _not_finite,
    "empty mask": _empty_mask,
    "resampled crop": _crop,
}


def sample_pictures(
    modalities: Sequence[str] = (), author_pictures: Mapping[str, Image] | None = None
) -> dict[str, Callable[[], Image]]:
    """What a tool is tried on, by name: the pictures that its author gave, then every sample.

    Args:
        modalities: What the tool is made for; the samples say that they are of the first, since it may refuse any other.
        author_pictures: Pictures of its author, by name.
    """

    def of_modality(make: Callable[[], Image]) -> Callable[[], Image]:
        return lambda: make().replace(modality=modalities[0])

    samples = {name: of_modality(make) if modalities else make for name, make in SAMPLE_IMAGES.items()}
    return {**{name: partial(_copy, image) for name, image in (author_pictures or {}).items()}, **samples}


def _copy(image: Image) -> Image:
    return image.replace(pixels=image.pixels.copy())


def read_pictures(files: Sequence[Path], readers: Sequence[Reader]) -> dict[str, Image]:
    """The pictures in some files, by the name of the file and their place in it.

    Raises:
        ValueError: A file cannot be read; a sentence says why.
    """
    pictures: dict[str, Image] = {}
    for file in files:
        found = next((images for reader in readers if (images := reader(file)) is not None), None)
        images = [Image.open(file)] if found is None else found
        for number, image in enumerate(images[:_MAX_OWN]):
            pictures[f"{file.name}[{number}]" if len(images) > 1 else file.name] = image
    return pictures


def image_snapshot(image: Image) -> Iterator[bytes]:
    """The bytes of all the arrays that the image holds."""
    yield image.pixels.tobytes()
    if image.overlay is not None:
        yield image.overlay.tobytes()
    if image.detail is not None:
        yield from image_snapshot(image.detail)
