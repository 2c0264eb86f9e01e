"""How much a file may make of itself: bounds that are checked before memory is allocated or a decoder is called.

A file that holds much is read up to `MAX_DECODED_BYTES`. One that *inflates* to much more than it is (a decompression bomb
does, and so does an empty picture) is read up to the smaller `MAX_INFLATED_BYTES`.
"""

from __future__ import annotations

from typing import Final

MAX_DECODED_BYTES: Final = 2**30
"""Most memory that reading one file may take."""
MAX_INFLATED_BYTES: Final = 2**28
"""Most memory that reading a file may take which grows more than `MAX_INFLATION` times by it."""
MAX_INFLATION: Final = 100
MAX_FRAMES: Final = 8192
"""Most frames, pages or volumes of one file."""


def check_decoded_size(size_bytes: int, stored_bytes: int, what: str, advice: str = "") -> None:
    """Refuse what would take too much memory.

    Args:
        size_bytes: Memory that decoding takes.
        stored_bytes: Size of the file, or of the part of it that is decoded.
        what: What is stated, to begin the sentence with, such as "it has 40,000 x 30,000 pixels".
        advice: What to do instead, to end the sentence with.

    Raises:
        ValueError: It is too much; the sentence says how much, and how much may be.
    """
    if size_bytes <= MAX_INFLATED_BYTES:
        return
    what = f"{what}, which take {_mebibytes(size_bytes)} to read"
    advice = f"; {advice}" if advice else ""
    if size_bytes > MAX_DECODED_BYTES:
        raise ValueError(f"{what}, and {_mebibytes(MAX_DECODED_BYTES)} is the most{advice}")
    if size_bytes > MAX_INFLATION * stored_bytes:
        raise ValueError(
            f"{what}, in a file of {stored_bytes:,} bytes; what grows more than {MAX_INFLATION} times is read up to "
            f"{_mebibytes(MAX_INFLATED_BYTES)}{advice}"
        )


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"
