"""What can be wrong with a file: one sentence a user can act on, and nothing from inside the file that names a person."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "not_found",
    "not_an_image",
    "no_pixels",
    "truncated",
    "corrupt",
    "unsupported",
    "too_large",
    "empty",
    "mixed_series",
    "bad_argument",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class DicomError(ValueError):
    """A file or folder that cannot be read as asked.

    The message is one sentence. It may carry the last part of the path and numbers of the image's geometry; it never carries
    a folder, nor text found inside the file.

    Attributes:
        reason: One of `REASONS`, for programs.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
