"""A reader: makes images of files of a kind. Here a portable grey map as text (PGM, magic number P2).

medvistagym tools call brightest spot.pgm
"""

from medvistagym_core import hookimpl


def read_pgm(path):
    """The image; None for a file of another kind, so that the next reader is asked."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(3)[:2] != b"P2":
            return None
    import numpy as np

    from medvistagym_core import Image

    lines = path.read_text("ascii", "replace").splitlines()
    numbers = [word for line in lines for word in line.partition("#")[0].split()][1:]
    try:
        width, height, maximum, *values = map(int, numbers)
    except ValueError:
        raise ValueError(f"{path.name} is a PGM file with something other than numbers in it") from None
    if maximum > 65535 or min(width, height) < 1 or len(values) != width * height:
        raise ValueError(f"{path.name} says {width} x {height} pixels up to {maximum}, and holds {len(values)}")
    return [Image(pixels=np.array(values, np.uint16).reshape(height, width), unit="raw")]


@hookimpl
def medvistagym_readers():
    return [read_pgm]
