"""Enhancement of pictures for MedVistaGym: orient, sharpen, denoise, contrast, edges, morphology, difference.

The tools; uses the core alone. For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from medvistagym_core import Tool, hookimpl
from medvistagym_kornia.tools import Denoise, Edges, EnhanceContrast, Morphology, Sharpen, difference, orient

__all__ = ["Denoise", "Edges", "EnhanceContrast", "Morphology", "Sharpen", "difference", "orient"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools."""
    return cast(list[Tool], [orient, Sharpen, Denoise, EnhanceContrast, Edges, Morphology, difference])
