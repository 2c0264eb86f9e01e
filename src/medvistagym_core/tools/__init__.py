"""What a tool is: spec, call, result, error; the toolbox chosen from tools, and its lock.

May use `imaging`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
