"""What a notebook or a script begins with: open a file, and call the installed tools as functions.

May use `environment` and what that may use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
