"""The tools, one a file: values made clearer (denoise, sharpen, contrast, edges, morphology), turned, or subtracted.

They may use the backends, planes and batches of this plugin, and the core.
"""

from medvistagym_kornia.tools._denoise import Denoise
from medvistagym_kornia.tools._difference import difference
from medvistagym_kornia.tools._edges import Edges
from medvistagym_kornia.tools._enhance_contrast import EnhanceContrast
from medvistagym_kornia.tools._morphology import Morphology
from medvistagym_kornia.tools._orient import orient
from medvistagym_kornia.tools._sharpen import Sharpen

__all__ = ["Denoise", "Edges", "EnhanceContrast", "Morphology", "Sharpen", "difference", "orient"]
