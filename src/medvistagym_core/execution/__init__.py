"""Running calls: grouped, cached, timed, in threads or in processes.

May use `tools` and below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
