"""The models that radiology agents ask, as adapters for medvistagym-models: each by local weights and its own package.

Found by their names through the entry-point group `medvistagym_models`; nothing is exported. Uses the core, medvistagym-models
and medvistagym-segment. For research only; nothing here is for clinical use.
"""

from __future__ import annotations

__all__: list[str] = []
__version__ = "0.1.0"
