"""MedVistaGym Core: the tool layer and training ground for vision-language models that think with medical images.

For research only; nothing here is for clinical use.

This is the public face. Each name is imported when it is first used, so that a tool author pays for nothing else.
"""

import lazy_loader

import medvistagym_core.tools  # noqa: F401 `mv.tools` is this room at once, whatever else is imported

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in _names if name != "open"]

__version__ = "0.1.0"
