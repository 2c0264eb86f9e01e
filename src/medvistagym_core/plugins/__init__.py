"""What is installed: hooks, discovery, the registry, the catalog of known plugins, a scaffold.

May use `execution`, `protocol` and below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
