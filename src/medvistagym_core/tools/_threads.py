"""The one place that says how many threads a library of kernels may use."""

from __future__ import annotations

import importlib
from typing import Any


def use_one_thread(*libraries: str) -> None:
    """Let OpenCV ("cv2") and SimpleITK, which are imported here, work in the thread that calls them.

    An executor runs calls in threads of its own; the libraries' own pools would fight them for the same cores, and two OpenMP
    runtimes in one process spin against each other. threadpoolctl does not reach the pools of these two. torch is left alone:
    how many threads it trains with is a recipe's matter.

    Args:
        *libraries: "cv2", "SimpleITK" or both.

    Raises:
        ValueError: Another library is named.
    """
    for library in libraries:
        if library not in ("cv2", "SimpleITK"):
            raise ValueError(f"the threads of {library} are not set here; cv2 and SimpleITK are")
        module: Any = importlib.import_module(library)
        if library == "cv2":
            module.setNumThreads(1)
        else:
            module.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
