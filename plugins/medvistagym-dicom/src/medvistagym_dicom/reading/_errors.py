"""What can be wrong with a file: one sentence a user can act on, and nothing from inside the file that names a person."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Literal, TypeVar, get_args

T = TypeVar("T")

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
    a folder, nor text found inside the file. A file that is damaged ("truncated", "corrupt") and one that is sound but not
    supported here ("unsupported") have different sentences.

    Attributes:
        reason: One of `REASONS`, for programs.

    Args:
        message: The sentence.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def call_safely(function: Callable[[], T], name: str) -> T:
    """What a function returns; whatever goes wrong in it becomes a DicomError without a trace of where it came from.

    What went wrong inside may quote the file, so neither the exception behind an error nor its traceback is kept.
    """
    failure: DicomError
    try:
        return function()
    except DicomError as error:
        failure = error
    except MemoryError:
        failure = DicomError("too_large", f"{name}: there is not enough memory to read it")
    except OSError as error:
        failure = DicomError("not_found", f"{name}: it cannot be opened, {os.strerror(error.errno or 5).lower()}")
    except (ValueError, ArithmeticError, LookupError, struct.error, AssertionError):
        failure = DicomError("corrupt", f"{name}: its contents contradict each other")
    failure.__context__ = failure.__cause__ = failure.__traceback__ = None
    raise failure
