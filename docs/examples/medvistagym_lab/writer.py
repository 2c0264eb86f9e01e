"""A writer: writes images to files of a kind.

medvistagym tools call orient picture.png --turn half --out turned.pgm
"""

from medvistagym_core import hookimpl
from medvistagym_core.storage import write_atomically


class PgmWriter:
    """Portable grey maps as text, which hold one grey frame of whole numbers from 0 to 65535."""

    suffixes = (".pgm",)

    def write(self, image, path):
        if image.is_stack or image.photometric == "RGB":
            raise ValueError(f"{path.name}: a PGM file holds one grey frame")
        pixels = image.pixels
        if pixels.dtype.kind not in "biu" or pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError(f"{path.name}: a PGM file holds whole numbers from 0 to 65535; window the image first")
        rows = "\n".join(" ".join(map(str, row)) for row in pixels.astype(int).tolist())
        with write_atomically(path) as part:  # a file is whole, or not there
            part.write_text(f"P2\n{pixels.shape[1]} {pixels.shape[0]}\n{max(int(pixels.max()), 1)}\n{rows}\n", "ascii")


@hookimpl
def medvistagym_writers():
    return [PgmWriter()]
