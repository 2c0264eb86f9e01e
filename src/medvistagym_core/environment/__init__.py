"""One case, played: tasks, grading, rewards, episodes, gymnasium environments.

May use `trajectories` and below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
