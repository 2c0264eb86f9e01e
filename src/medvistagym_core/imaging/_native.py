"""Kernels in C, where the distribution `medvistagym-native` is installed and could be compiled.

Each gives the bits that the code beside its call gives, so that nothing but time depends on them. `MEDVISTAGYM_NATIVE=0` in
the environment does without.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np


NATIVE_ENV_VAR: Final = "MEDVISTAGYM_NATIVE"
_KERNELS: Final = ("as_floats", "boxes", "clahe", "enlarge", "filled", "histogram", "largest", "levels", "unfilter")


def is_supported_array(values: np.ndarray, kinds: str = "hHbB") -> bool:
    """Whether the kernels take numbers of these kinds (dtype characters) as they lie there: in the machine's order, aligned.

    Args:
        values: An array of any shape.
        kinds: Dtype characters that the kernel in question takes; 8 and 16-bit integers unless given.
    """
    return values.dtype.char in kinds and values.dtype.isnative and values.flags.aligned


@functools.cache
def native_kernels() -> ModuleType | None:
    """The compiled module `medvistagym_native._kernels`, or None."""
    if os.environ.get(NATIVE_ENV_VAR) == "0" or importlib.util.find_spec("medvistagym_native") is None:
        return None
    if importlib.util.find_spec("medvistagym_native._kernels") is None:  # there was no compiler
        return None
    try:
        module = importlib.import_module("medvistagym_native._kernels")
        missing = [name for name in _KERNELS if not hasattr(module, name)]
        if missing:  # compiled from the source of an older version
            raise ImportError(f"they lack {', '.join(missing)}")
    except ImportError as error:  # or made for another machine, or cut off
        again = "install it again with `pip install --force-reinstall --no-cache-dir medvistagym-native`"
        warnings.warn(
            f"the kernels of medvistagym-native cannot be loaded ({error}); {again}", RuntimeWarning, stacklevel=2
        )
        return None
    return module
