"""MedVistaGym Core: the tool layer and training ground for vision-language models that think with medical images.

For research only; nothing here is for clinical use.

This is the public face. Each name is imported when it is first used, so that a tool author pays for nothing else.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
