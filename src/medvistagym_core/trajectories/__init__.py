"""Records of what happened in episodes: trajectories, their files, results, and a viewer.

May use `plugins` and below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
