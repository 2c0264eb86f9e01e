"""Rollouts: policies, playing many cases at once, replaying recorded episodes, and what a trainer is.

May use `environment` and below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
