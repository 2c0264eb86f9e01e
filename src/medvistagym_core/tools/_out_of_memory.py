"""Recognising out-of-memory errors of any library, and releasing caches after one.

A library says it in its own way, so it is known by the name of the exception and by its words, without importing any.
"""

from __future__ import annotations

import gc
import re
import sys
from typing import Any, Final

_NAMES: Final = frozenset({"MemoryError", "OutOfMemoryError"})  # torch.OutOfMemoryError, cupy's, numpy's, Python's
_WORDS: Final = re.compile(
    r"out of memory|can't allocate memory|not enough memory|failed to allocate|CUDNN_STATUS_ALLOC_FAILED"
    r"|CUBLAS_STATUS_ALLOC_FAILED|bad_alloc|insufficient memory",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of the machine or of a device, did not suffice."""
    kinds = type(error).__mro__
    if any(kind.__name__ in _NAMES for kind in kinds):
        return True
    plain = isinstance(error, RuntimeError) or any(kind.__module__.partition(".")[0] == "cv2" for kind in kinds)
    return plain and _WORDS.search(str(error)) is not None


def free_unused_memory() -> None:
    """Free what is no longer used, on the machine and, where torch is imported already, on its device."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
