"""The families of `realsmoke_masks`: scans whose masks others drew, read from two pinned packages.

Lung CT of two patients with tumours outlined: pyradiomics 3.0.1 (`data/` of its source archive). The MNI152 head T1 with maps
of grey and white matter at 1 mm: nilearn 0.14.1. The masks make the answers and are never shown. Both splits ask about the same
scans: there are no more; train and test show other slices.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_core.environment import MissingDataError
from medvistagym_core.imaging import Image, Window
from medvistagym_realsmoke._draft import Draft, Family, choice, grid_box, number

if TYPE_CHECKING:
    import numpy as np

FOLDER_VARIABLE: Final = "MEDVISTAGYM_DATA"
"""Environment variable with folders, separated as in PATH, in which the packages are looked for."""
RADIOMICS: Final = "pyradiomics-3.0.1.tar.gz"
NILEARN: Final = "nilearn-0.14.1"
DOWNLOAD: Final = (
    "pip download --no-deps --no-binary pyradiomics --no-build-isolation pyradiomics==3.0.1 nilearn==0.14.1 -d FOLDER"
)
PLANES: Final = ("axial", "coronal", "sagittal")
MATTER: Final = ("grey matter", "white matter", "fluid")
_MNI: Final = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_LUNG_WINDOW: Final = Window(-600, 1500)
_SLAB: Final = 8
_SIDE: Final = 160
_MATTER_SIDE: Final = 48
_MIN_PIXELS: Final = 150  # of a tumour in a slice; a region grown in fewer says little
_MIN_VOXELS: Final = 100
_AIR_HU: Final = -1024
_MAX_TRIES: Final = 100_000


class Scan(NamedTuple):
    """A volume with its mask: pixels `(slice, row, column)`, mask bool of that shape, spacing in mm."""

    pixels: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]


def package_folders() -> list[Path]:
    """Where the packages are looked for: the folders of `MEDVISTAGYM_DATA`, then the cache."""
    named = [Path(part) for part in os.environ.get(FOLDER_VARIABLE, "").split(os.pathsep) if part]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return [*named, cache / "medvistagym"]


def find_package(name: str) -> Path:
    """The archive of a package, by how its file's name begins.

    Raises:
        MissingDataError: It is in none of the folders; the sentence says how to get it.
    """
    for folder in package_folders():
        for file in sorted(folder.glob(f"{name}*")) if folder.is_dir() else ():
            if file.is_file():
                return file
    looked = ", ".join(map(str, package_folders()))
    raise MissingDataError(f"{name} is not in {looked}; get it with: {DOWNLOAD} and set {FOLDER_VARIABLE}=FOLDER")


@functools.cache
def read_scan(name: str, slices: tuple[int, int]) -> Scan:
    """A lung CT with the outline of its tumour, in the slices `first` to `last - 1`."""
    volume, mask = (_read_member(find_package(RADIOMICS), f"data/{name}_{part}.nrrd") for part in ("image", "label"))
    assert volume.spacing is not None
    keep = slice(*slices)
    return Scan(volume.pixels[keep].copy(), mask.pixels[keep] > 0, volume.spacing)  # type: ignore[arg-type] # three


@functools.cache
def read_head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The MNI152 head: T1 values, and shares of grey and of white matter from 0 to 255, each `(slice, row, column)` at 1 mm."""
    t1, grey, white = (_read_installed(_MNI.format(part)).pixels for part in ("t1", "gm", "wm"))
    return t1, grey, white


