"""Files and folders that are there whole or not at all, whoever else writes them.

May use nothing of the project.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