def make_plane(rng: np.random.Generator, split: str) -> Draft:
    """In which plane a slice lies."""
    import numpy as np

    t1, _, _ = read_head()
    plane = PLANES[int(rng.integers(3))]
    axis = PLANES.index(plane)
    middle = t1.shape[axis] // 2
    position = middle + int(rng.integers(-15, 16)) * 2 + (split == "test")
    # Slices from the feet, rows from the front, columns from the right; a picture has the head at its top.
    pixels = np.take(t1, position, axis)
    pixels = pixels if axis == 0 else pixels[::-1]
    top, left = ((n - _SIDE) // 2 for n in pixels.shape)  # of one size, or the size would tell
    image = _mr(pixels[top : top + _SIDE, left : left + _SIDE]).replace(attributes={"plane": plane})
    return choice("In which plane does image 0 lie?", (image,), plane, PLANES)


def make_matter(rng: np.random.Generator, split: str) -> Draft:
    """Which matter a small box in a head MR shows, by the maps of the template."""
    import numpy as np

    t1, grey, white = read_head()
    wanted = MATTER[int(rng.integers(3))]
    side = 3
    for _ in range(_MAX_TRIES):
        z = int(rng.integers(30, 55)) * 2 + (split == "test")
        y, x = int(rng.integers(30, t1.shape[1] - 30)), int(rng.integers(20, t1.shape[2] - 20))
        part = np.s_[z, y : y + side, x : x + side]
        shares = grey[part].min() > 190, white[part].min() > 230, max(grey[part].max(), white[part].max()) < 20
        if shares[MATTER.index(wanted)] and t1[part].min() > 5:
            break
    else:
        raise RuntimeError(f"no part of the head shows {wanted} alone after {_MAX_TRIES} tries")
    top, left = y - int(rng.integers(5, _MATTER_SIDE - 10)), x - int(rng.integers(5, _MATTER_SIDE - 10))
    top, left = (min(max(0, v), n - _MATTER_SIDE) for v, n in ((top, t1.shape[1]), (left, t1.shape[2])))
    image = _mr(t1[z, top : top + _MATTER_SIDE, left : left + _MATTER_SIDE])
    y, x = y - top, x - left
    box = grid_box(image, x - 1, y - 1, x + side + 1, y + side + 1)
    question = f"What does the middle of the part {list(box)} of image 0, a T1-weighted MR slice, show?"
    return choice(question, (image,), wanted, MATTER)


def make_tumour_slice(rng: np.random.Generator, split: str) -> Draft:
    """Which of three slices of a slab holds the tumour."""
    scan = read_scan("lung2", (4, 36)) if rng.integers(2) else read_scan("lung1", (20, 46))
    inside = [int(z) for z in _slices(scan) if scan.mask[z].sum() * scan.spacing[1] * scan.spacing[2] > 60]
    outside = [z for z in range(len(scan.mask)) if not scan.mask[max(0, z - 2) : z + 3].any()]
    y, x = _centre(scan.mask.max(0))
    chosen = inside[int(rng.integers(len(inside)))]
    others = [z for z in outside if scan.pixels[z, y - 2 : y + 3, x - 2 : x + 3].mean() < -600]
    places = [int(k) for k in rng.permutation([chosen, *rng.choice(others, 2, replace=False)])]
    top, left = max(0, y - int(rng.integers(60, 100))), max(0, x - int(rng.integers(60, 100)))
    pixels = scan.pixels[places, top : top + _SIDE, left : left + _SIDE]
    image = _ct(pixels, scan.spacing)
    point = _grid_point(image, y - top, x - left)
    options = tuple(f"slice {k}" for k in range(3))
    question = f"In which slice of image 0, 3 slices of a lung CT in no order, is a tumour at the point {list(point)}?"
    return choice(question, (image,), options[places.index(chosen)], options)


def make_tumour_volume(rng: np.random.Generator, split: str) -> Draft:
    """The volume of what a slab shows of a tumour, in ml, where a bar covers the rest."""
    scan = read_scan("lung1", (20, 46))
    first, *_, last = _slices(scan)
    start = int(rng.integers(last + 1 - _SLAB, first + 1))
    part = slice(start, start + _SLAB)
    pixels, mask = _cover(rng, scan.pixels[part], scan.mask[part], _MIN_VOXELS)
    z = int(mask.sum((1, 2)).argmax())
    image = _ct(pixels, scan.spacing, frame=z)
    point = _grid_point(image, *_centre(mask[z]))
    volume = float(mask.sum()) * scan.spacing[0] * scan.spacing[1] * scan.spacing[2] / 1000
    question = (
        f"A tumour of the lung lies at the point {list(point)} of the slice that image 0 shows. How large is what image 0 has "
        "of it in all its slices, in ml?"
    )
    return number(question, (image,), volume, "ml", 0.25 * volume, digits=2)


def make_tumour_area(rng: np.random.Generator, split: str) -> Draft:
    """The area of what a picture shows of a tumour, in mm2, where a bar covers the rest."""
    scan = read_scan("lung2", (18, 24)) if rng.integers(4) else read_scan("lung1", (33, 35))
    z = int(rng.integers(len(scan.mask)))
    pixels, mask = _cover(rng, scan.pixels[z : z + 1], scan.mask[z : z + 1], _MIN_PIXELS)
    image = _ct(pixels[0], scan.spacing[1:])
    point = _grid_point(image, *_centre(mask[0]))
    area = float(mask.sum()) * scan.spacing[1] * scan.spacing[2]
    question = (
        f"A tumour of the lung lies at the point {list(point)} of image 0. How much of it, in mm2, does image 0 show?"
    )
    return number(question, (image,), area, "mm2", 0.4 * area, digits=0)


def _cover(
    rng: np.random.Generator, pixels: np.ndarray, mask: np.ndarray, min_pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """A piece of a scan in which a black bar covers part of a tumour: its pixels, and the mask of what is left.

    What is left is as likely small as large, on a logarithmic scale, and where the bar begins tells nothing of it: so no
    typical size can be learned, nor one read from the place of the tumour.

    Args:
        rng: Draws the bar and the piece.
        pixels: `(slice, row, column)` in HU.
        mask: The tumour.
        min_pixels: The fewest pixels of it that are left.
    """
    import numpy as np

    axis = int(rng.integers(1, 3))
    remaining = np.cumsum(mask.sum((0, 3 - axis))[::-1])[::-1]
    most = int(remaining[0])
    wanted = float(np.exp(rng.uniform(np.log(min(min_pixels, most)), np.log(most))))
    cut = int(np.nonzero(remaining >= wanted)[0][-1])
    across = np.nonzero(mask.max((0, axis)))[0]
    starts = {axis: cut - int(rng.integers(10, 60)), 3 - axis: int(rng.integers(across[-1] - _SIDE + 8, across[0] - 8))}
    top, left = (min(max(0, starts[k]), mask.shape[k] - _SIDE) for k in (1, 2))
    visible, covered = pixels.copy(), mask.copy()
    bar = np.s_[:, :cut] if axis == 1 else np.s_[:, :, :cut]
    visible[bar], covered[bar] = _AIR_HU, False
    piece = np.s_[:, top : top + _SIDE, left : left + _SIDE]
    return visible[piece], covered[piece]


def _mr(pixels: np.ndarray) -> Image:
    return Image(pixels=pixels.copy(), unit="raw", spacing=(1.0, 1.0), modality="MR", window=Window(128, 255))


def _ct(pixels: np.ndarray, spacing: tuple[float, ...], frame: int | None = None) -> Image:
    return Image(pixels=pixels.copy(), unit="HU", spacing=spacing, modality="CT", window=_LUNG_WINDOW, frame=frame)


def _slices(scan: Scan) -> list[int]:
    return [z for z, part in enumerate(scan.mask) if part.any()]


def _centre(mask: np.ndarray) -> tuple[int, int]:
    """The pixel of a mask that is nearest to its centre of mass: row, column."""
    rows, columns = mask.nonzero()
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return int(rows[nearest]), int(columns[nearest])


def _grid_point(image: Image, row: int, column: int) -> tuple[int, int]:
    """The middle of a pixel on the 0-1000 grid: x, y."""
    h, w = image.shape
    return (2 * column + 1) * 500 // w, (2 * row + 1) * 500 // h


def _read_member(archive: Path, member: str) -> Image:
    """A volume inside of a package, in HU where it is CT."""
    import tempfile

    from medvistagym_files import read_one

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, Path(member).name)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as whole:
                file.write_bytes(whole.read(member))
        else:
            with tarfile.open(archive) as tar:
                stored = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
                if stored is None:
                    raise ValueError(f"{archive.name} does not hold {member}")
                file.write_bytes(stored.read())
        return read_one(file, unit="HU" if "lung" in member else None)


def _read_installed(member: str) -> Image:
    """A volume of nilearn, where it is installed; else of its wheel."""
    from medvistagym_files import read_one

    spec = importlib.util.find_spec("nilearn")
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent.parent / member
        if file.is_file():
            return read_one(file)
    return _read_member(find_package(NILEARN), member)


FAMILIES: Final = (
    Family("plane", make_plane, "acquisition", 1 / 3),
    Family("matter", make_matter, "measure", 1 / 3),
    Family("tumour_slice", make_tumour_slice, None, 1 / 3),
    Family("tumour_volume", make_tumour_volume, "segment", 0.25),
    Family("tumour_area", make_tumour_area, "segment", 0.3),
)
"""The families, dealt out by index in turn."""
